/** What a session keeps, in memory: for tests, for Node, and where a browser has nothing better. */

/** @typedef {import("./core/json.js").JsonObject} JsonObject */
/** @typedef {import("./core/machine.js").Kept} Kept */
/** @typedef {import("./core/outputs.js").Change} Change */

/** Keeps everything as long as it lives. Another session with the same store goes on where the last one was. */
export class MemoryStore {
  /** @type {Record<"meta" | "rows" | "logs" | "reads" | "deleted" | "outbox", Map<string, any>>} */
  #tables = {
    meta: new Map(),
    rows: new Map(),
    logs: new Map(),
    reads: new Map(),
    deleted: new Map(),
    outbox: new Map(),
  };
  /** @type {Map<string, Map<number, JsonObject>>} */
  #entries = new Map();

  /** Nothing can go wrong here, so there is nothing to tell. */
  listen() {}

  /**
   * What was kept.
   * @returns {Kept}
   */
  load() {
    const { meta, rows, logs, reads, deleted, outbox } = this.#tables;
    /** @type {Map<string, number[]>} */
    const above = new Map();
    for (const [conv, { watermark }] of logs) {
      const seqs = [...(this.#entries.get(conv)?.keys() ?? [])].filter((seq) => seq > watermark);
      above.set(conv, seqs.sort((one, other) => one - other));
    }
    return {
      inbox: meta.get("inbox")?.value ?? null,
      rows: [...rows],
      logs: [...logs],
      above,
      reads: [...reads],
      deleted: [...deleted],
      outbox: [...outbox.values()],
    };
  }

  /**
   * Keep all of this.
   * @param {Change[]} changes
   */
  apply(changes) {
    for (const { table, key, value, seq } of changes) {
      if (table !== "entries") {
        if (value === null) {
          this.#tables[table].delete(key);
        } else {
          this.#tables[table].set(key, value);
        }
      } else if (seq === null) {
        this.#entries.delete(key);
      } else if (value !== null) {
        let entries = this.#entries.get(key);
        if (entries === undefined) this.#entries.set(key, (entries = new Map()));
        entries.set(seq, value);
      }
    }
  }

  /**
   * Entries of a conversation as they are on the wire, those with the highest seqs below `before` first.
   * @param {string} conv
   * @param {{before?: number, limit?: number}} [range]
   * @returns {Promise<JsonObject[]>}
   */
  async entries(conv, { before = Infinity, limit = 50 } = {}) {
    return [...(this.#entries.get(conv) ?? [])]
      .filter(([seq]) => seq < before)
      .sort(([one], [other]) => other - one)
      .slice(0, limit)
      .map(([, wire]) => wire);
  }

  async close() {}
}
