/** What messages say, in words: previews, and the names of kinds that have no view of their own. */
import { kindName, t } from "./i18n.js";
import { noticeText } from "./notices.js";
import { isCountable, isGroup } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./chat.js").Chat} Chat */

/** What a conversation that has nothing but such an entry shows in the list. */
const NOTICES = /** @type {const} */ ({ members: "membersChanged", profile: "profileChanged" });

/**
 * The line in the place of a recalled message.
 * @param {Chat} chat
 * @param {{from: string, recalled?: {by: string}|boolean}} message
 */
export function recallText(chat, { from, recalled }) {
  const by = typeof recalled === "object" && typeof recalled.by === "string" ? recalled.by : from;
  if (by !== from) return t("recalledOf", { by: by === chat.me ? t("you") : chat.nameOf(by), name: chat.nameOf(from) });
  return from === chat.me ? t("recalledByYou") : t("recalledBy", { name: chat.nameOf(from) });
}

/**
 * A message in one line.
 * @param {string} kind
 * @param {any} body
 */
export function summary(kind, body) {
  if (kind === "text") return String(body?.text ?? "");
  const detail = [body?.greeting, body?.name, body?.title, body?.text].find((part) => typeof part === "string" && part);
  const name = kindName(kind) ?? t("unsupported", { kind });
  return detail ? `${name} · ${detail}` : name;
}

/** What a quote shows of the message. @param {import("./protocol.js").Glimpse} glimpse */
export const glimpseText = ({ kind, preview, recalled }) =>
  recalled ? t("quoteRecalled") : kind === "text" || !preview ? preview || summary(kind, {}) : summary(kind, { title: preview });

/**
 * The line under a conversation's title in the list.
 * @param {Chat} chat
 * @param {import("./conversation.js").Conversation} conv
 */
export function previewOf(chat, conv) {
  const outgoing = chat.outgoing(conv.id);
  const unsent = outgoing.findLast(({ state }) => state === "failed") ?? outgoing.at(-1);
  if (unsent) return t("youPrefix", { text: unsent.text });
  if (conv !== chat.current && conv.draft.trim()) return t("draftPrefix", { text: conv.draft });
  const entry = conv.lastEntry;
  if (entry) {
    if (entry.recalled) return recallText(chat, entry);
    return isCountable(entry.kind) ? said(chat, conv, entry.from, summary(entry.kind, entry.body)) : noticeText(chat, entry) ?? "";
  }
  const last = conv.lastGlimpse;
  if (!last) return "";
  if (last.recalled) return recallText(chat, last);
  if (Object.hasOwn(NOTICES, last.kind)) return t(NOTICES[last.kind]);
  return isCountable(last.kind) ? said(chat, conv, last.from, glimpseText(last)) : t("unsupported", { kind: last.kind });
}

/** @param {Chat} chat @param {import("./conversation.js").Conversation} conv @param {string} from @param {string} text */
function said(chat, conv, from, text) {
  if (from === chat.me) return t("youPrefix", { text });
  return isGroup(conv.id) && from ? t("namePrefix", { name: chat.nameOf(from), text }) : text;
}

/**
 * Who is writing in a conversation; empty if nobody is.
 * @param {Chat} chat
 * @param {import("./conversation.js").Conversation} conv
 */
export function typingText(chat, conv) {
  const [first, ...others] = chat.typingIn(conv.id);
  if (first === undefined) return "";
  return others.length ? t("typingSome") : t("typingOne", { name: chat.nameOf(first) });
}
