/**
 * What the user has deleted for themself, on whatever device: ranges of seqs by conversation (rule 4).
 *
 * Deleted stays deleted, so a newer version has it all.
 */
import { integer, isInteger } from "./json.js";
import { change, deletedChanged, noted } from "./outputs.js";

/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./requests.js").Ask} Ask */

/** `{deleted, ranges}` by conversation. What is fetched comes without what was deleted by then. */
export class Deletions {
  /** @type {Map<string, JsonObject>} */
  of = new Map();
  #out;
  #ask;
  #save;
  /** @type {Set<string>} */
  #asking = new Set();

  /**
   * @param {(output: Output) => void} out
   * @param {Ask} ask
   * @param {(changes: Change[]) => void} save
   */
  constructor(out, ask, save) {
    this.#out = out;
    this.#ask = ask;
    this.#save = save;
  }

  /**
   * A row says what the version is. Another one than is known is asked for.
   * @param {string} conv
   * @param {number} version
   * @param {number} now
   */
  heard(conv, version, now) {
    if (version > this.#version(conv) && !this.#asking.has(conv)) {
      this.#asking.add(conv);
      this.#ask(
        "sync",
        "deleted",
        { conv },
        (data, error) => {
          this.#asking.delete(conv);
          if (error === null) {
            this.take({ conv, ...data });
          } else {
            this.#out(noted(`cannot ask what was deleted of ${conv}: ${error}`)); // the next row asks again
          }
        },
        now,
      );
    }
  }

  /**
   * What is deleted of a conversation: a reply, or the push to the user's other devices.
   * @param {JsonObject} data
   */
  take({ conv, deleted, ranges }) {
    if (typeof conv !== "string" || !isInteger(deleted) || !Array.isArray(ranges) || !ranges.every(isRange)) return;
    if (deleted > this.#version(conv)) {
      const value = { deleted, ranges };
      this.of.set(conv, value);
      this.#save([change("deleted", conv, value)]);
      this.#out(deletedChanged(conv));
    }
  }

  /** Go on after an end. */
  resume() {
    this.#asking.clear();
  }

  /** @param {string} conv */
  #version(conv) {
    return integer(this.of.get(conv)?.deleted);
  }
}

/** @param {unknown} value */
function isRange(value) {
  return Array.isArray(value) && value.length === 2 && value.every(isInteger);
}
