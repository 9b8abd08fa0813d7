/** What a browser tells a page about itself: whether somebody looks at it, and whether there is a network. */

/**
 * @typedef {object} PageHooks
 * @property {() => void} wake time may have passed unseen
 * @property {() => void} resumed somebody looks again
 * @property {(online: boolean) => void} network
 */

/**
 * Watch the page, where there is one. Returns how to stop that.
 * @param {PageHooks} hooks
 * @returns {() => void}
 */
export function watchPage({ wake, resumed, network }) {
  const { document } = globalThis;
  const looked = () => {
    wake();
    if (document === undefined || document.visibilityState === "visible") resumed();
  };
  const events = /** @type {[EventTarget | undefined, string, () => void][]} */ ([
    [document, "visibilitychange", looked],
    [globalThis, "pageshow", looked],
    [globalThis, "online", () => network(true)],
    [globalThis, "offline", () => network(false)],
  ]).filter(([target]) => typeof target?.addEventListener === "function");
  for (const [target, name, then] of events) target?.addEventListener(name, then);
  return () => {
    for (const [target, name, then] of events) target?.removeEventListener(name, then);
  };
}
