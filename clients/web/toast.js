/** One line for a while: what the server did not do, or what has happened elsewhere. */
import { errorText, t } from "./i18n.js";

const SHOWN_MS = 6_000;

/** What some errors mean when it is a message that should be changed. @type {Record<string, import("./i18n.js").Key>} */
const OF_MESSAGES = { expired: "tooLate", conflict: "alreadyRecalled" };

/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;

/** @param {string} text @param {"bad"|"news"} [tone] */
export function toast(text, tone = "bad") {
  const node = /** @type {HTMLElement} */ (document.getElementById("toast"));
  node.className = tone === "bad" ? "toast" : "toast toast-news";
  node.setAttribute("role", tone === "bad" ? "alert" : "status");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => {
    node.hidden = true;
  }, SHOWN_MS);
}

/** Says why something was not done, if it was not. @param {Promise<unknown>} done @param {{ofMessage?: boolean}} [options] */
export async function report(done, { ofMessage = false } = {}) {
  try {
    await done;
  } catch (error) {
    const { code } = error;
    if (code !== "closed") toast(ofMessage && Object.hasOwn(OF_MESSAGES, code) ? t(OF_MESSAGES[code]) : errorText(code ?? "internal"));
  }
}
