/** What the user has begun to write: kept here at once, and with the server soon, so that their other devices have it too. */
import { MAX_DRAFT } from "./protocol.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

const SAVE_MS = 1_000;

export class Drafts {
  /** @type {Map<Conversation, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  /** @type {Set<Conversation>} */
  #saving = new Set();
  #send;
  #stopped = false;

  /** @param {(conv: Conversation, draft: string) => Promise<void>} send has it in the conversation's row afterwards */
  constructor(send) {
    this.#send = send;
  }

  /** @param {Conversation} conv @param {string} text @param {boolean} now whether to save it without waiting for more */
  keep(conv, text, now) {
    conv.unsaved = text;
    if (now) this.#save(conv);
    else this.#saveSoon(conv);
  }

  /** Saves what waits: the page may be gone soon. */
  flush() {
    for (const conv of this.#timers.keys()) this.#save(conv);
  }

  stop() {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  /** @param {Conversation} conv */
  #saveSoon(conv) {
    if (this.#stopped) return;
    clearTimeout(this.#timers.get(conv));
    this.#timers.set(conv, setTimeout(() => this.#save(conv), SAVE_MS));
  }

  /** @param {Conversation} conv */
  async #save(conv) {
    clearTimeout(this.#timers.get(conv));
    this.#timers.delete(conv);
    const text = conv.unsaved;
    // A conversation that has not begun has no place for it yet.
    if (text === null || !conv.row || conv.isClosed || this.#saving.has(conv)) return;
    const draft = [...text].slice(0, MAX_DRAFT).join("");
    this.#saving.add(conv);
    try {
      if (draft !== conv.row.draft) await this.#send(conv, draft);
      // What does not fit stays here in full.
      if (conv.unsaved === text && draft === text) conv.unsaved = null;
    } catch {
      // It stays here, and the next key tries again.
    } finally {
      this.#saving.delete(conv);
      if (conv.unsaved !== null && conv.unsaved !== text) this.#saveSoon(conv);
    }
  }
}
