/** Messages that the server has not accepted yet. Kept for the life of the tab, so a reload loses and doubles none. */

/**
 * @typedef {object} Draft
 * @property {string} conv
 * @property {string} cmid the idempotency key, the same over every retry
 * @property {string} text
 * @property {number} ts
 * @property {"sending"|"failed"} state
 * @property {string} [code] the error code, if it failed
 * @property {number} [until] when the server may take it, if it said so: milliseconds since the epoch
 */

export class Outbox {
  /** @type {Draft[]} */
  drafts;
  #key;

  /** @param {string} me */
  constructor(me) {
    this.#key = `im.outbox.${me}`;
    this.drafts = this.#load();
  }

  /** @param {string} conv */
  of(conv) {
    return this.drafts.filter((draft) => draft.conv === conv);
  }

  /** @param {string} cmid */
  get(cmid) {
    return this.drafts.find((draft) => draft.cmid === cmid);
  }

  /** @param {string} conv @param {string} text @returns {Draft} */
  add(conv, text) {
    /** @type {Draft} */
    const draft = { conv, cmid: crypto.randomUUID(), text, ts: Date.now(), state: "sending" };
    this.drafts.push(draft);
    this.save();
    return draft;
  }

  /** @param {string} cmid */
  remove(cmid) {
    if (!this.get(cmid)) return;
    this.drafts = this.drafts.filter((draft) => draft.cmid !== cmid);
    this.save();
  }

  save() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(this.drafts));
    } catch {
      // Storage is full or forbidden: the messages live as long as the page.
    }
  }

  /** @returns {Draft[]} */
  #load() {
    try {
      const drafts = JSON.parse(sessionStorage.getItem(this.#key) ?? "[]");
      return Array.isArray(drafts) ? drafts : [];
    } catch {
      return [];
    }
  }
}
