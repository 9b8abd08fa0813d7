/**
 * Red packets that the server has not confirmed yet: at most one a conversation. Kept for the life of the tab, so that
 * a reload asks for the same one again, and nobody pays twice.
 */

/**
 * @typedef {object} Terms
 * @property {"lucky"|"equal"|"direct"} kind
 * @property {number} total
 * @property {number} [count]
 * @property {string} [to]
 * @property {string} greeting
 */

/**
 * @typedef {object} Order
 * @property {string} conv
 * @property {string} cmid the idempotency key, the same over every retry
 * @property {Terms} terms
 * @property {"sending"|"unknown"} state `unknown`: whether it was sent, only another try can tell
 * @property {string} [code] why it is not known
 */

export class RedPacketOrders {
  /** @type {Order[]} */
  #orders;
  #key;

  /** @param {string} me */
  constructor(me) {
    this.#key = `im.redpackets.${me}`;
    this.#orders = this.#load();
  }

  get all() {
    return [...this.#orders];
  }

  /** @param {string} conv */
  of(conv) {
    return this.#orders.find((order) => order.conv === conv) ?? null;
  }

  /** @param {string} conv @param {Terms} terms @returns {Order} */
  add(conv, terms) {
    /** @type {Order} */
    const order = { conv, cmid: crypto.randomUUID(), terms, state: "sending" };
    this.#orders = [...this.#orders.filter((other) => other.conv !== conv), order];
    this.#save();
    return order;
  }

  /** @param {Order} order @param {Order["state"]} state @param {string} [code] */
  mark(order, state, code) {
    order.state = state;
    order.code = code;
    this.#save();
  }

  /** @param {string} cmid @returns {boolean} whether it was here */
  remove(cmid) {
    const kept = this.#orders.filter((order) => order.cmid !== cmid);
    if (kept.length === this.#orders.length) return false;
    this.#orders = kept;
    this.#save();
    return true;
  }

  #save() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(this.#orders));
    } catch {
      // Storage is full or forbidden: they live as long as the page.
    }
  }

  /** @returns {Order[]} */
  #load() {
    try {
      const orders = JSON.parse(sessionStorage.getItem(this.#key) ?? "[]");
      return Array.isArray(orders) ? orders : [];
    } catch {
      return [];
    }
  }
}
