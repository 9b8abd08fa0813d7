/** What entries say, in words: notices, previews, and the names of kinds that have no view of their own. */
import { joinNames, kindName, t } from "./i18n.js";
import { isCountable, isGroup, isSilent } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./chat.js").Chat} Chat */

/** @param {unknown} users @returns {string[]} */
const ids = (users) => (Array.isArray(users) ? users.filter((user) => typeof user === "string") : []);

/** @param {Chat} chat @param {string} user */
const who = (chat, user) => (user === chat.me ? t("you") : chat.nameOf(user));

/** @param {Chat} chat @param {Entry} entry */
function membersText(chat, { from, body }) {
  const added = ids(body?.added);
  const removed = ids(body?.removed);
  const by = typeof body?.by === "string" ? body.by : from;
  const names = (users) => joinNames(users.map((user) => who(chat, user)));
  const parts = [];
  const joined = added.filter((user) => user === by);
  const invited = added.filter((user) => user !== by);
  if (invited.length) parts.push(t("membersAdded", { by: who(chat, by), names: names(invited) }));
  else if (joined.length) parts.push(t("membersJoined", { names: names(joined) }));
  if (removed.length === 1 && removed[0] === by) parts.push(t("membersLeft", { names: names(removed) }));
  else if (removed.length) parts.push(t("membersRemoved", { by: who(chat, by), names: names(removed) }));
  return parts.join(" · ") || t("membersChanged");
}

/**
 * The line that an entry leaves in the conversation when it is no message.
 * @param {Chat} chat
 * @param {Entry} entry
 * @returns {string|null} null for messages, and for what shows nothing of its own
 */
export function noticeText(chat, entry) {
  if (isCountable(entry.kind) || isSilent(entry.kind)) return null;
  const name = who(chat, entry.from);
  switch (entry.kind) {
    case "members":
      return membersText(chat, entry);
    case "profile":
      return typeof entry.body?.name === "string" ? t("profileRenamed", { name: entry.body.name }) : t("profileChanged");
    case "pin":
      return t(entry.body?.on === false ? "unpinned" : "pinned", { name });
    default:
      return t("unsupported", { kind: String(entry.kind) });
  }
}

/** @param {Chat} chat @param {string} from */
export const recallText = (chat, from) =>
  from === chat.me ? t("recalledByYou") : t("recalledBy", { name: chat.nameOf(from) });

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

/**
 * What changes to messages amount to: the newest edit of each, and which were recalled.
 * @param {Entry[]} entries ascending
 */
export function changesIn(entries) {
  /** @type {Map<number, any>} */
  const edits = new Map();
  /** @type {Set<number>} */
  const recalls = new Set();
  for (const { kind, body } of entries) {
    if (kind === "edit") edits.set(body?.target, body?.body);
    if (kind === "recall") recalls.add(body?.target);
  }
  return { edits, recalls };
}

/**
 * The line under a conversation's title in the list.
 * @param {Chat} chat
 * @param {import("./conversation.js").Conversation} conv
 */
export function previewOf(chat, conv) {
  const drafts = chat.drafts(conv.id);
  const draft = drafts.findLast(({ state }) => state === "failed") ?? drafts.at(-1);
  if (draft) return t("youPrefix", { text: draft.text });
  const entry = conv.lastEntry;
  const last = conv.row?.last;
  if (!entry || (last && last.ts > entry.ts)) {
    if (!last) return "";
    return said(chat, conv, last.from, last.preview || kindName(last.kind) || "");
  }
  const { edits, recalls } = changesIn(conv.entries);
  if (recalls.has(entry.seq) || entry.body?.recalled) return recallText(chat, entry.from);
  return said(chat, conv, entry.from, summary(entry.kind, edits.get(entry.seq) ?? entry.body));
}

/** @param {Chat} chat @param {import("./conversation.js").Conversation} conv @param {string} from @param {string} text */
function said(chat, conv, from, text) {
  if (from === chat.me) return t("youPrefix", { text });
  return isGroup(conv.id) && from ? t("namePrefix", { name: chat.nameOf(from), text }) : text;
}
