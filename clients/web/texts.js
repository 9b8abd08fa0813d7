/** What messages say, in words: previews, and the names of kinds that have no view of their own. */
import { kindName, t } from "./i18n.js";
import { isCountable, isGroup } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./chat.js").Chat} Chat */

/** What a conversation that has nothing but such an entry shows in the list. */
const NOTICES = /** @type {const} */ ({ members: "membersChanged", profile: "profileChanged" });

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
  if (!entry || (last && last.ts > entry.ts && isCountable(last.kind))) {
    if (!last) return "";
    if (!isCountable(last.kind)) return Object.hasOwn(NOTICES, last.kind) ? t(NOTICES[last.kind]) : "";
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
