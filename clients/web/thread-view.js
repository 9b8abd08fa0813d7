/** The open conversation: its messages, where it is scrolled to, and what can be done with them. */
import { choicesOfConversation, choicesOfMessage } from "./choices.js";
import { Composer } from "./composer.js";
import { avatar, h, reconcile } from "./dom.js";
import { currentLanguage, errorText, t } from "./i18n.js";
import { itemsOf } from "./message-view.js";
import { isCountable, isGroup, peerOf } from "./protocol.js";
import { typingText } from "./texts.js";
import { report } from "./toast.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */

const NEAR_BOTTOM_PX = 80;
const NEAR_TOP_PX = 160;
const FLASH_MS = 1_500;

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class ThreadView {
  #scroller = byId("scroller");
  #messages = byId("messages");
  #top = byId("thread-top");
  #jump = byId("jump");
  #composer = new Composer();
  /** Sees which red packets the reader sees. */
  #sight = new IntersectionObserver((seen) => this.#onSight(seen), { root: this.#scroller });
  #menu;
  #open;
  /** @type {Chat|null} */
  #chat = null;
  /** @type {Conversation|null} */
  #shown = null;
  #atBottom = true;
  #unseen = 0;
  #lastSeq = 0;
  #placed = false;

  /**
   * @param {import("./menu.js").Menu} menu
   * @param {{leave: () => void, receipts: (conv: Conversation, seq: number) => void, packet: (packet: string) => void}} open
   */
  constructor(menu, open) {
    this.#menu = menu;
    this.#open = open;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#jump.addEventListener("click", () => this.#toBottom());
    this.#messages.addEventListener("keydown", (event) => this.#onKey(event));
    this.#messages.addEventListener("focusin", () => this.#rove());
    byId("thread-more").addEventListener("click", () => this.#openConversationMenu());
    new ResizeObserver(() => {
      if (this.#atBottom && this.#placed) this.#toBottom();
    }).observe(this.#scroller);
  }

  /** @param {Chat} chat @param {boolean} canWrite */
  render(chat, canWrite) {
    this.#chat = chat;
    const conv = chat.current;
    byId("thread").hidden = !conv;
    byId("thread-none").hidden = Boolean(conv);
    if (conv !== this.#shown) this.#switchTo(chat, conv);
    if (!conv) return;
    this.#renderHead(chat, conv);
    this.#composer.render(canWrite);
    const anchor = this.#placed && !this.#atBottom ? this.#anchor() : null;
    this.#renderTop(chat, conv);
    this.#renderMessages(chat, conv);
    // What the reader looks at stays where it is, whatever came in above it.
    if (anchor && !this.#atBottom) this.#scroller.scrollTop += (this.#topOf(anchor.key) ?? anchor.top) - anchor.top;
    this.#renderJump();
  }

  /** To where the next key goes, unless that would raise an on-screen keyboard. */
  focusComposer() {
    if (matchMedia("(hover: hover) and (pointer: fine)").matches) this.#composer.focus();
  }

  /** @param {Chat} chat @param {Conversation|null} conv */
  #switchTo(chat, conv) {
    this.#shown = conv;
    this.#menu.close();
    this.#messages.replaceChildren();
    this.#atBottom = true;
    this.#placed = false;
    this.#unseen = 0;
    this.#lastSeq = 0;
    this.#composer.switchTo(chat, conv);
    if (conv) this.focusComposer();
  }

  /** @param {Chat} chat @param {Conversation} conv */
  #renderHead(chat, conv) {
    const title = chat.titleOf(conv);
    const group = isGroup(conv.id);
    const id = group ? conv.id : peerOf(conv.id, chat.me);
    reconcile(byId("thread-avatar"), [{ key: id, sig: title, make: () => avatar(id, title, { group }) }]);
    byId("thread-title").textContent = title;
    const count = conv.memberCount;
    const groupText = count === null || conv.isClosed ? t("group") : count === 1 ? t("groupOfOne") : t("groupOf", { count });
    const typing = typingText(chat, conv);
    byId("thread-subtitle").textContent = typing || (group ? groupText : title === id ? t("direct") : id);
    byId("thread-subtitle").classList.toggle("typing", Boolean(typing));
    byId("info-button").hidden = !group;
    byId("thread-more").hidden = !conv.row;
    const others = chat.totalUnread - conv.unread;
    const badge = byId("back-badge");
    badge.hidden = others <= 0;
    badge.textContent = others > 99 ? "99+" : String(others);
  }

  /** @param {Chat} chat @param {Conversation} conv */
  #renderTop(chat, conv) {
    const name = chat.titleOf(conv);
    const group = isGroup(conv.id);
    const empty = conv.entries.length === 0 && chat.outgoing(conv.id).length === 0;
    const state = conv.error ? `error:${conv.error.code}` : conv.loaded && conv.atStart ? `start:${empty}` : conv.loading || !conv.loaded ? "loading" : "";
    const sig = JSON.stringify([state, name, currentLanguage()]);
    this.#top.classList.toggle("thread-top-empty", empty);
    const make = () => {
      if (conv.error) {
        return h("div", { class: "thread-note", role: "alert" },
          h("span", {}, `${t("historyFailed")} ${errorText(conv.error.code)}`),
          h("button", { type: "button", class: "button", onclick: () => chat.loadOlder(conv) }, t("retry")));
      }
      if (state === "loading") return h("div", { class: "spinner-row" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") }));
      if (!state) return h("div");
      const id = group ? conv.id : peerOf(conv.id, chat.me);
      return h("div", { class: "thread-start" },
        avatar(id, name, { group, size: "large" }),
        h("strong", { dir: "auto" }, empty ? t(group ? "emptyGroup" : "emptyThread", { name }) : name),
        h("p", {}, t(group ? "startOfGroup" : "startOfThread", { name })));
    };
    reconcile(this.#top, [{ key: "top", sig, make }]);
  }

  /** @param {Chat} chat @param {Conversation} conv */
  #renderMessages(chat, conv) {
    const newest = conv.entries.at(-1);
    const outgoing = chat.outgoing(conv.id);
    const actions = {
      menu: (seq) => this.#openMessageMenu(chat, conv, seq),
      react: (seq, emoji, on) => report(chat.react(conv, seq, emoji, on), { ofMessage: true }),
      show: (seq) => this.#show(seq),
      openPacket: (packet) => this.#open.packet(packet),
    };
    reconcile(this.#messages, conv.loaded || conv.entries.length ? itemsOf(chat, conv, actions) : []);
    this.#rove();
    this.#watchPackets();

    const tail = outgoing.at(-1)?.cmid ?? newest?.seq ?? 0;
    const grew = this.#placed && newest && newest.seq > this.#lastSeq;
    const ownNew = typeof tail === "string" && tail !== this.#messages.dataset.tail;
    this.#messages.dataset.tail = String(tail);
    if (grew && !this.#atBottom) {
      this.#unseen += conv.entries.filter((e) => e.seq > this.#lastSeq && e.from !== chat.me && isCountable(e.kind)).length;
    }
    this.#lastSeq = newest?.seq ?? this.#lastSeq;

    if (!this.#placed && conv.loaded) this.#place();
    else if (this.#atBottom || ownNew) this.#toBottom();
    if (this.#placed && this.#scroller.scrollHeight <= this.#scroller.clientHeight) this.#wantOlder();
  }

  /** Observed anew, each says at once whether it is in sight. */
  #watchPackets() {
    this.#sight.disconnect();
    for (const card of this.#messages.querySelectorAll("[data-packet]")) this.#sight.observe(card);
  }

  /** @param {IntersectionObserverEntry[]} seen */
  #onSight(seen) {
    for (const { isIntersecting, target } of seen) {
      if (isIntersecting) this.#chat?.redPackets.want(/** @type {HTMLElement} */ (target).dataset.packet ?? "");
    }
  }

  /** The first message in sight, and where it is. */
  #anchor() {
    const edge = this.#scroller.getBoundingClientRect().top;
    for (const node of this.#messages.querySelectorAll(".message, .notice")) {
      const { top, bottom } = node.getBoundingClientRect();
      if (bottom > edge) return { key: node.dataset.key, top };
    }
    return null;
  }

  /** @param {string} key of something that is shown @returns {number|null} */
  #topOf(key) {
    return this.#messages.querySelector(`[data-key="${CSS.escape(key)}"]`)?.getBoundingClientRect().top ?? null;
  }

  /** Where the reader starts: at the first unread message if it is out of sight, else at the end. */
  #place() {
    this.#placed = true;
    this.#toBottom();
    const line = this.#messages.querySelector(".new-line");
    if (line && line.offsetTop < this.#scroller.scrollTop) {
      this.#scroller.scrollTop = Math.max(0, line.offsetTop - 24);
      this.#atBottom = false;
    }
  }

  #toBottom() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atBottom = true;
    this.#unseen = 0;
    this.#renderJump();
  }

  #renderJump() {
    this.#jump.hidden = this.#atBottom;
    byId("jump-text").textContent = this.#unseen ? t("newMessages") : "";
    this.#jump.setAttribute("aria-label", this.#unseen ? t("newMessages") : t("jumpToLatest"));
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#atBottom = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    if (this.#atBottom) this.#unseen = 0;
    this.#renderJump();
    if (scrollTop < NEAR_TOP_PX) this.#wantOlder();
  }

  #wantOlder() {
    const conv = this.#shown;
    if (conv?.loaded && !conv.atStart && !conv.loading && !conv.error) this.#chat?.loadOlder(conv);
  }

  /** @param {Chat} chat @param {Conversation} conv @param {number} seq */
  #openMessageMenu(chat, conv, seq) {
    const message = conv.message(seq);
    if (!message || message.recalled) return;
    const choices = choicesOfMessage(chat, conv, message, {
      reply: () => this.#composer.reply(seq),
      edit: () => this.#composer.edit(message),
      receipts: () => this.#open.receipts(conv, seq),
    });
    this.#menu.open(() => this.#node(seq)?.querySelector(".more"), t("messageActions"), choices);
  }

  #openConversationMenu() {
    const conv = this.#shown;
    if (!this.#chat || !conv?.row) return;
    this.#menu.open(() => byId("thread-more"), t("conversationActions"), choicesOfConversation(this.#chat, conv, this.#open));
  }

  /** @param {number} seq */
  #node(seq) {
    return this.#messages.querySelector(`.message[data-seq="${seq}"]`);
  }

  /** Goes to a message that is here. @param {number} seq */
  #show(seq) {
    const node = this.#node(seq);
    if (!node) return;
    node.scrollIntoView({ block: "center" });
    node.querySelector(".more")?.focus({ preventScroll: true });
    node.classList.add("message-flash");
    setTimeout(() => node.classList.remove("message-flash"), FLASH_MS);
  }

  /** The messages' buttons are one stop of the Tab key: that of the newest message, or where the focus is. */
  #rove() {
    const buttons = [...this.#messages.querySelectorAll(".more")];
    const stop = document.activeElement?.closest(".message")?.querySelector(".more") ?? buttons.at(-1);
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  /** Up, Down, Home and End move between the messages' buttons. @param {KeyboardEvent} event */
  #onKey(event) {
    const buttons = [...this.#messages.querySelectorAll(".more")];
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(buttons.length - 1, to))].focus();
  }
}
