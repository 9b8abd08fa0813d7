/** What the machine asks its owner to do, and what it tells. */

/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./frames.js").Entry} Entry */
/** @typedef {import("./json.js").JsonObject} JsonObject */

/**
 * A row of the conversation list: an inbox row of the protocol, as it is on the wire.
 * @typedef {JsonObject & {conv: string, last_seq: number}} Row
 */

/**
 * A message that is to be sent, with what has become of it.
 * @typedef {JsonObject & {cmid: string, conv: string, kind: string, body: JsonObject, ts: number, state?: string}} Item
 */

/**
 * Open a connection, and say `opened` or `failed` with its number. `fresh`: with a token that was not used yet.
 * @typedef {{type: "dial", link: number, fresh: boolean}} Dial
 */
/**
 * Send a frame over a connection.
 * @typedef {{type: "transmit", link: number, frame: string}} Transmit
 */
/**
 * Close a connection, or stop opening it. Nothing need be said of it any more.
 * @typedef {{type: "hangup", link: number}} Hangup
 */
/**
 * One row of what is kept: put there, or, with null for a `value`, no longer there.
 *
 * The tables: `meta` by name, `rows`, `logs`, `reads` and `deleted` by conversation, `outbox` by cmid, `entries` by
 * conversation and seq. An `entries` row without a seq and a value stands for all entries of its conversation.
 * @typedef {object} Change
 * @property {"meta" | "rows" | "logs" | "reads" | "deleted" | "outbox" | "entries"} table
 * @property {string} key
 * @property {JsonObject | null} value
 * @property {number | null} seq
 */
/**
 * Keep all of this, or nothing of it, before anything that follows is done.
 * @typedef {{type: "save", changes: Change[]}} Save
 */
/**
 * What came of `call`: the reply's data, or an error.
 * @typedef {{type: "answer", call: number, data: JsonObject | null, error: ImClientError | null}} Answer
 */
/**
 * The connection has opened, is lost, or will stay away. `why` is a word or two for a program, `error` what went wrong.
 * @typedef {{type: "state", state: StateName, why: string, error: ImClientError | null}} StateChanged
 */
/**
 * An entry has come; `new` is false for a duplicate.
 * @typedef {{type: "entry", entry: Entry, source: SourceName, new: boolean}} Arrived
 */
/**
 * A page of a conversation was fetched, whatever was in it. Below `restarted`, when it is not null, everything was
 * forgotten, to be loaded anew.
 * @typedef {{type: "settled", conv: string, restarted: number | null}} Settled
 */
/**
 * A row of the conversation list, as it is now.
 * @typedef {{type: "row", row: Row}} RowChanged
 */
/**
 * The user has deleted something of a conversation for themself, here or on another device.
 * @typedef {{type: "deleted", conv: string}} DeletedChanged
 */
/**
 * What has become of a message that is to be sent: as in `outbox`, with a `state` of `queued`, `sending`, `failed`
 * (with `code`), `sent` (with `seq`) or `discarded`. `error` is why it has failed just now.
 * @typedef {{type: "outgoing", item: Item, error: ImClientError | null}} OutgoingChanged
 */
/**
 * A push that is none of the machine's business.
 * @typedef {{type: "push", name: string, data: JsonObject}} Pushed
 */
/**
 * Something for a person who looks for a fault.
 * @typedef {{type: "noted", text: string}} Noted
 */
/** @typedef {StateChanged | Arrived | Settled | RowChanged | DeletedChanged | OutgoingChanged | Pushed | Noted} Event */
/** @typedef {Dial | Transmit | Hangup | Save | Answer | Event} Output */
/** @typedef {"connecting" | "online" | "waiting" | "ended"} StateName */
/** @typedef {"push" | "reply" | "fetch" | "older"} SourceName */

/**
 * How the client is connected. `WAITING`: until the next attempt; `ENDED`: it stays away (kicked, refused or stopped).
 * @type {Readonly<{CONNECTING: "connecting", ONLINE: "online", WAITING: "waiting", ENDED: "ended"}>}
 */
export const State = Object.freeze({
  CONNECTING: "connecting",
  ONLINE: "online",
  WAITING: "waiting",
  ENDED: "ended",
});

/**
 * How an entry came to this client: `REPLY`: its own message, known from the reply; `FETCH`: asked for, to fill a hole;
 * `OLDER`: asked for, as history.
 * @type {Readonly<{PUSH: "push", REPLY: "reply", FETCH: "fetch", OLDER: "older"}>}
 */
export const Source = Object.freeze({ PUSH: "push", REPLY: "reply", FETCH: "fetch", OLDER: "older" });

/** @type {(link: number, fresh?: boolean) => Dial} */
export const dial = (link, fresh = false) => ({ type: "dial", link, fresh });

/** @type {(link: number, frame: string) => Transmit} */
export const transmit = (link, frame) => ({ type: "transmit", link, frame });

/** @type {(link: number) => Hangup} */
export const hangup = (link) => ({ type: "hangup", link });

/** @type {(table: Change["table"], key: string, value: JsonObject | null, seq?: number | null) => Change} */
export const change = (table, key, value, seq = null) => ({ table, key, value, seq });

/** @type {(changes: Change[]) => Save} */
export const save = (changes) => ({ type: "save", changes });

/** @type {(call: number, data: JsonObject | null, error?: ImClientError | null) => Answer} */
export const answer = (call, data, error = null) => ({ type: "answer", call, data, error });

/** @type {(state: StateName, why?: string, error?: ImClientError | null) => StateChanged} */
export const stateChanged = (state, why = "", error = null) => ({ type: "state", state, why, error });

/** @type {(entry: Entry, source: SourceName, isNew: boolean) => Arrived} */
export const arrived = (entry, source, isNew) => ({ type: "entry", entry, source, new: isNew });

/** @type {(conv: string, restarted?: number | null) => Settled} */
export const settled = (conv, restarted = null) => ({ type: "settled", conv, restarted });

/** @type {(row: Row) => RowChanged} */
export const rowChanged = (row) => ({ type: "row", row });

/** @type {(conv: string) => DeletedChanged} */
export const deletedChanged = (conv) => ({ type: "deleted", conv });

/** @type {(item: Item, error?: ImClientError | null) => OutgoingChanged} */
export const outgoingChanged = (item, error = null) => ({ type: "outgoing", item, error });

/** @type {(name: string, data: JsonObject) => Pushed} */
export const pushed = (name, data) => ({ type: "push", name, data });

/** @type {(text: string) => Noted} */
export const noted = (text) => ({ type: "noted", text });
