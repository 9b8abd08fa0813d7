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
  checks: "m2.5 12.5 4.5 4.5L16.5 7.5M11.5 15.5 13 17 22 7.5",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  pin: "M12 15v6M8.5 3.5h7l-1 6 3 3.5v2h-11v-2l3-3.5-1-6Z",
  reply: "M9 14.5 4 9.5l5-5M4 9.5h10a6 6 0 0 1 6 6v4",
  forward: "m15 14.5 5-5-5-5M20 9.5H10a6 6 0 0 0-6 6v4",
  edit: "M4 20h4L19.5 8.5a2.1 2.1 0 0 0-4-4L4 16v4ZM13.5 6.5l4 4",
  recall: "M4.5 12a7.5 7.5 0 1 0 2.6-5.7L4.5 8.6M4.5 4v4.6h4.6",
  trash: "M4.5 6.5h15M9.5 6.5v-2h5v2M6.5 6.5l1 13h9l1-13M10.5 10.5v5M13.5 10.5v5",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  hide: "M3.5 3.5l17 17M9.9 5.7A9 9 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a17 17 0 0 1-2.6 3.3M6.4 7.3A16 16 0 0 0 2.5 12S6 18.5 12 18.5a9 9 0 0 0 3.6-.7",
  bell: "M6 16V11a6 6 0 1 1 12 0v5l1.5 2h-15L6 16ZM10 20.5h4",
  muted: "M3.5 3.5l17 17M17.9 13V11a6 6 0 0 0-8.8-5.3M6.2 9.6A6 6 0 0 0 6 11v5l-1.5 2H18M10 20.5h4",
  select: "M4 6.5h2M4 12h2M4 17.5h2M9.5 6.5H20M9.5 12H20M9.5 17.5H20",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM20 20l-4.8-4.8",
  packet: "M6.5 3h11A1.5 1.5 0 0 1 19 4.5v15a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 19.5v-15A1.5 1.5 0 0 1 6.5 3ZM5 7.5c1.5 1.5 3 2.4 4.7 2.8M19 7.5c-1.5 1.5-3 2.4-4.7 2.8M12 8.6a2.3 2.3 0 1 0 0 4.6 2.3 2.3 0 0 0 0-4.6Z",
  crown: "M4 17.5h16M4.5 14 3.5 7l5 3.5L12 5l3.5 5.5 5-3.5-1 7Z",
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

/** Where the focus goes on: to the same control, else to the first one. @param {HTMLElement} focused @param {HTMLElement} fresh @returns {HTMLElement|null} */
function heirOf(focused, fresh) {
  if (fresh.matches("[tabindex],button")) return fresh;
  const controls = [...fresh.querySelectorAll("button")];
  return controls.find((control) => control.dataset.focus === focused.dataset.focus) ?? controls[0] ?? null;
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
  const focused = /** @type {any} */ (parent.contains(document.activeElement) ? document.activeElement : null);
  const focusedAt = [...parent.children].findIndex((node) => node.contains(focused));
  const focusedKey = /** @type {any} */ (parent.children[focusedAt])?.dataset.key;
  // First, so that what stays need not be moved past it: a node that is moved loses the focus.
  const wanted = new Set(items.map(({ key }) => key));
  for (const [key, node] of old) if (!wanted.has(key ?? "")) node.remove();
  let place = parent.firstElementChild;
  for (const { key, sig, make } of items) {
    let node = /** @type {any} */ (old.get(key));
    if (!node || node.sig !== sig) {
      const fresh = /** @type {any} */ (make());
      fresh.dataset.key = key;
      fresh.sig = sig;
      if (node) {
        if (place === node) place = fresh;
        node.replaceWith(fresh);
      }
      node = fresh;
    }
    if (place === node) place = node.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  if (focused && !parent.contains(document.activeElement)) refocus(parent, focused, focusedAt, focusedKey);
}

/**
 * Gives the focus to what stands where it was: the node that was moved, the one that was made anew, else the nearest one.
 * @param {HTMLElement} parent
 * @param {HTMLElement} focused
 * @param {number} at where it was
 * @param {string|undefined} key
 */
function refocus(parent, focused, at, key) {
  const children = /** @type {HTMLElement[]} */ ([...parent.children]);
  const near = [...children.filter((child) => child.dataset.key === key), ...children.slice(0, at + 1).reverse(), ...children.slice(at + 1)];
  const heirs = focused.isConnected ? [focused] : near.map((child) => heirOf(focused, child));
  heirs.find((heir) => heir)?.focus({ preventScroll: true });
}
