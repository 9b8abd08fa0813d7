/** The open conversation: its messages, where it is scrolled to, and what can be done with them. */
import { choicesOfConversation, choicesOfMessage } from "./choices.js";
import { Composer } from "./composer.js";
import { avatar, h, reconcile } from "./dom.js";
import { FindView } from "./find-view.js";
import { currentLanguage, errorText, t } from "./i18n.js";
import { findIn, slotsOf } from "./message-view.js";
import { PresenceWatch } from "./presence.js";
import { isCountable, isGroup, peerOf } from "./protocol.js";
import { summary, typingText } from "./texts.js";
import { report, toast } from "./toast.js";
import { VirtualList } from "./virtual-list.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */

const NEAR_TOP_PX = 160;
/** So far below the upper edge stands the line above the first unread message. */
const NEW_LINE_PX = 24;
const FLASH_MS = 1_500;
/** So many can be forwarded as one. */
const MAX_FORWARDED = 30;
/** So many pages of history are read for a message that is not here. */
const MAX_PAGES = 40;
/** So many of the messages that come at once are read out. */
const ANNOUNCED = 3;

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class ThreadView {
  #scroller = byId("scroller");
  #messages = byId("messages");
  #top = byId("thread-top");
  #jump = byId("jump");
  #composer = new Composer();
  #list = new VirtualList(this.#scroller, this.#messages, () => this.#onDrawn());
  /** Sees which red packets the reader sees. */
  #sight = new IntersectionObserver((seen) => this.#onSight(seen), { root: this.#scroller });
  #find = new FindView((seq) => this.#onFind(seq));
  #presence = new PresenceWatch(() => this.#again());
  /** What is chosen to be forwarded; null: nothing is being chosen. @type {Set<number>|null} */
  #selected = null;
  #canWrite = false;
  #menu;
  #open;
  /** @type {Chat|null} */
  #chat = null;
  /** @type {Conversation|null} */
  #shown = null;
  #unseen = 0;
  #lastSeq = 0;
  #placed = false;

  /**
   * @param {import("./menu.js").Menu} menu
   * @param {{leave: () => void, receipts: (conv: Conversation, seq: number) => void, packet: (packet: string) => void,
   *   forward: (conv: Conversation, seqs: number[], done: () => void) => void, pins: (conv: Conversation) => void}} open
   */
  constructor(menu, open) {
    this.#menu = menu;
    this.#open = open;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#jump.addEventListener("click", () => this.#toBottom());
    this.#messages.addEventListener("keydown", (event) => this.#onKey(event));
    this.#messages.addEventListener("focusin", () => this.#rove());
    byId("select-cancel").addEventListener("click", () => this.#select(null));
    byId("select-forward").addEventListener("click", () => this.#forwardSelected());
    byId("thread-more").addEventListener("click", () => this.#openConversationMenu());
  }

  /** @param {Chat} chat @param {boolean} canWrite */
  render(chat, canWrite) {
    this.#chat = chat;
    this.#canWrite = canWrite;
    const conv = chat.current;
    byId("thread").hidden = !conv;
    byId("thread-none").hidden = Boolean(conv);
    if (conv !== this.#shown) this.#switchTo(chat, conv);
    if (!conv) return;
    this.#renderHead(chat, conv);
    this.#composer.render(canWrite);
    // What the reader looks at stays where it is, whatever comes in above it.
    const anchor = this.#list.anchor();
    this.#renderTop(chat, conv);
    this.#renderMessages(chat, conv, anchor);
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
    this.#selected = null;
    this.#find.close({ refocus: false });
    this.#presence.watch(chat, conv && !isGroup(conv.id) ? peerOf(conv.id, chat.me) : null);
    this.#list.clear();
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
    byId("thread-subtitle").textContent = typing || (group ? groupText : this.#presence.text || (title === id ? t("direct") : id));
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

  /** @param {Chat} chat @param {Conversation} conv @param {import("./virtual-list.js").Anchor} anchor */
  #renderMessages(chat, conv, anchor) {
    const newest = conv.entries.at(-1);
    const outgoing = chat.outgoing(conv.id);
    const actions = {
      menu: (seq) => this.#openMessageMenu(chat, conv, seq),
      react: (seq, emoji, on) => report(chat.react(conv, seq, emoji, on), { ofMessage: true }),
      show: (seq) => this.#show(seq),
      openPacket: (packet) => this.#open.packet(packet),
      select: (seq) => this.#toggle(seq),
    };
    const { query } = this.#find;
    const look = { query, found: this.#find.seq, selected: this.#selected };
    this.#find.take(findIn(conv, query));
    this.#renderSelection();
    this.#list.update(conv.loaded || conv.entries.length ? slotsOf(chat, conv, actions, this.#messages.clientWidth, look) : [], anchor);

    const tail = outgoing.at(-1)?.cmid ?? newest?.seq ?? 0;
    const grew = this.#placed && newest && newest.seq > this.#lastSeq;
    const ownNew = typeof tail === "string" && tail !== this.#messages.dataset.tail;
    this.#messages.dataset.tail = String(tail);
    if (grew) {
      const others = newSince(conv.entries, this.#lastSeq).filter(({ from, kind }) => from !== chat.me && isCountable(kind));
      if (!this.#list.atBottom) this.#unseen += others.length;
      if (others.length) this.#announce(chat, conv, others);
    }
    this.#lastSeq = newest?.seq ?? this.#lastSeq;

    if (!this.#placed && conv.loaded) this.#place();
    else if (ownNew) this.#toBottom();
    if (this.#list.atBottom) this.#unseen = 0;
    if (this.#placed && this.#scroller.scrollHeight <= this.#scroller.clientHeight) this.#wantOlder();
  }

  /** Other messages are in the document now. */
  #onDrawn() {
    this.#rove();
    this.#watchPackets();
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

  /** Where the reader starts: at the first unread message if it is out of sight, else at the end. */
  #place() {
    this.#placed = true;
    this.#toBottom();
    if ((this.#list.topOf("new") ?? 0) < 0) this.#list.reveal("new", NEW_LINE_PX);
  }

  #toBottom() {
    this.#list.toBottom();
    this.#unseen = 0;
    this.#renderJump();
  }

  #renderJump() {
    this.#jump.hidden = this.#list.atBottom;
    byId("jump-text").textContent = this.#unseen ? t("newMessages") : "";
    this.#jump.setAttribute("aria-label", this.#unseen ? t("newMessages") : t("jumpToLatest"));
  }

  #onScroll() {
    this.#list.scrolled();
    if (this.#list.atBottom) this.#unseen = 0;
    this.#renderJump();
    if (this.#scroller.scrollTop < NEAR_TOP_PX) this.#wantOlder();
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
      forward: () => this.#open.forward(conv, [seq], () => {}),
      select: () => this.#select(new Set([seq])),
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

  #again() {
    if (this.#chat) this.render(this.#chat, this.#canWrite);
  }

  /** Opens the bar to find a text with, if there is a conversation. @returns {boolean} */
  find() {
    if (!this.#shown) return false;
    this.#find.open();
    return true;
  }

  /** @param {number|null} seq */
  #onFind(seq) {
    this.#again();
    const slot = seq === null ? null : this.#slots.find((each) => each.seq === seq);
    if (slot) this.#list.reveal(slot.key);
  }

  /** @param {Set<number>|null} selected */
  #select(selected) {
    this.#selected = selected;
    this.#again();
    if (selected) byId("select-forward").focus();
  }

  /** @param {number} seq */
  #toggle(seq) {
    const selected = new Set(this.#selected);
    if (!selected.delete(seq)) {
      if (selected.size < MAX_FORWARDED) selected.add(seq);
      else toast(t("forwardMost", { count: MAX_FORWARDED }));
    }
    this.#selected = selected;
    this.#again();
  }

  #renderSelection() {
    byId("select-bar").hidden = !this.#selected;
    for (const part of ["composer-box", "composer-hint"]) byId(part).hidden ||= this.#selected !== null;
    if (!this.#selected) return;
    const text = t("selectedCount", { count: this.#selected.size });
    if (byId("select-count").textContent !== text) byId("select-count").textContent = text;
    byId("select-forward").disabled = !this.#selected.size;
  }

  #forwardSelected() {
    if (!this.#shown || !this.#selected?.size) return;
    this.#open.forward(this.#shown, [...this.#selected].sort((a, b) => a - b), () => this.#select(null));
  }

  /** Goes to a message, and reads the history down to it where it is not here. @param {number} seq */
  async goTo(seq) {
    const conv = this.#shown;
    for (let page = 0; conv && page < MAX_PAGES && conv.low > seq && !conv.atStart && !conv.error; page++) {
      await this.#chat?.loadOlder(conv);
      if (conv !== this.#shown) return;
    }
    this.#again();
    if (conv?.message(seq)) this.#show(seq);
    else toast(t("tooFarBack"));
  }

  /** Goes to a message that is here. @param {number} seq */
  #show(seq) {
    const slot = this.#slots.find((each) => each.seq === seq);
    if (!slot) return;
    this.#list.reveal(slot.key);
    const node = this.#list.node(slot.key);
    if (!node) return;
    /** @type {any} */ (node.querySelector(".more"))?.focus({ preventScroll: true });
    node.classList.add("message-flash");
    setTimeout(() => node.classList.remove("message-flash"), FLASH_MS);
  }

  /** @returns {readonly import("./message-view.js").ThreadSlot[]} */
  get #slots() {
    return this.#list.slots;
  }

  /** Reads new messages out, whether they are drawn or not. @param {Chat} chat @param {Conversation} conv @param {Entry[]} entries */
  #announce(chat, conv, entries) {
    const said = entries.slice(-ANNOUNCED).map(({ from, kind, body }) => t("namePrefix", { name: chat.nameOf(from), text: summary(kind, body) }));
    byId("announcer").textContent = said.join("\n");
  }

  /** The messages' buttons are one stop of the Tab key: that of the newest message, or where the focus is. */
  #rove() {
    const buttons = [...this.#messages.querySelectorAll(".more")];
    const stop = document.activeElement?.closest(".message")?.querySelector(".more") ?? buttons.at(-1);
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  /** Up, Down, Home and End move between the messages' buttons. @param {KeyboardEvent} event */
  #onKey(event) {
    const focused = /** @type {any} */ (document.activeElement);
    if (!focused?.matches(".more")) return;
    const step = { ArrowDown: 1, ArrowUp: -1, Home: 1, End: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = { Home: -1, End: this.#slots.length }[event.key] ?? this.#list.indexOf(focused.closest(".message").dataset.key);
    let at = from + step;
    while (this.#slots[at] && this.#slots[at].seq === undefined) at += step;
    const slot = this.#slots[at];
    if (!slot) return;
    if (!this.#list.node(slot.key)) this.#list.reveal(slot.key);
    /** @type {any} */ (this.#list.node(slot.key)?.querySelector(".more"))?.focus();
  }
}

/** What is above `seq`, without a look at all of it. @param {Entry[]} entries ascending @param {number} seq */
const newSince = (entries, seq) => entries.slice(entries.findLastIndex((entry) => entry.seq <= seq) + 1);
