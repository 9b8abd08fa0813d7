/** Messages that the server has not accepted yet. Kept for the life of the tab, so a reload loses and doubles none. */

/**
 * @typedef {object} Outgoing
 * @property {string} conv
 * @property {string} cmid the idempotency key, the same over every retry
 * @property {string} text
 * @property {number} [replyTo] the seq of the message that it answers
 * @property {number} ts
 * @property {"sending"|"failed"} state
 * @property {string} [code] the error code, if it failed
 * @property {number} [until] when the server may take it, if it said so: milliseconds since the epoch
 */

export class Outbox {
  /** @type {Outgoing[]} */
  messages;
  #key;

  /** @param {string} me */
  constructor(me) {
    this.#key = `im.outbox.${me}`;
    this.messages = this.#load();
  }

  /** @param {string} conv */
  of(conv) {
    return this.messages.filter((message) => message.conv === conv);
  }

  /** @param {string} cmid */
  get(cmid) {
    return this.messages.find((message) => message.cmid === cmid);
  }

  /** @param {string} conv @param {string} text @param {number} [replyTo] @returns {Outgoing} */
  add(conv, text, replyTo) {
    /** @type {Outgoing} */
    const message = { conv, cmid: crypto.randomUUID(), text, ts: Date.now(), state: "sending", ...(replyTo ? { replyTo } : {}) };
    this.messages.push(message);
    this.save();
    return message;
  }

  /** @param {string} cmid */
  remove(cmid) {
    if (!this.get(cmid)) return;
    this.messages = this.messages.filter((message) => message.cmid !== cmid);
    this.save();
  }

  save() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(this.messages));
    } catch {
      // Storage is full or forbidden: the messages live as long as the page.
    }
  }

  /** @returns {Outgoing[]} */
  #load() {
    try {
      const messages = JSON.parse(sessionStorage.getItem(this.#key) ?? "[]");
      return Array.isArray(messages) ? messages : [];
    } catch {
      return [];
    }
  }
}
