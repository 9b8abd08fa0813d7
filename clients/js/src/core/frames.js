/**
 * The shapes on the wire, version 1 of the protocol: requests out, replies and pushes in. No I/O.
 *
 * Everything that comes in is read leniently, as the protocol asks: fields, pushes and entry kinds that are not known
 * are left alone, and a message that is neither a reply nor a push is no error, it is nothing (`decode` gives null).
 */
import { FrameTooLargeError, MalformedEntryError, ReplyError } from "./errors.js";
import { isDeeper, isInteger, isObject } from "./json.js";

/** @typedef {import("./json.js").JsonObject} JsonObject */

export const PROTOCOL_VERSION = 1;
export const MAX_REQUEST_BYTES = 32 * 1024;

/** Kinds that count as unread. Every other kind is a change or a notice. */
export const COUNTABLE_KINDS = new Set([
  "text", "image", "voice", "video", "file", "location", "card", "custom", "redpacket", "merged",
]);

/** Kinds that change the message `target`. */
export const CHANGE_KINDS = new Set(["edit", "recall", "reaction", "pin"]);

/** Characters of a message in one line. */
export const PREVIEW = 80;

/** Deeper than this nothing is that the server says. */
const MAX_DEPTH = 512;

// What the server takes for white space: Python's `str.split`, which is not the \s of JavaScript.
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

/**
 * One entry of a conversation's log. What the server fetches is as it is now, with the changes up to `changed` in it;
 * a push is as it was sent.
 * @typedef {object} Entry
 * @property {string} conv
 * @property {number} seq
 * @property {number} n count of countable entries up to and including this one
 * @property {string} kind
 * @property {string} sender the field `from`; empty for a notice of the system itself
 * @property {number} ts milliseconds since the epoch
 * @property {JsonObject} body
 * @property {string | null} cmid
 * @property {string[]} mentions
 * @property {number | null} replyTo the seq of the message that it answers
 * @property {boolean} countable whether it counts as unread for those who have not read it
 * @property {number} changed seq of the newest change that is in it, 0 for none
 * @property {boolean} edited whether `body` is not what was said first
 * @property {string | null} recalledBy who recalled it; `body` is empty then
 * @property {Map<string, number>} reactions how many there are of each emoji
 * @property {boolean} pinned
 * @property {string | null} quoted the start of the message that it answers
 * @property {string | null} forwardedFrom who said it first
 * @property {JsonObject} wire all of it, as it came
 */

/**
 * The answer to the request with the same `id`: either `data`, or `error`.
 * @typedef {{type: "reply", id: string, data: JsonObject, error: ReplyError | null}} Reply
 */

/**
 * Something the server says unasked.
 * @typedef {{type: "push", name: string, data: JsonObject}} Push
 */

/**
 * An ascending reply to `sync.entries`, which leaves out only what the caller may not see.
 *
 * From `first` to `last` it settles the log for them: what is not among `entries` there is closed to them. `more` says
 * that there is something for them above `last`; without it they may see nothing that was there when they asked.
 * `newest` is the newest seq that they might see then: the entries are as they were when the log had come that far.
 * @typedef {{entries: Entry[], first: number, last: number, more: boolean, newest: number}} Page
 */

/** @param {unknown} value */
const text = (value) => (typeof value === "string" ? value : null);

/**
 * A field of what may be no object.
 * @param {unknown} value
 * @param {string} name
 */
const inner = (value, name) => (isObject(value) ? value[name] : undefined);

/**
 * Read an entry. Throws MalformedEntryError when a field that every entry has is missing or of a wrong type.
 * @param {unknown} wire
 * @returns {Entry}
 */
export function readEntry(wire) {
  if (
    !isObject(wire) ||
    typeof wire.conv !== "string" ||
    !isInteger(wire.seq) ||
    wire.seq < 1 ||
    !isInteger(wire.n) ||
    typeof wire.kind !== "string" ||
    !isInteger(wire.ts) ||
    !isObject(wire.body)
  ) {
    throw new MalformedEntryError("an entry without conv, seq, n, kind, ts or body");
  }
  return {
    conv: wire.conv,
    seq: wire.seq,
    n: wire.n,
    kind: wire.kind,
    sender: text(wire.from) ?? "",
    ts: wire.ts,
    body: wire.body,
    cmid: text(wire.cmid),
    mentions: Array.isArray(wire.mentions) ? wire.mentions.filter((one) => typeof one === "string") : [],
    replyTo: isInteger(wire.reply_to) ? wire.reply_to : null,
    countable: COUNTABLE_KINDS.has(wire.kind),
    changed: isInteger(wire.changed) ? wire.changed : 0,
    edited: isObject(wire.edited),
    recalledBy: text(inner(wire.recalled, "by")),
    reactions: countsOf(wire.reactions),
    pinned: wire.pinned === true,
    quoted: text(inner(wire.quote, "preview")),
    forwardedFrom: text(inner(wire.forwarded, "from")),
    wire,
  };
}

/**
 * @param {unknown} reactions
 * @returns {Map<string, number>} a Map: an emoji may be any text, `__proto__` for one
 */
function countsOf(reactions) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const [emoji, one] of isObject(reactions) ? Object.entries(reactions) : []) {
    const count = inner(one, "count");
    if (isInteger(count)) counts.set(emoji, count);
  }
  return counts;
}

/**
 * A message in one line, as rows and quotes have it.
 * @param {string} kind
 * @param {JsonObject} body
 * @returns {string}
 */
export function previewOf(kind, body) {
  const said = kind === "text" ? body.text : kind === "merged" ? body.title : null;
  if (typeof said !== "string") return "";
  const line = said.split(WHITE_SPACE).filter((word) => word !== "").join(" ");
  return line.length <= PREVIEW ? line : Array.from(line).slice(0, PREVIEW).join("");
}

/**
 * The entries of a reply, all of `conv` where that is given. Throws MalformedEntryError.
 * @param {JsonObject} reply
 * @param {string | null} [conv]
 * @returns {Entry[]}
 */
export function entriesOf(reply, conv = null) {
  if (!Array.isArray(reply.entries)) throw new MalformedEntryError("a page without entries");
  const entries = reply.entries.map(readEntry);
  if (conv !== null && entries.some((entry) => entry.conv !== conv)) {
    throw new MalformedEntryError(`entries of another conversation than ${conv}`);
  }
  return entries;
}

/**
 * Read the data of an ascending reply to a request with this `after`. Throws MalformedEntryError.
 * @param {JsonObject} reply
 * @param {number} after
 * @param {string | null} [conv] of which all of the entries are to be
 * @returns {Page}
 */
export function readPage(reply, after, conv = null) {
  const entries = entriesOf(reply, conv);
  let last = entries.length === 0 ? after : entries.reduce((most, { seq }) => Math.max(most, seq), 0);
  const more = reply.more === true;
  const newest = isInteger(reply.last_seq) ? Math.max(last, reply.last_seq) : last;
  if (!more) last = newest;
  return { entries, first: after + 1, last, more, newest };
}

/**
 * The text of a request frame. Throws FrameTooLargeError above 32 KiB, for which the server has no use.
 * @param {string} route
 * @param {string} op
 * @param {string} id
 * @param {JsonObject} data
 * @returns {string}
 */
export function encodeRequest(route, op, id, data) {
  const frame = JSON.stringify({ route, op, id, data });
  const size = new TextEncoder().encode(frame).length;
  if (size > MAX_REQUEST_BYTES) throw new FrameTooLargeError(size, MAX_REQUEST_BYTES);
  return frame;
}

/**
 * Read one incoming message.
 *
 * null for anything that is neither a reply to a readable request nor a push: text that is not JSON, a reply whose
 * `id` is null, and API Gateway's own `{"message": "Internal server error", "connectionId": …, "requestId": …}`.
 * @param {unknown} message
 * @returns {Reply | Push | null}
 */
export function decode(message) {
  if (typeof message !== "string") return null;
  let frame;
  try {
    frame = JSON.parse(message);
  } catch {
    return null;
  }
  if (!isObject(frame) || isDeeper(frame, MAX_DEPTH)) return null;
  if (typeof frame.push === "string" && isObject(frame.data)) {
    return { type: "push", name: frame.push, data: frame.data };
  }
  if (typeof frame.id !== "string") return null;
  if (frame.ok === true && isObject(frame.data)) {
    return { type: "reply", id: frame.id, data: frame.data, error: null };
  }
  const wrong = frame.error;
  if (frame.ok !== false || !isObject(wrong) || typeof wrong.code !== "string") return null;
  const error = new ReplyError(wrong.code, text(wrong.message) ?? "", {
    retryable: wrong.retryable === true,
    retryAfterMs: isInteger(wrong.retry_after_ms) ? Math.max(0, wrong.retry_after_ms) : null,
    amount: isInteger(wrong.amount) ? wrong.amount : null,
  });
  return { type: "reply", id: frame.id, data: {}, error };
}
