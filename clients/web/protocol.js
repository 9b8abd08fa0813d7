/**
 * Names and limits of wire protocol version 1, and the pure rules on top of them.
 * Nothing here does I/O or touches the document.
 */

/**
 * @typedef {object} Entry
 * @property {string} conv
 * @property {number} seq
 * @property {number} n count of countable entries up to and including this one
 * @property {string} kind
 * @property {string} from
 * @property {number} ts milliseconds since the epoch
 * @property {string} [cmid]
 * @property {Record<string, any>} body
 * @property {number} [reply_to] the seq of the message that it answers
 * @property {Glimpse} [quote] that message, as it was when the server gave this one
 * @property {number} [changed] seq of the newest change that is in it
 * @property {{seq: number, ts: number}} [edited]
 * @property {{by: string, ts: number}} [recalled]
 * @property {Record<string, {count: number, users: string[]}>} [reactions]
 * @property {boolean} [pinned]
 * @property {{from: string, ts: number}} [forwarded] who said it first, and when
 */

/**
 * An entry in one line.
 * @typedef {object} Glimpse
 * @property {number} seq
 * @property {string} kind
 * @property {string} from
 * @property {number} ts
 * @property {string} preview
 * @property {boolean} [recalled]
 * @property {number} [changed]
 */

/**
 * @typedef {object} InboxRow
 * @property {string} conv
 * @property {number} last_seq
 * @property {number} last_n
 * @property {Glimpse|null} last the newest entry that is no change, and that the user has not deleted
 * @property {number} unread
 * @property {number} read_seq
 * @property {number} read_n
 * @property {number} ack_seq
 * @property {boolean} muted
 * @property {boolean} pinned
 * @property {string} draft
 * @property {boolean} hidden until the next message
 * @property {number} rev counts what the user set: `muted`, `pinned`, `draft`, `hidden`
 * @property {number} deleted the version of what the user has deleted here
 * @property {number} at the time of the newest entry that is no change
 * @property {number} updated
 * @property {number} [left_seq] the last entry that this user may see; absent for a member
 */

/** Longest message text, in bytes of UTF-8. Leaves room for the envelope in a frame of 32 KiB. */
export const MAX_TEXT_BYTES = 16 * 1024;

/** Longest draft that the server keeps, in characters. */
export const MAX_DRAFT = 1_000;

/** Every member of a group up to this size acknowledges what it received. */
export const MAX_ACKED_GROUP = 100;

/** In groups up to this size the others are told who is writing. */
export const MAX_TYPING_GROUP = 50;

/** The reactions that are offered. */
export const REACTIONS = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

export const USER_ID = /^[A-Za-z0-9_-]{1,64}$/;

const COUNTABLE = new Set([
  "text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged",
]);

/** Kinds that change another entry, or take a place in the log and show nothing of their own. */
const SILENT = new Set(["edit", "recall", "reaction", "void"]);

/** @param {string} kind */
export const isCountable = (kind) => COUNTABLE.has(kind);

/** @param {string} kind */
export const isSilent = (kind) => SILENT.has(kind);

/** @param {string} conv */
export const isGroup = (conv) => conv.startsWith("g:");

/**
 * The direct conversation of two users: their ids in ascending order.
 * @param {string} a
 * @param {string} b
 */
export const directConv = (a, b) => (a < b ? `d:${a}:${b}` : `d:${b}:${a}`);

/**
 * The other user of a direct conversation.
 * @param {string} conv
 * @param {string} me
 */
export function peerOf(conv, me) {
  const [, a, b] = conv.split(":");
  return a === me ? b : a;
}

/** @param {string} conv @param {string} me */
export function isConvOf(conv, me) {
  if (/^g:.{1,128}$/.test(conv)) return true;
  const [kind, a, b, ...rest] = conv.split(":");
  return kind === "d" && !rest.length && USER_ID.test(a) && USER_ID.test(b ?? "") && a < b && (a === me || b === me);
}

/** @param {string} text */
export const utf8Length = (text) => new TextEncoder().encode(text).length;

/** A refusal by the server, or by this client when no answer came (`timeout`, `closed`). */
export class ProtocolError extends Error {
  /** @param {{code: string, message?: string, retryable?: boolean, retry_after_ms?: number, amount?: number}} error */
  constructor({ code, message = "", retryable = false, retry_after_ms: retryAfterMs, amount }) {
    super(message || code);
    this.name = "ProtocolError";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    /** What was claimed before, of `already_claimed`. */
    this.amount = amount;
  }
}
