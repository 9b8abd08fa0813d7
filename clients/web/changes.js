/**
 * What changes do to messages: the protocol's rule as pure functions. Nothing here alters what it is given.
 *
 * A message as the server gives it holds the changes up to its `changed`. What came apart from it is put on top in the
 * order of seq, so that the outcome is the same in whatever order messages and changes arrive.
 */

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./protocol.js").Glimpse} Glimpse */

/** So many reactions of a message are named, all emoji together. */
const NAMED_REACTIONS = 16;
/** A preview is one line of so many characters. */
const PREVIEW_LENGTH = 80;

const CHANGES = new Set(["edit", "recall", "reaction", "pin"]);

/** @param {string} kind */
export const isChange = (kind) => CHANGES.has(kind);

/** The seq of the message that a change is about; null for what is no change. @param {Entry} entry @returns {number|null} */
export function targetOf({ kind, body }) {
  return isChange(kind) && Number.isInteger(body?.target) ? body.target : null;
}

/**
 * A message with the changes that it does not hold yet.
 * @param {Entry} message
 * @param {Entry[]} changes of this message, ascending
 * @returns {Entry}
 */
export const withChanges = (message, changes) => changes.reduce(withChange, message);

/** @param {Entry} message @param {Entry} change @returns {Entry} */
function withChange(message, change) {
  if (change.seq <= (message.changed ?? 0)) return message;
  const next = { ...message, changed: change.seq };
  // Nothing becomes of a recalled message, whatever is heard of it later.
  return message.recalled ? next : CHANGED[/** @type {keyof typeof CHANGED} */ (change.kind)](next, change);
}

const CHANGED = {
  /** Without a body it is an edit of what is recalled by now: the recall is on its way. @type {(message: Entry, change: Entry) => Entry} */
  edit: (message, { seq, ts, body }) => (isObject(body.body) ? { ...message, body: body.body, edited: { seq, ts } } : message),

  /** @type {(message: Entry, change: Entry) => Entry} */
  recall({ edited: _edited, reactions: _reactions, pinned: _pinned, ...message }, { from, ts }) {
    return { ...message, body: {}, recalled: { by: from, ts } };
  },

  /** @type {(message: Entry, change: Entry) => Entry} */
  reaction({ reactions = {}, ...message }, { from, body: { emoji, on } }) {
    if (typeof emoji !== "string") return { ...message, reactions };
    // Any name is an emoji here, also one that every object inherits something under.
    const byEmoji = new Map(Object.entries(reactions));
    const { count, users } = byEmoji.get(emoji) ?? { count: 0, users: [] };
    const named = [...byEmoji.values()].reduce((sum, each) => sum + each.users.length, 0);
    const others = users.filter((user) => user !== from);
    if (on === false) byEmoji.set(emoji, { count: Math.max(count - 1, others.length), users: others });
    // Named already: that it was taken off in between is closed to this user.
    else if (users.includes(from)) byEmoji.set(emoji, { count, users });
    else byEmoji.set(emoji, { count: count + 1, users: named < NAMED_REACTIONS ? [...users, from] : users });
    if (/** @type {{count: number}} */ (byEmoji.get(emoji)).count < 1) byEmoji.delete(emoji);
    return byEmoji.size ? { ...message, reactions: Object.fromEntries(byEmoji) } : message;
  },

  /** @type {(message: Entry, change: Entry) => Entry} */
  pin({ pinned: _pinned, ...message }, { body }) {
    return body.on === false ? message : { ...message, pinned: true };
  },
};

/**
 * The message that a quote or a row shows in one line, with the changes that it does not hold yet.
 * @template {Glimpse} G
 * @param {G} glimpse
 * @param {Entry[]} changes of that message, ascending
 * @returns {G}
 */
export function glimpseWithChanges(glimpse, changes) {
  let now = glimpse;
  for (const { seq, kind, body } of changes) {
    if (seq <= (now.changed ?? 0)) continue;
    now = { ...now, changed: seq };
    if (now.recalled) continue;
    if (kind === "recall") now = { ...now, preview: "", recalled: true };
    else if (kind === "edit" && isObject(body.body)) now = { ...now, preview: previewOfBody(now.kind, body.body) };
  }
  return now;
}

/** A message in one line, as a quote or a row has it. @param {Entry} message @returns {Glimpse} */
export function glimpseOf({ seq, kind, from, ts, body, recalled }) {
  const glimpse = { seq, kind, from, ts, preview: previewOfBody(kind, body) };
  return recalled ? { ...glimpse, preview: "", recalled: true } : glimpse;
}

/** An edit without what it said: what is recalled is kept nowhere. @param {Entry} change @returns {Entry} */
export function wiped(change) {
  const { body: _said, ...body } = change.body;
  return { ...change, body };
}

/** @param {string} kind @param {any} body */
function previewOfBody(kind, body) {
  const text = { text: body?.text, merged: body?.title }[kind];
  if (typeof text !== "string") return "";
  return [...text.slice(0, PREVIEW_LENGTH * 4).split(/\s+/).filter(Boolean).join(" ")].slice(0, PREVIEW_LENGTH).join("");
}

/** @param {unknown} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
