/** The conversation as a list of places: days, notices, messages, and what stands on and under them. */
import { avatar, h, hue, icon } from "./dom.js";
import { clock, currentLanguage, dayKey, dayName, errorText, fullTime, joinNames, t, timeFrom } from "./i18n.js";
import { noticeText } from "./notices.js";
import { REACTIONS, isCountable } from "./protocol.js";
import { cardNode, cardOf } from "./red-packet-card.js";
import { newsText } from "./red-packet-texts.js";
import { glimpseText, recallText, summary } from "./texts.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */

/**
 * What can be done with the messages.
 * @typedef {object} Actions
 * @property {(seq: number) => void} menu
 * @property {(seq: number, emoji: string, on: boolean) => void} react
 * @property {(seq: number) => void} show
 * @property {(packet: string) => void} openPacket
 * @property {(seq: number) => void} select
 */

/**
 * How the conversation is looked at.
 * @typedef {object} Look
 * @property {string} query what is looked for, in small letters; empty: nothing
 * @property {number|null} found the match that the reader is at
 * @property {Set<number>|null} selected the messages that are chosen; null: none are to be
 */

/**
 * @typedef {object} Message what a message's node is made of
 * @property {string} key
 * @property {string} from
 * @property {number} ts
 * @property {string} text
 * @property {boolean} plain whether the text is what somebody wrote
 * @property {string} state
 * @property {boolean} joined whether it stands in one block with the message above
 * @property {number} [seq]
 * @property {string} [cmid]
 * @property {string} [failure]
 * @property {boolean} [edited]
 * @property {boolean} [pinned]
 * @property {boolean} [closed] whether nothing can be done any more
 * @property {string} [forwarded]
 * @property {{from: string, text: string, seq: number|null}|null} [quote] `seq`: it can be shown
 * @property {[string, {count: number, users: string[]}][]} [reactions]
 * @property {string[]} [lines] what was forwarded as one
 * @property {import("./red-packet-card.js").Card|null} [card]
 * @property {string} [query] what is marked in its text
 * @property {boolean} [found] whether the reader is at it
 * @property {boolean|"never"|null} [selected] null: nothing is being chosen
 */

/** Messages of one sender closer together than this stand as one block. */
const RUN_MS = 5 * 60_000;

/**
 * A place in the conversation.
 * @typedef {import("./virtual-list.js").Slot & {seq?: number}} ThreadSlot `seq`: of the message that stands there
 */

/**
 * Everything that is loaded, cheaply: what stands in a place is only made for those that are in sight.
 * @param {Chat} chat
 * @param {Conversation} conv
 * @param {Actions} actions
 * @param {number} width of the list in pixels, to guess heights by
 * @param {Look} look
 * @returns {ThreadSlot[]}
 */
export function slotsOf(chat, conv, actions, width, look) {
  /** @type {ThreadSlot[]} */
  const slots = [];
  const height = heightsIn(width);
  /** @type {{from: string, ts: number}|null} the message above, if the next one may join its block */
  let above = null;
  let dayEnd = -Infinity;
  let dayStart = Infinity;
  let lined = false;
  // The line stands only where the first unread message is: not at the top of a page in the middle of them.
  const newFrom = conv.newFrom !== null && (conv.newFrom >= conv.low || conv.atStart) ? conv.newFrom : null;
  const lang = currentLanguage();

  const separate = (ts) => {
    if (dayStart <= ts && ts < dayEnd) return;
    const date = new Date(ts);
    [dayStart, dayEnd] = [0, 1].map((days) => new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime());
    above = null;
    const key = `day:${dayKey(ts)}`;
    const item = () => ({ key, sig: dayName(ts), make: () => h("div", { class: "day", role: "separator" }, h("time", {}, dayName(ts))) });
    slots.push({ key, steady: false, guess: DAY_PX, item });
  };

  // What happened to red packets stands under what was the newest message then.
  const news = chat.redPackets.newsIn(conv.id).filter(({ after }) => after >= conv.low - 1);
  const tellUpTo = (seq) => {
    while (news.length && news[0].after <= seq) {
      const line = /** @type {import("./red-packets.js").News} */ (news.shift());
      const text = newsText(chat, line);
      above = null;
      const key = `r:${line.key}`;
      const make = () => h("div", { class: "notice notice-packet", dir: "auto" }, icon("packet"), h("span", {}, text));
      slots.push({ key, steady: true, guess: NOTICE_PX, item: () => ({ key, sig: text, make }) });
    }
  };

  for (const entry of conv.entries) {
    tellUpTo(entry.seq - 1);
    const message = isCountable(entry.kind);
    const notice = message ? (entry.recalled ? recallText(chat, entry) : null) : noticeText(chat, entry);
    if (notice === null && !message) continue;
    separate(entry.ts);
    if (!lined && newFrom !== null && entry.seq >= newFrom && entry.from !== chat.me && notice === null) {
      lined = true;
      above = null;
      const make = () => h("div", { class: "new-line", role: "separator" }, h("span", {}, t("newMessages")));
      slots.push({ key: "new", steady: false, guess: DAY_PX, item: () => ({ key: "new", sig: lang, make }) });
    }
    if (notice !== null) {
      above = null;
      const key = `s:${entry.seq}`;
      const make = () => h("div", { class: "notice", dir: "auto", dataset: { seq: String(entry.seq) } }, notice);
      slots.push({ key, steady: true, guess: NOTICE_PX, item: () => ({ key, sig: `n:${notice}`, make }) });
      continue;
    }
    const joined = above !== null && above.from === entry.from && entry.ts - above.ts < RUN_MS;
    above = entry;
    const own = entry.from === chat.me;
    slots.push({
      key: own && entry.cmid ? `c:${entry.cmid}` : `s:${entry.seq}`, seq: entry.seq, steady: true, guess: height(entry.body?.text, joined, own),
      item: () => messageItem(chat, { ...messageOf(chat, conv, entry, joined), ...lookOf(entry, look) }, actions),
    });
  }
  tellUpTo(Infinity);
  for (const outgoing of chat.outgoing(conv.id)) {
    separate(outgoing.ts);
    const joined = above !== null && above.from === chat.me && outgoing.ts - above.ts < RUN_MS;
    above = { from: chat.me, ts: outgoing.ts };
    const { cmid, text, ts, state, replyTo } = outgoing;
    const failure = state === "failed" ? failureText(outgoing) : "";
    const quote = replyTo === undefined ? null : quoteOf(chat, conv, replyTo, conv.quoteOf({ reply_to: replyTo }));
    const message = { key: `c:${cmid}`, cmid, from: chat.me, ts, text, plain: true, state, failure, joined, quote };
    slots.push({ key: message.key, steady: true, guess: height(text, joined, true), item: () => messageItem(chat, message, actions) });
  }
  return slots;
}

/** Of a quote. */
const PREVIEW_LENGTH = 80;
/** What things are high, in the style sheet's sizes: near enough until they are measured. */
const DAY_PX = 46;
const NOTICE_PX = 30;
const LINE_PX = 21.75;
const CHARACTER_PX = 7.4;

/** @param {number} width of the list */
function heightsIn(width) {
  const perLine = Math.max(12, (Math.min(640, width * 0.82) - 110) / CHARACTER_PX);
  /** @param {unknown} text @param {boolean} joined @param {boolean} own */
  return (text, joined, own) => {
    const lines = typeof text === "string" ? Math.ceil((text.length + 8) / perLine) : 2;
    return (joined ? 3 : own ? 14 : 36) + 15 + Math.max(1, lines) * LINE_PX;
  };
}

/** What is read of a message, and may be found. @param {Entry} entry */
const saidIn = ({ kind, body }) => (kind === "merged" ? String(body?.title || summary(kind, {})) : summary(kind, body));

/** The messages that have a text, ascending. @param {Conversation} conv @param {string} query in small letters @returns {number[]} */
export function findIn(conv, query) {
  if (!query) return [];
  const has = (entry) => isCountable(entry.kind) && !entry.recalled && entry.kind !== "redpacket" && saidIn(entry).toLowerCase().includes(query);
  return conv.entries.filter(has).map(({ seq }) => seq);
}

/** @param {Entry} entry @param {Look} look */
const lookOf = ({ seq, kind }, { query, found, selected }) => ({
  query, found: seq === found, selected: selected && (kind === "redpacket" ? "never" : selected.has(seq)),
});

/** A text with what is looked for in it marked. @param {string} text @param {string} [query] in small letters @returns {(string|HTMLElement)[]} */
function marked(text, query) {
  const small = text.toLowerCase();
  // Some letters are longer when they are small: then places do not correspond.
  if (!query || small.length !== text.length) return [text];
  const parts = [];
  let from = 0;
  for (let at = small.indexOf(query); at >= 0; at = small.indexOf(query, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + query.length)));
    from = at + query.length;
  }
  return [...parts, text.slice(from)];
}

/** @param {Chat} chat @param {Conversation} conv @param {Entry} entry @param {boolean} joined @returns {Message} */
function messageOf(chat, conv, entry, joined) {
  const { seq, kind, from, ts, cmid, body, edited, pinned, forwarded, reactions = {} } = entry;
  const own = from === chat.me;
  return {
    key: own && cmid ? `c:${cmid}` : `s:${seq}`,
    seq,
    from,
    ts,
    text: saidIn(entry),
    plain: kind === "text" || kind === "merged",
    state: !own ? "" : seq <= conv.peerRead ? "read" : seq <= conv.peerAck ? "delivered" : "sent",
    joined,
    edited: edited !== undefined,
    pinned: pinned === true,
    closed: conv.isClosed,
    forwarded: typeof forwarded?.from === "string" ? chat.nameOf(forwarded.from) : "",
    quote: entry.reply_to === undefined ? null : quoteOf(chat, conv, entry.reply_to, conv.quoteOf(entry)),
    reactions: Object.entries(reactions).sort(byEmoji),
    lines: kind === "merged" ? mergedLines(chat, body) : [],
    card: cardOf(chat, entry),
  };
}

/** In an order that does not change while people react: first what is offered here. */
function byEmoji([a], [b]) {
  const place = (emoji) => (REACTIONS.includes(emoji) ? REACTIONS.indexOf(emoji) : REACTIONS.length);
  return place(a) - place(b) || (a < b ? -1 : 1);
}

/** @param {Chat} chat @param {Conversation} conv @param {number} seq @param {import("./protocol.js").Glimpse|null} glimpse */
function quoteOf(chat, conv, seq, glimpse) {
  if (!glimpse) return { from: "", text: t("quoteGone"), seq: null };
  const name = glimpse.from === chat.me ? t("you") : chat.nameOf(glimpse.from);
  // A preview ends after 80 characters, wherever that is.
  const text = glimpseText(glimpse);
  return { from: name, text: [...glimpse.preview].length < PREVIEW_LENGTH ? text : `${text}…`, seq: conv.message(seq) ? seq : null };
}

/** @param {Chat} chat @param {any} body */
function mergedLines(chat, body) {
  const messages = Array.isArray(body?.messages) ? body.messages : [];
  return messages.map((each) => t("namePrefix", { name: chat.nameOf(String(each?.from)), text: summary(String(each?.kind), each?.body) }));
}

/** Why a message was not sent. @param {import("./outbox.js").Outgoing} outgoing */
function failureText({ code = "", until }) {
  const time = code === "muted" && until ? timeFrom(until, Date.now()) : null;
  return time ? t("mutedHereUntil", { time }) : errorText(code);
}

const MARKS = {
  sending: () => icon("clock", t("sending")),
  sent: () => icon("check", t("sent")),
  delivered: () => icon("checks", t("delivered")),
  read: () => icon("checks", t("read")),
  failed: () => icon("alert", t("notSent")),
};

/** What has been sent stays so. */
const STATE_CLASSES = { delivered: "message-sent message-delivered", read: "message-sent message-read" };

/** @param {Chat} chat @param {Message} message @param {Actions} actions @returns {import("./dom.js").Item} */
function messageItem(chat, message, actions) {
  const { key, seq, cmid = "", from, ts, text, plain, state, failure, joined, edited, pinned, forwarded, lines = [], card, query, found, selected = null } = message;
  const own = from === chat.me;
  const name = chat.nameOf(from);
  const make = () => {
    const classes = ["message", own ? "message-own" : "message-other", joined && "message-joined", found && "message-found", state && (STATE_CLASSES[state] ?? `message-${state}`)];
    const meta = h("span", { class: "meta" },
      pinned && icon("pin", t("pinnedMark")),
      edited && h("span", {}, t("edited")),
      h("time", { datetime: new Date(ts).toISOString(), title: fullTime(ts) }, clock(ts)),
      MARKS[state]?.());
    const said = h("span", { class: plain ? "text" : "text text-kind", dir: "auto" }, ...marked(text, query));
    const bubble = card ? cardNode(card, own ? t("youObject") : name, meta, () => actions.openPacket(card.packet)) : h("div", { class: "bubble" },
      forwarded && h("span", { class: "forwarded", dir: "auto" }, icon("forward"), t("forwardedFrom", { name: forwarded })),
      quoteNode(message, actions),
      lines.length > 0 && said,
      lines.length > 0 && h("ul", { class: "merged" }, ...lines.map((line) => h("li", { dir: "auto" }, line))),
      h("div", { class: "said" },
        lines.length === 0 && said,
        meta));
    return h("div", { class: classes.filter(Boolean).join(" "), dataset: seq ? { seq: String(seq) } : {} },
      selected === "never" && h("span", { class: "select-space" }),
      typeof selected === "boolean" && seq && h("button", {
        type: "button", role: "checkbox", class: "select-box", "aria-checked": String(selected), "aria-label": t("selectMessage"),
        dataset: { focus: "select" }, onclick: () => actions.select(seq),
      }, icon("check")),
      !own && (joined ? h("span", { class: "avatar-space" }) : avatar(from, name, { size: "small" })),
      h("div", { class: "message-body" },
        joined
          ? h("span", { class: "visually-hidden" }, own ? t("you") : name)
          : h("span", { class: own ? "visually-hidden" : `sender ${hue(from)}`, dir: "auto" }, own ? t("you") : name),
        h("div", { class: "message-line" },
          bubble,
          seq && h("button", {
            type: "button", class: "icon-button more", tabindex: -1, "aria-label": t("messageActions"), title: t("messageActions"),
            "aria-haspopup": "menu", "aria-expanded": "false", dataset: { focus: "more" }, onclick: () => actions.menu(seq),
          }, icon("more"))),
        reactionsNode(chat, message, actions),
        state === "failed" && h("div", { class: "failure", role: "alert" },
          h("span", {}, `${t("notSent")} · ${failure}`),
          h("button", { type: "button", class: "link", onclick: () => chat.retry(cmid) }, t("retry")),
          h("button", { type: "button", class: "link", onclick: () => chat.discard(cmid) }, t("discard")))));
  };
  return { key, sig: JSON.stringify([message, name, currentLanguage()]), make };
}

/** @param {Message} message @param {Actions} actions */
function quoteNode({ quote }, { show }) {
  if (!quote) return null;
  const { from, text, seq } = quote;
  const parts = [from && h("strong", { dir: "auto" }, from), h("span", { class: "quote-text", dir: "auto" }, text || "\u00a0")];
  if (seq === null) return h("div", { class: "quote" }, ...parts);
  return h("button", { type: "button", class: "quote", dataset: { focus: "quote" }, onclick: () => show(seq) }, ...parts);
}

/** @param {Chat} chat @param {Message} message @param {Actions} actions */
function reactionsNode(chat, { seq, reactions = [], closed }, { react }) {
  if (!seq || !reactions.length) return null;
  return h("div", { class: "reactions" }, ...reactions.map(([emoji, { count, users }]) => {
    const mine = users.includes(chat.me);
    const named = joinNames(users.map((user) => (user === chat.me ? t("you") : chat.nameOf(user))));
    const names = users.length && users.length < count ? t("andMore", { names: named, count: count - users.length }) : named;
    const label = names ? t("reactionOf", { emoji, count, names }) : `${emoji} ${count}`;
    return h("button", {
      type: "button", class: "reaction", "aria-pressed": String(mine), "aria-label": label, title: label, disabled: closed,
      dataset: { focus: `reaction:${emoji}` }, onclick: () => react(seq, emoji, !mine),
    }, h("span", { class: "emoji" }, emoji), h("span", { class: "reaction-count" }, String(count)));
  }));
}
