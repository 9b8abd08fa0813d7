/**
 * A long list in a scrolling box, of which only what is near the reader is in the document. The rest is gaps as high as
 * what they stand for: measured where it was shown before, guessed where it was not. What the reader looks at stays
 * where it is when a height turns out to be another one, or when something comes in above it.
 *
 * The list's children must have no margins: paddings only.
 */
import { h, reconcile } from "./dom.js";

/**
 * One place in the list.
 * @typedef {object} Slot
 * @property {string} key
 * @property {boolean} steady whether it keeps its place among the others, so that the view can be held by it
 * @property {number} guess its height in pixels, until it is measured
 * @property {() => import("./dom.js").Item} item what stands there
 */

/** @typedef {{key: string, top: number}[]} Anchor where slots stand, from the upper edge of the box; the first one that is still there counts */

/** So many slots above and below the box are in the document. */
const AROUND = 30;
/** They are drawn anew when fewer than these are left in the direction of the scrolling. */
const SPARE = 12;
const NEAR_BOTTOM_PX = 80;
/** Measuring what was guessed may bring in more of what is guessed; it ends after a few times. */
const PASSES = 5;

export class VirtualList {
  /** Whether the end is in sight; then it stays so. */
  atBottom = true;

  #box;
  #list;
  #onDrawn;
  /** @type {Slot[]} */
  #slots = [];
  /** @type {Map<string, number>} */
  #places = new Map();
  /** As they were measured, by key. @type {Map<string, number>} */
  #heights = new Map();
  /** Where each slot begins, from the top of the list; one more for the end. */
  #tops = new Float64Array(1);
  /** The slots `[first, end)` are in the document, and perhaps some more. */
  #first = 0;
  #end = 0;
  #sizes = new ResizeObserver(() => this.#resized());
  /** What it observes in the list: whatever is observed again is told of again. @type {Set<Element>} */
  #observed = new Set();

  /**
   * @param {HTMLElement} box what scrolls
   * @param {HTMLElement} list in it
   * @param {() => void} onDrawn called when other slots came into the document
   */
  constructor(box, list, onDrawn) {
    this.#box = box;
    this.#list = list;
    this.#onDrawn = onDrawn;
    this.#sizes.observe(box);
  }

  /** @returns {readonly Slot[]} */
  get slots() {
    return this.#slots;
  }

  clear() {
    this.#slots = [];
    this.#places.clear();
    this.#heights.clear();
    this.#tops = new Float64Array(1);
    this.#first = this.#end = 0;
    this.#list.replaceChildren();
    this.#observe();
    this.atBottom = true;
  }

  /** What holds the view, taken before anything in the box changes. @returns {Anchor} */
  anchor() {
    const from = this.#slotAt(this.#box.scrollTop - this.#list.offsetTop);
    const shift = this.#list.offsetTop - this.#box.scrollTop;
    const anchor = [];
    for (let at = from; at < this.#slots.length && anchor.length < 10; at++) {
      if (this.#slots[at].steady) anchor.push({ key: this.#slots[at].key, top: this.#tops[at] + shift });
    }
    // One that begins out of sight may change its height there: better held by the next one.
    if (anchor.length > 1 && anchor[0].top < 0 && anchor[1].top < this.#box.clientHeight) anchor.push(...anchor.splice(0, 1));
    return anchor;
  }

  /** @param {Slot[]} slots all of them @param {Anchor} anchor */
  update(slots, anchor) {
    this.#slots = slots;
    this.#places = new Map(slots.map(({ key }, at) => [key, at]));
    this.#sum();
    this.#draw(anchor);
  }

  toBottom() {
    this.atBottom = true;
    this.#draw([]);
  }

  /** Puts a slot so far below the upper edge of the box; null: into the middle. @param {string} key @param {number|null} [below] */
  reveal(key, below = null) {
    const at = this.#places.get(key);
    if (at === undefined) return;
    const height = this.#tops[at + 1] - this.#tops[at];
    this.atBottom = false;
    this.#draw([{ key, top: below ?? Math.max(0, (this.#box.clientHeight - height) / 2) }]);
    this.scrolled();
  }

  /** Where a slot begins, from the upper edge of the box; null: there is none. @param {string} key @returns {number|null} */
  topOf(key) {
    const at = this.#places.get(key);
    return at === undefined ? null : this.#tops[at] + this.#list.offsetTop - this.#box.scrollTop;
  }

  /** @param {string} key @returns {number} -1: there is none */
  indexOf(key) {
    return this.#places.get(key) ?? -1;
  }

  /** The node of a slot, if it is in the document. @param {string} key */
  node(key) {
    return /** @type {HTMLElement|null} */ (this.#list.querySelector(`:scope > [data-key="${CSS.escape(key)}"]`));
  }

  /** To be called when the box was scrolled. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const y = scrollTop - this.#list.offsetTop;
    const above = Math.max(0, this.#slotAt(y) - SPARE);
    const below = Math.min(this.#slots.length, this.#slotAt(y + clientHeight) + 1 + SPARE);
    if (above < this.#first || below > this.#end) {
      const anchor = this.anchor();
      this.atBottom = false;
      this.#draw(anchor);
    }
    this.atBottom = this.#box.scrollHeight - this.#box.scrollTop - clientHeight < NEAR_BOTTOM_PX;
  }

  #resized() {
    const anchor = this.anchor();
    if (this.#measure() || this.atBottom) this.#draw(anchor);
    else this.scrolled();
  }

  /** Draws what belongs into the document when the view is held by the anchor, or by the end. @param {Anchor} anchor */
  #draw(anchor) {
    for (let pass = 0; pass < PASSES; pass++) {
      const y = this.#wanted(anchor) - this.#list.offsetTop;
      this.#put(this.#slotAt(y) - AROUND, this.#slotAt(y + this.#box.clientHeight) + 1 + AROUND);
      if (!this.#measure()) break;
    }
    this.#fitGaps();
    const wanted = this.atBottom ? this.#box.scrollHeight : this.#wanted(anchor);
    if (Math.abs(wanted - this.#box.scrollTop) >= 1) this.#box.scrollTop = wanted;
    this.#onDrawn();
  }

  /** Where the box is to be scrolled to. @param {Anchor} anchor @returns {number} */
  #wanted(anchor) {
    const end = this.#list.offsetTop + this.#tops[this.#slots.length] - this.#box.clientHeight;
    if (this.atBottom) return Math.max(0, end);
    const held = anchor.find(({ key }) => this.#places.has(key));
    if (!held) return this.#box.scrollTop;
    return Math.max(0, this.#tops[/** @type {number} */ (this.#places.get(held.key))] + this.#list.offsetTop - held.top);
  }

  /** @param {number} first @param {number} end */
  #put(first, end) {
    this.#first = Math.max(0, first);
    this.#end = Math.min(this.#slots.length, end);
    const shown = new Set(this.#pinned());
    for (let at = this.#first; at < this.#end; at++) shown.add(at);
    const items = [];
    let next = 0;
    for (const at of [...shown].sort((a, b) => a - b)) {
      // One stands before what is near the reader, others around what is pinned.
      if (at > next) items.push(gap(at === this.#first ? "gap:near" : `gap:${at}`));
      items.push(this.#slots[at].item());
      next = at + 1;
    }
    if (next < this.#slots.length) items.push(gap("gap:end"));
    reconcile(this.#list, items);
    this.#fitGaps();
    this.#observe();
  }

  #observe() {
    for (const node of this.#observed) {
      if (node.parentNode === this.#list) continue;
      this.#sizes.unobserve(node);
      this.#observed.delete(node);
    }
    for (const node of this.#list.children) {
      if (this.#observed.has(node) || node.classList.contains("gap")) continue;
      this.#sizes.observe(node);
      this.#observed.add(node);
    }
  }

  /** Slots that stay in the document wherever the reader is: what has the focus, and where the selection begins and ends. */
  #pinned() {
    const selection = getSelection();
    const nodes = [document.activeElement, ...(selection && !selection.isCollapsed ? [selection.anchorNode, selection.focusNode] : [])];
    const pinned = [];
    for (let node of nodes) {
      if (!node || node === this.#list || !this.#list.contains(node)) continue;
      while (node.parentNode !== this.#list) node = /** @type {Node} */ (node.parentNode);
      const at = this.#places.get(/** @type {HTMLElement} */ (node).dataset.key ?? "");
      if (at !== undefined) pinned.push(at);
    }
    return pinned;
  }

  /** Makes each gap as high as what it stands for. */
  #fitGaps() {
    let next = 0;
    for (let node = /** @type {any} */ (this.#list.firstElementChild); node; node = node.nextElementSibling) {
      const at = this.#places.get(node.dataset.key);
      if (at !== undefined) {
        next = at + 1;
        continue;
      }
      const until = this.#places.get(node.nextElementSibling?.dataset.key) ?? this.#slots.length;
      const height = `${this.#tops[until] - this.#tops[next]}px`;
      if (node.style.height !== height) node.style.height = height;
    }
  }

  /** @returns {boolean} whether a height is another one than it was thought to be */
  #measure() {
    let changed = false;
    for (const node of this.#list.children) {
      const { key = "" } = /** @type {HTMLElement} */ (node).dataset;
      if (!this.#places.has(key)) continue;
      const { height } = node.getBoundingClientRect();
      if (Math.abs(height - (this.#heights.get(key) ?? -1)) < 0.1) continue;
      this.#heights.set(key, height);
      changed = true;
    }
    if (changed) this.#sum();
    return changed;
  }

  #sum() {
    const tops = new Float64Array(this.#slots.length + 1);
    for (let at = 0; at < this.#slots.length; at++) {
      const { key, guess } = this.#slots[at];
      tops[at + 1] = tops[at] + (this.#heights.get(key) ?? guess);
    }
    this.#tops = tops;
  }

  /** The slot at a height of the list; the nearest one where there is none. @param {number} y */
  #slotAt(y) {
    let low = 0;
    let high = Math.max(0, this.#slots.length - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** @param {string} key @returns {import("./dom.js").Item} */
const gap = (key) => ({ key, sig: "", make: () => h("div", { class: "gap", "aria-hidden": "true" }) });
