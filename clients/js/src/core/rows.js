/** What rows, pushes and replies come to, in whatever order they come: the further marks and the newer settings win. */
import { CHANGE_KINDS, previewOf } from "./frames.js";
import { integer, isInteger, isObject } from "./json.js";

/** @typedef {import("./frames.js").Entry} Entry */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./outputs.js").Row} Row */

const SET = ["muted", "pinned", "draft", "hidden", "rev"];
const FURTHER = ["read_seq", "read_n", "ack_seq", "deleted", "last_n"];

const NUMBERS = new Set([...FURTHER, "unread", "mention_seq", "rev", "at", "updated", "left_seq"]);

/**
 * A row as it came; null for what is none. Fields that a row may lack are left out where they cannot be read.
 * @param {unknown} wire
 * @returns {Row | null}
 */
export function readRow(wire) {
  if (!isObject(wire) || typeof wire.conv !== "string" || !isInteger(wire.last_seq)) return null;
  return /** @type {Row} */ (Object.fromEntries(Object.entries(wire).filter(([name, value]) => isReadable(name, value))));
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function isReadable(name, value) {
  if (NUMBERS.has(name)) return isInteger(value);
  if (name !== "last" || value === null) return true;
  return (
    isObject(value) &&
    isInteger(value.seq) &&
    typeof value.kind === "string" &&
    (!Object.hasOwn(value, "changed") || isInteger(value.changed))
  );
}

/**
 * A row that has come, over the one that is known of its conversation.
 * @param {Row | undefined} known
 * @param {Row} row
 * @returns {Row}
 */
export function merged(known, row) {
  if (known === undefined) return row;
  const log = known.last_seq > row.last_seq ? known : row;
  const settings = integer(known.rev) > integer(row.rev) ? known : row;
  const both = { ...log };
  for (const name of SET) {
    if (Object.hasOwn(settings, name)) both[name] = settings[name];
  }
  for (const name of FURTHER) {
    if (Object.hasOwn(log, name)) both[name] = Math.max(integer(known[name]), integer(row[name]));
  }
  if (settings.hidden && integer(both.last_n) > integer(settings.last_n)) both.hidden = false;
  return counted(both);
}

/**
 * A row after its user has read up to `seq`, where `n` messages count: null where that is not known.
 * @param {Row} row
 * @param {number} seq
 * @param {number | null} n
 * @returns {Row}
 */
export function read(row, seq, n) {
  /** @type {Row} */
  const now = { ...row, read_seq: Math.max(integer(row.read_seq), seq) };
  if (n !== null) now.read_n = Math.max(integer(row.read_n), n);
  return counted(now);
}

/**
 * A row after an entry has come. Whoever writes has read what was there; so has who joins.
 * @param {Row} row
 * @param {Entry} entry
 * @param {string} user
 * @returns {Row}
 */
export function withEntry(row, entry, user) {
  const last = row.last;
  if (CHANGE_KINDS.has(entry.kind)) {
    if (isObject(last) && entry.body.target === last.seq && entry.seq > integer(last.changed)) {
      row = { ...row, last: changed(last, entry) };
    }
    return entry.seq <= row.last_seq ? row : { ...row, last_seq: entry.seq };
  }
  if (entry.seq <= row.last_seq || Object.hasOwn(row, "left_seq")) return row;
  /** @type {Row} */
  const now = { ...row, last_seq: entry.seq, last_n: Math.max(integer(row.last_n), entry.n), at: entry.ts };
  if (entry.kind !== "void") {
    now.last = {
      seq: entry.seq,
      kind: entry.kind,
      from: entry.sender,
      ts: entry.ts,
      preview: previewOf(entry.kind, entry.body),
    };
  }
  if (entry.countable) now.hidden = false;
  if (entry.sender === user && entry.countable) return read(now, entry.seq, entry.n);
  if (entry.countable && (entry.mentions.includes(user) || entry.mentions.includes("@all"))) {
    now.mention_seq = entry.seq;
  }
  return counted(now);
}

/**
 * @param {JsonObject} last
 * @param {Entry} change
 * @returns {JsonObject}
 */
function changed(last, change) {
  const now = { ...last, changed: change.seq };
  const body = change.body.body;
  if (last.recalled) return now;
  if (change.kind === "recall") return { ...now, recalled: true, preview: "" };
  if (change.kind === "edit" && isObject(body)) return { ...now, preview: previewOf(last.kind, body) };
  return now;
}

/**
 * A row with as many unread as its marks say. A mention is told until it is read.
 * @param {Row} row
 * @returns {Row}
 */
function counted(row) {
  if (!Object.hasOwn(row, "last_n") || !Object.hasOwn(row, "read_n")) return row;
  const mention = integer(row.mention_seq);
  return {
    ...row,
    unread: Math.max(0, row.last_n - row.read_n),
    mention_seq: mention > integer(row.read_seq) ? mention : 0,
  };
}
