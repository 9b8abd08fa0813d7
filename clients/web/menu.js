/** The one menu of the page: what can be done with the message or the conversation whose button was pressed. */
import { h, icon } from "./dom.js";

/**
 * @typedef {object} Quick a short one, side by side with others above the rest
 * @property {string} text
 * @property {string} label
 * @property {boolean} checked
 * @property {() => void} run
 */

/** @typedef {{label: string, icon: Parameters<typeof icon>[0], tone?: "bad", run: () => void}} Choice */

const GAP_PX = 6;
const EDGE_PX = 8;

export class Menu {
  #node = /** @type {HTMLElement} */ (document.getElementById("menu"));
  /** The button may have been made anew since. @type {() => HTMLElement|null} */
  #opener = () => null;

  constructor() {
    this.#node.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("pointerdown", (event) => {
      const at = /** @type {Node} */ (event.target);
      if (this.isOpen && !this.#node.contains(at) && !this.#opener()?.contains(at)) this.close();
    });
    // It stands where its button was.
    globalThis.addEventListener("resize", () => this.close());
    document.addEventListener("wheel", (event) => {
      if (!this.#node.contains(/** @type {Node} */ (event.target))) this.close();
    }, { passive: true });
  }

  get isOpen() {
    return this.#node.matches(":popover-open");
  }

  /**
   * @param {() => HTMLElement|null} opener finds the button that it belongs to
   * @param {string} label
   * @param {{quick?: Quick[], choices: Choice[]}} what
   * @param {{x: number, y: number}} [point] where it was asked for, if not with the button
   */
  open(opener, label, { quick = [], choices }, point) {
    const again = this.isOpen && this.#opener() === opener();
    this.close();
    if (again) return;
    this.#opener = opener;
    const act = (run) => () => {
      this.close({ refocus: true });
      run();
    };
    this.#node.setAttribute("aria-label", label);
    this.#node.replaceChildren(
      quick.length ? h("div", { class: "menu-quick", role: "none" }, ...quick.map((each) =>
        h("button", { type: "button", role: "menuitemcheckbox", class: "menu-emoji", "aria-checked": String(each.checked), "aria-label": each.label, title: each.label, tabindex: -1, onclick: act(each.run) },
          each.text))) : "",
      ...choices.map((each) =>
        h("button", { type: "button", role: "menuitem", class: each.tone === "bad" ? "menu-item menu-item-bad" : "menu-item", tabindex: -1, onclick: act(each.run) },
          icon(each.icon), h("span", {}, each.label))));
    opener()?.setAttribute("aria-expanded", "true");
    this.#node.showPopover();
    this.#place(point);
    this.#items[0]?.focus();
  }

  /** @param {{refocus?: boolean}} [options] */
  close({ refocus = false } = {}) {
    if (!this.isOpen) return;
    this.#node.hidePopover();
    const opener = this.#opener();
    opener?.setAttribute("aria-expanded", "false");
    if (refocus) opener?.focus();
  }

  /** @returns {HTMLElement[]} */
  get #items() {
    return [...this.#node.querySelectorAll("button")];
  }

  /** Below its button where there is room, else above it, and never out of sight. @param {{x: number, y: number}} [point] */
  #place(point) {
    const button = this.#opener()?.getBoundingClientRect();
    const { width, height } = this.#node.getBoundingClientRect();
    const anchor = point ? new DOMRect(point.x, point.y, 0, 0) : button ?? new DOMRect();
    const below = anchor.bottom + GAP_PX;
    const top = below + height <= innerHeight - EDGE_PX ? below : anchor.top - GAP_PX - height;
    const left = point ? anchor.left : anchor.left + anchor.width / 2 > innerWidth / 2 ? anchor.right - width : anchor.left;
    this.#node.style.top = `${Math.max(EDGE_PX, Math.min(top, innerHeight - height - EDGE_PX))}px`;
    this.#node.style.left = `${Math.max(EDGE_PX, Math.min(left, innerWidth - width - EDGE_PX))}px`;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      this.close({ refocus: true });
      return;
    }
    const items = this.#items;
    const at = items.indexOf(/** @type {any} */ (document.activeElement));
    const quick = this.#node.querySelectorAll(".menu-emoji").length;
    const to = {
      ArrowDown: at < quick ? quick : at + 1,
      ArrowUp: at === quick && quick ? 0 : at < quick ? items.length - 1 : at - 1,
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items.at(to % items.length)?.focus();
  }
}
