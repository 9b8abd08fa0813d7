/** What can go wrong, as types. Callers choose by type and field, never by the text of a message. */

/**
 * The root of every error that this package raises on purpose.
 *
 * - `code`: a word for a program: one of the protocol's error codes, or `no_reply`, `too_large`, `kicked`, `refused`,
 *   `stopped`, `lost`, `malformed`, `discarded`, `store_taken`, `too_slow`.
 * - `retryable`: whether the same request may succeed later; `retryAfterMs`: how long to wait before that, if known.
 * - `amount`: what the caller has of a red packet already (`already_claimed`).
 */
export class ImClientError extends Error {
  /**
   * @param {string} message
   * @param {string} code
   */
  constructor(message, code) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.retryable = false;
    /** @type {number | null} */
    this.retryAfterMs = null;
    /** @type {number | null} */
    this.amount = null;
  }
}

/** A request would be larger than the protocol allows, so it was not sent. `size` and `limit` are in bytes. */
export class FrameTooLargeError extends ImClientError {
  /**
   * @param {number} size
   * @param {number} limit
   */
  constructor(size, limit) {
    super(`the frame has ${size} bytes, the limit is ${limit}`, "too_large");
    this.size = size;
    this.limit = limit;
  }
}

/** Something the server called an entry lacks a field that every entry has. */
export class MalformedEntryError extends ImClientError {
  /** @param {string} message */
  constructor(message) {
    super(message, "malformed");
  }
}

/** The server answered the WebSocket upgrade with an HTTP `status` other than 101 (401, 403, 5xx). */
export class UpgradeRefusedError extends ImClientError {
  /** @param {number} status */
  constructor(status) {
    super(`the server refused the connection with HTTP status ${status}`, "refused");
    this.status = status;
  }
}

/**
 * The connection is closed, by whomever: `code` is `kicked`, `stopped` (by its owner) or `lost`.
 *
 * `closeCode` is the WebSocket close code, null when there was no close frame. `kicked` is the reason that the server
 * gave in its push `kicked` ("replaced", "logout", …), null when it gave none.
 */
export class ConnectionLostError extends ImClientError {
  /** @param {{closeCode?: number | null, kicked?: string | null, stopped?: boolean}} [why] */
  constructor({ closeCode = null, kicked = null, stopped = false } = {}) {
    const said = kicked !== null ? `the server closed it: ${kicked}` : stopped ? "stopped" : `close code ${closeCode}`;
    super(`the connection is closed (${said})`, kicked !== null ? "kicked" : stopped ? "stopped" : "lost");
    this.closeCode = closeCode;
    this.kicked = kicked;
  }
}

/** A request got no reply, although the same frame was sent `sent` times. */
export class NoReplyError extends ImClientError {
  /**
   * @param {string} route
   * @param {string} op
   * @param {number} sent
   */
  constructor(route, op, sent) {
    super(`no reply to ${route}.${op}, sent ${sent} times`, "no_reply");
    this.route = route;
    this.op = op;
    this.sent = sent;
  }
}

/** The server answered a request with an error: `code` is one of the protocol's, `said` its text. */
export class ReplyError extends ImClientError {
  /**
   * @param {string} code
   * @param {string} said
   * @param {{retryable?: boolean, retryAfterMs?: number | null, amount?: number | null}} [more]
   */
  constructor(code, said, { retryable = false, retryAfterMs = null, amount = null } = {}) {
    super(`${code}: ${said}`, code);
    this.said = said;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.amount = amount;
  }
}

/** Another session has taken over what this one keeps (a second tab with the same device). Make a new session. */
export class StoreTakenError extends ImClientError {
  constructor() {
    super("another session of this device keeps its store now", "store_taken");
  }
}
