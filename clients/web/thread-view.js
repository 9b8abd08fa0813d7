/** The open conversation: its messages, where it is scrolled to, and the box to write in. */
import { avatar, h, hue, icon, reconcile } from "./dom.js";
import { clock, currentLanguage, dayKey, dayName, errorText, fullTime, t, timeFrom } from "./i18n.js";
import { noticeText } from "./notices.js";
import { MAX_TEXT_BYTES, isCountable, isGroup, peerOf, utf8Length } from "./protocol.js";
import { changesIn, recallText, summary } from "./texts.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */

/** Messages of one sender closer together than this stand as one block. */
const RUN_MS = 5 * 60_000;
const NEAR_BOTTOM_PX = 80;
const NEAR_TOP_PX = 160;

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class ThreadView {
  #scroller = byId("scroller");
  #messages = byId("messages");
  #top = byId("thread-top");
  #text = byId("composer-text");
  #jump = byId("jump");
  /** @type {Chat|null} */
  #chat = null;
  /** @type {Conversation|null} */
  #shown = null;
  #atBottom = true;
  #unseen = 0;
  #lastSeq = 0;
  #placed = false;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#jump.addEventListener("click", () => this.#toBottom());
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => {
      // While an input method is composing, Enter belongs to it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("input", () => this.#onInput());
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
    if (conv !== this.#shown) this.#switchTo(conv);
    if (!conv) return;
    this.#renderHead(chat, conv);
    this.#renderComposer(conv, canWrite);
    const anchor = this.#placed && !this.#atBottom ? this.#anchor() : null;
    this.#renderTop(chat, conv);
    this.#renderMessages(chat, conv);
    // What the reader looks at stays where it is, whatever came in above it.
    if (anchor && !this.#atBottom) this.#scroller.scrollTop += (this.#topOf(anchor.key) ?? anchor.top) - anchor.top;
    this.#renderJump();
  }

  /** To where the next key goes, unless that would raise an on-screen keyboard. */
  focusComposer() {
    if (matchMedia("(hover: hover) and (pointer: fine)").matches) this.#text.focus();
  }

  /** @param {Conversation|null} conv */
  #switchTo(conv) {
    if (this.#shown) this.#shown.draft = this.#text.value;
    this.#shown = conv;
    this.#messages.replaceChildren();
    this.#atBottom = true;
    this.#placed = false;
    this.#unseen = 0;
    this.#lastSeq = 0;
    this.#text.value = conv?.draft ?? "";
    this.#onInput();
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
    byId("thread-subtitle").textContent = group ? groupText : title === id ? t("direct") : id;
    byId("info-button").hidden = !group;
    const placeholder = t("writeMessage");
    this.#text.placeholder = placeholder;
    this.#text.setAttribute("aria-label", placeholder);
    const others = chat.totalUnread - conv.unread;
    const badge = byId("back-badge");
    badge.hidden = others <= 0;
    badge.textContent = others > 99 ? "99+" : String(others);
  }

  /** @param {Conversation} conv @param {boolean} canWrite */
  #renderComposer(conv, canWrite) {
    this.#text.disabled = !canWrite || conv.isClosed;
    for (const part of ["composer-box", "composer-hint"]) byId(part).hidden = conv.isClosed;
    const closed = byId("composer-closed");
    const text = conv.isClosed ? t(conv.dissolved ? "groupDissolved" : "groupLeft") : "";
    closed.hidden = !conv.isClosed;
    if (closed.textContent !== text) closed.textContent = text;
  }

  /** @param {Chat} chat @param {Conversation} conv */
  #renderTop(chat, conv) {
    const name = chat.titleOf(conv);
    const group = isGroup(conv.id);
    const empty = conv.entries.length === 0 && chat.drafts(conv.id).length === 0;
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
    const drafts = chat.drafts(conv.id);
    const items = conv.loaded || conv.entries.length ? itemsOf(chat, conv) : [];
    reconcile(this.#messages, items);

    const tail = drafts.at(-1)?.cmid ?? newest?.seq ?? 0;
    const grew = this.#placed && newest && newest.seq > this.#lastSeq;
    const ownDraft = typeof tail === "string" && tail !== this.#messages.dataset.tail;
    this.#messages.dataset.tail = String(tail);
    if (grew && !this.#atBottom) {
      this.#unseen += conv.entries.filter((e) => e.seq > this.#lastSeq && e.from !== chat.me && isCountable(e.kind)).length;
    }
    this.#lastSeq = newest?.seq ?? this.#lastSeq;

    if (!this.#placed && conv.loaded) this.#place();
    else if (this.#atBottom || ownDraft) this.#toBottom();
    if (this.#placed && this.#scroller.scrollHeight <= this.#scroller.clientHeight) this.#wantOlder();
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

  #onInput() {
    const text = this.#text.value;
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 168)}px`;
    const size = text.length > MAX_TEXT_BYTES / 4 ? utf8Length(text) : 0;
    const error = byId("composer-error");
    error.hidden = size <= MAX_TEXT_BYTES;
    error.textContent = error.hidden ? "" : tooLongText(size);
    byId("composer-send").disabled = !text.trim() || !error.hidden;
  }

  #submit() {
    const text = this.#text.value.trim();
    const conv = this.#shown;
    if (!text || !conv || !this.#chat || this.#text.disabled) return;
    if (utf8Length(text) > MAX_TEXT_BYTES) {
      this.#onInput();
      return;
    }
    this.#text.value = "";
    this.#onInput();
    this.#chat.send(conv.id, text);
    this.#text.focus();
  }
}

/** @param {number} size in bytes */
const tooLongText = (size) =>
  t("tooLong", { size: (Math.ceil((size / 1024) * 10) / 10).toFixed(1), max: MAX_TEXT_BYTES / 1024 });

/**
 * The conversation as a list of nodes to show.
 * @param {Chat} chat
 * @param {Conversation} conv
 * @returns {import("./dom.js").Item[]}
 */
function itemsOf(chat, conv) {
  const { edits, recalls } = changesIn(conv.entries);
  const items = [];
  /** @type {{from: string, ts: number}|null} the message above, if the next one may join its block */
  let above = null;
  let day = "";
  let lined = false;
  // The line stands only where the first unread message is: not at the top of a page in the middle of them.
  const newFrom = conv.newFrom !== null && (conv.newFrom >= conv.low || conv.atStart) ? conv.newFrom : null;
  const lang = currentLanguage();

  const separate = (ts) => {
    if (dayKey(ts) === day) return;
    day = dayKey(ts);
    above = null;
    const name = dayName(ts);
    items.push({ key: `day:${day}`, sig: name, make: () => h("div", { class: "day", role: "separator" }, h("time", {}, name)) });
  };

  for (const entry of conv.entries) {
    const recalled = recalls.has(entry.seq) || entry.body?.recalled === true;
    const notice = isCountable(entry.kind) ? (recalled ? recallText(chat, entry.from) : null) : noticeText(chat, entry);
    if (notice === null && !isCountable(entry.kind)) continue;
    separate(entry.ts);
    if (!lined && newFrom !== null && entry.seq >= newFrom && entry.from !== chat.me && notice === null) {
      lined = true;
      above = null;
      items.push({ key: "new", sig: lang, make: () => h("div", { class: "new-line", role: "separator" }, h("span", {}, t("newMessages"))) });
    }
    if (notice !== null) {
      above = null;
      items.push({ key: `s:${entry.seq}`, sig: `n:${notice}`, make: () => h("div", { class: "notice", dir: "auto", dataset: { seq: String(entry.seq) } }, notice) });
      continue;
    }
    const joined = above !== null && above.from === entry.from && entry.ts - above.ts < RUN_MS;
    above = entry;
    const edited = edits.has(entry.seq) || entry.body?.edited === true;
    items.push(messageItem(chat, {
      key: entry.from === chat.me && entry.cmid ? `c:${entry.cmid}` : `s:${entry.seq}`,
      seq: entry.seq,
      from: entry.from,
      ts: entry.ts,
      text: summary(entry.kind, edits.get(entry.seq) ?? entry.body),
      plain: entry.kind === "text",
      state: entry.from === chat.me ? "sent" : "",
      joined,
      edited,
    }));
  }
  for (const draft of chat.drafts(conv.id)) {
    separate(draft.ts);
    const joined = above !== null && above.from === chat.me && draft.ts - above.ts < RUN_MS;
    above = { from: chat.me, ts: draft.ts };
    const { cmid, text, ts, state } = draft;
    const failure = state === "failed" ? failureText(draft) : "";
    items.push(messageItem(chat, { key: `c:${cmid}`, cmid, from: chat.me, ts, text, plain: true, state, failure, joined, edited: false }));
  }
  return items;
}

/** Why a message was not sent. @param {import("./outbox.js").Draft} draft */
function failureText({ code = "", until }) {
  const time = code === "muted" && until ? timeFrom(until, Date.now()) : null;
  return time ? t("mutedHereUntil", { time }) : errorText(code);
}

/**
 * @param {Chat} chat
 * @param {{key: string, seq?: number, cmid?: string, from: string, ts: number, text: string, plain: boolean,
 *   state: string, failure?: string, joined: boolean, edited: boolean}} message
 */
function messageItem(chat, message) {
  const { key, seq, cmid = "", from, ts, text, plain, state, failure = "", joined, edited } = message;
  const own = from === chat.me;
  const name = chat.nameOf(from);
  const make = () => {
    const marks = {
      sending: () => icon("clock", t("sending")),
      sent: () => icon("check", t("sent")),
      failed: () => icon("alert", t("notSent")),
    };
    const classes = ["message", own ? "message-own" : "message-other", joined && "message-joined", state && `message-${state}`];
    return h("div", { class: classes.filter(Boolean).join(" "), dataset: seq ? { seq: String(seq) } : {} },
      !own && (joined ? h("span", { class: "avatar-space" }) : avatar(from, name, { size: "small" })),
      h("div", { class: "message-body" },
        joined
          ? h("span", { class: "visually-hidden" }, own ? t("you") : name)
          : h("span", { class: own ? "visually-hidden" : `sender ${hue(from)}`, dir: "auto" }, own ? t("you") : name),
        h("div", { class: "bubble" },
          h("span", { class: plain ? "text" : "text text-kind", dir: "auto" }, text),
          h("span", { class: "meta" },
            edited && h("span", {}, t("edited")),
            h("time", { datetime: new Date(ts).toISOString(), title: fullTime(ts) }, clock(ts)),
            marks[state]?.())),
        state === "failed" && h("div", { class: "failure", role: "alert" },
          h("span", {}, `${t("notSent")} · ${failure}`),
          h("button", { type: "button", class: "link", onclick: () => chat.retry(cmid) }, t("retry")),
          h("button", { type: "button", class: "link", onclick: () => chat.discard(cmid) }, t("discard")))));
  };
  return { key, sig: JSON.stringify([seq, name, ts, text, state, failure, joined, edited, currentLanguage()]), make };
}
