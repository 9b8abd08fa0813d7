/** Who is writing right now. A word of it lasts 6 s, because the one that ends it may be lost. */

const SHOWN_MS = 6_000;

export class Typing {
  /** @type {Map<string, Map<string, ReturnType<typeof setTimeout>>>} by conversation and user: what ends it */
  #timers = new Map();
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** @param {string} conv @returns {string[]} the users who write there, the first one first */
  in(conv) {
    return [...(this.#timers.get(conv)?.keys() ?? [])];
  }

  /** @param {string} conv @param {string} user @param {boolean} on */
  take(conv, user, on) {
    const users = this.#timers.get(conv) ?? new Map();
    if (!on && !users.has(user)) return;
    clearTimeout(users.get(user));
    if (on) users.set(user, setTimeout(() => this.take(conv, user, false), SHOWN_MS));
    else users.delete(user);
    this.#timers.set(conv, users);
    this.#onChange();
  }

  stop() {
    for (const users of this.#timers.values()) for (const timer of users.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
