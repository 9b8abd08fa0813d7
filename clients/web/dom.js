/** Small pieces of the document. Text only ever becomes a text node: nothing here reads markup from a string. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `dataset`, `on…` listeners, attributes; false, null and undefined are left out
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

const ICONS = {
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  alert: "M12 7.5v5.5m0 3.5v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  people: "M16 20v-1.5a4 4 0 0 0-4-4H7a4 4 0 0 0-4 4V20m6.5-9a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM21 20v-1.5a4 4 0 0 0-3-3.9M15.5 4.2a3.5 3.5 0 0 1 0 6.6",
};

/** @param {keyof typeof ICONS} name @param {string} [label] read to screen readers; without one it is decoration */
export function icon(name, label) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** One of eight hues, always the same for one id. @param {string} id */
export function hue(id) {
  let hash = 2166136261;
  for (const char of id) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  return `hue-${(hash >>> 0) % 8}`;
}

/** @param {string} name */
function initials(name) {
  const words = name.trim().split(/[\s_\-.]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0]).join("").toLocaleUpperCase() || "?";
}

/** @param {string} id @param {string} name @param {{group?: boolean, size?: "small"|"large"}} [options] */
export function avatar(id, name, { group = false, size } = {}) {
  const classes = ["avatar", hue(id), group && "avatar-group", size && `avatar-${size}`].filter(Boolean).join(" ");
  return h("span", { class: classes, "aria-hidden": "true" }, group ? icon("people") : initials(name));
}

/** @typedef {{key: string, sig: string, make: () => HTMLElement}} Item */

/**
 * Makes a parent's children match the items: a node stays while its key and signature do.
 * @param {HTMLElement} parent
 * @param {Item[]} items
 */
export function reconcile(parent, items) {
  /** @type {Map<string|undefined, Element>} */
  const old = new Map([...parent.children].map((node) => [/** @type {HTMLElement} */ (node).dataset.key, node]));
  let place = parent.firstElementChild;
  for (const { key, sig, make } of items) {
    let node = /** @type {any} */ (old.get(key));
    old.delete(key);
    if (!node || node.sig !== sig) {
      const fresh = /** @type {any} */ (make());
      fresh.dataset.key = key;
      fresh.sig = sig;
      if (node) {
        const focused = node.contains(document.activeElement);
        if (place === node) place = fresh;
        node.replaceWith(fresh);
        if (focused) (fresh.matches("[tabindex],button") ? fresh : fresh.querySelector("button"))?.focus();
      }
      node = fresh;
    }
    if (place === node) place = node.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}
