/** The conversation list: one button a conversation, kept in order while messages come in. */
import { choicesOfConversation } from "./choices.js";
import { avatar, h, icon, reconcile } from "./dom.js";
import { currentLanguage, fullTime, listTime, t } from "./i18n.js";
import { isGroup, peerOf } from "./protocol.js";
import { previewOf, typingText } from "./texts.js";

/** @typedef {import("./chat.js").Chat} Chat */

const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class ListView {
  #list = byId("list");
  #onOpen;
  #menu;
  #openPins;

  /**
   * @param {(conv: string|null) => void} onOpen
   * @param {import("./menu.js").Menu} menu
   * @param {(conv: import("./conversation.js").Conversation) => void} openPins
   */
  constructor(onOpen, menu, openPins) {
    this.#openPins = openPins;
    this.#onOpen = onOpen;
    this.#menu = menu;
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
    const typing = typingText(chat, conv);
    const preview = (typing || previewOf(chat, conv)).slice(0, 200);
    const outgoing = chat.outgoing(conv.id);
    const ts = Math.max(conv.activity, outgoing.at(-1)?.ts ?? 0);
    const { unread } = conv;
    const active = conv === chat.current;
    const { muted = false, pinned = false } = conv.row ?? {};
    const hasMenu = conv.row !== null;
    const state = outgoing.some((message) => message.state === "failed") ? "failed" : outgoing.length ? "sending" : "";
    const when = ts ? listTime(ts) : "";
    const sig = JSON.stringify([title, preview, ts, when, unread, active, muted, pinned, hasMenu, typing !== "", state, currentLanguage()]);
    const make = () => {
      const badge = unread > 0 &&
        h("span", { class: muted ? "badge badge-muted" : "badge" },
          h("span", { "aria-hidden": "true" }, unread > 99 ? "99+" : String(unread)),
          h("span", { class: "visually-hidden" }, t("unreadCount", { count: unread })));
      const mark = state === "failed" ? icon("alert", t("notSent")) : state === "sending" && icon("clock", t("sending"));
      return h("li", { class: "row-item", oncontextmenu: (event) => this.#onContextMenu(event, chat, conv) },
        h("button", {
          type: "button",
          class: `row${unread > 0 ? " row-unread" : ""}`,
          "aria-current": active ? "true" : null,
          dataset: { conv: conv.id, focus: "row" },
          onclick: () => this.#onOpen(conv.id),
        },
        avatar(isGroup(conv.id) ? conv.id : peerOf(conv.id, chat.me), title, { group: isGroup(conv.id) }),
        h("span", { class: "row-body" },
          h("span", { class: "row-line" },
            h("span", { class: "row-title", dir: "auto" }, title),
            muted && icon("muted", t("mutedMark")),
            pinned && icon("pin", t("pinnedMark")),
            ts > 0 && h("time", { class: "row-time", datetime: new Date(ts).toISOString(), title: fullTime(ts) }, when)),
          h("span", { class: "row-line" },
            mark,
            h("span", { class: typing ? "row-preview typing" : "row-preview", dir: "auto" }, preview || "\u00a0"),
            badge))),
        hasMenu && h("button", {
          type: "button", class: "icon-button row-more", "aria-label": t("conversationActions"), title: t("conversationActions"),
          "aria-haspopup": "menu", "aria-expanded": "false", dataset: { focus: "more" }, onclick: () => this.#openMenu(chat, conv),
        }, icon("more")));
    };
    return { key: conv.id, sig, make };
  }

  /** @param {Chat} chat @param {import("./conversation.js").Conversation} conv @param {{x: number, y: number}} [point] */
  #openMenu(chat, conv, point) {
    const opener = () => /** @type {HTMLElement|null} */ (this.#list.querySelector(`[data-key="${CSS.escape(conv.id)}"] .row-more`));
    this.#menu.open(opener, t("conversationActions"), choicesOfConversation(chat, conv, { leave: () => this.#onOpen(null), pins: this.#openPins }), point);
  }

  /** @param {MouseEvent} event @param {Chat} chat @param {import("./conversation.js").Conversation} conv */
  #onContextMenu(event, chat, conv) {
    if (!conv.row) return;
    event.preventDefault();
    // A key asks for it without a place.
    this.#openMenu(chat, conv, event.button === 2 || event.detail ? { x: event.clientX, y: event.clientY } : undefined);
  }

  /** Up, Down, Home and End move between conversations. @param {KeyboardEvent} event */
  #onKey(event) {
    const rows = /** @type {HTMLElement[]} */ ([...this.#list.querySelectorAll(".row")]);
    const at = rows.indexOf(/** @type {any} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    rows[Math.max(0, Math.min(rows.length - 1, to))]?.focus();
  }
}
