/** Finding a text in what is loaded of the open conversation. */
import { t } from "./i18n.js";

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class FindView {
  #bar = byId("find");
  #text = byId("find-text");
  #count = byId("find-count");
  #onChange;
  /** The seqs of the messages that have it, ascending. @type {number[]} */
  #hits = [];
  /** Where the reader is among them. @type {number|null} */
  seq = null;

  /** @param {(seq: number|null) => void} onChange called when something else is looked for, or another match; with the match to show */
  constructor(onChange) {
    this.#onChange = onChange;
    byId("find-button").addEventListener("click", () => (this.isOpen ? this.close() : this.open()));
    byId("find-close").addEventListener("click", () => this.close());
    byId("find-next").addEventListener("click", () => this.#go(1));
    byId("find-previous").addEventListener("click", () => this.#go(-1));
    this.#text.addEventListener("input", () => {
      this.seq = null;
      this.#onChange(null);
      this.#go(-1);
    });
    this.#bar.addEventListener("submit", (event) => event.preventDefault());
    this.#bar.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && event.target === this.#text) this.#go(event.shiftKey ? 1 : -1);
    });
  }

  get isOpen() {
    return !this.#bar.hidden;
  }

  /** What is looked for, in small letters; empty: nothing. */
  get query() {
    return this.isOpen ? this.#text.value.trim().toLowerCase() : "";
  }

  open() {
    this.#bar.hidden = false;
    byId("find-button").setAttribute("aria-expanded", "true");
    this.#text.focus();
    this.#text.select();
    this.#onChange(null);
  }

  /** @param {{refocus?: boolean}} [options] */
  close({ refocus = true } = {}) {
    if (!this.isOpen) return;
    this.#bar.hidden = true;
    this.#text.value = "";
    this.seq = null;
    byId("find-button").setAttribute("aria-expanded", "false");
    if (refocus) byId("find-button").focus();
    this.#onChange(null);
  }

  /** @param {number[]} hits the seqs of the messages that have it, ascending */
  take(hits) {
    this.#hits = hits;
    const at = this.seq === null ? -1 : hits.indexOf(this.seq);
    const text = !this.query ? "" : !hits.length ? t("findNone") : t("findCount", { at: at < 0 ? "–" : hits.length - at, count: hits.length });
    if (this.#count.textContent !== text) this.#count.textContent = text;
    for (const each of ["find-next", "find-previous"]) byId(each).disabled = !hits.length;
  }

  /** To the match above (-1) or below; from none to the newest one, and round at the ends. @param {1|-1} step */
  #go(step) {
    if (!this.#hits.length) return;
    const from = this.seq === null ? (step < 0 ? 0 : -1) : this.#hits.findLastIndex((seq) => seq <= /** @type {number} */ (this.seq));
    this.seq = /** @type {number} */ (this.#hits.at((from + step) % this.#hits.length));
    this.#onChange(this.seq);
  }
}
