/** The conversation list: one button a conversation, kept in order while messages come in. */
import { avatar, h, icon, reconcile } from "./dom.js";
import { currentLanguage, fullTime, listTime, t } from "./i18n.js";
import { isGroup, peerOf } from "./protocol.js";
import { previewOf } from "./texts.js";

/** @typedef {import("./chat.js").Chat} Chat */

const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class ListView {
  #list = byId("list");
  #onOpen;

  /** @param {(conv: string) => void} onOpen */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    this.#list.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** @param {Chat} chat */
  render(chat) {
    const list = chat.list;
    byId("list-empty").hidden = !chat.ready || list.length > 0;
    byId("list-loading").hidden = chat.ready;
    reconcile(this.#list, list.map((conv) => this.#item(chat, conv)));
  }

  /** @param {Chat} chat @param {import("./conversation.js").Conversation} conv */
  #item(chat, conv) {
    const title = chat.titleOf(conv);
    const preview = previewOf(chat, conv).slice(0, 200);
    const drafts = chat.drafts(conv.id);
    const ts = Math.max(conv.activity, drafts.at(-1)?.ts ?? 0);
    const { unread } = conv;
    const active = conv === chat.current;
    const muted = conv.row?.muted ?? false;
    const state = drafts.some((draft) => draft.state === "failed") ? "failed" : drafts.length ? "sending" : "";
    const when = ts ? listTime(ts) : "";
    const sig = JSON.stringify([title, preview, ts, when, unread, active, muted, state, currentLanguage()]);
    const make = () => {
      const badge = unread > 0 &&
        h("span", { class: muted ? "badge badge-muted" : "badge" },
          h("span", { "aria-hidden": "true" }, unread > 99 ? "99+" : String(unread)),
          h("span", { class: "visually-hidden" }, t("unreadCount", { count: unread })));
      const mark = state === "failed" ? icon("alert", t("notSent")) : state === "sending" && icon("clock", t("sending"));
      return h("li", {},
        h("button", {
          type: "button",
          class: `row${unread > 0 ? " row-unread" : ""}`,
          "aria-current": active ? "true" : null,
          dataset: { conv: conv.id },
          onclick: () => this.#onOpen(conv.id),
        },
        avatar(isGroup(conv.id) ? conv.id : peerOf(conv.id, chat.me), title, { group: isGroup(conv.id) }),
        h("span", { class: "row-body" },
          h("span", { class: "row-line" },
            h("span", { class: "row-title", dir: "auto" }, title),
            ts > 0 && h("time", { class: "row-time", datetime: new Date(ts).toISOString(), title: fullTime(ts) }, when)),
          h("span", { class: "row-line" },
            mark,
            h("span", { class: "row-preview", dir: "auto" }, preview || "\u00a0"),
            badge))));
    };
    return { key: conv.id, sig, make };
  }

  /** Up, Down, Home and End move between conversations. @param {KeyboardEvent} event */
  #onKey(event) {
    const rows = [...this.#list.querySelectorAll("button")];
    const at = rows.indexOf(/** @type {any} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    rows[Math.max(0, Math.min(rows.length - 1, to))]?.focus();
  }
}
