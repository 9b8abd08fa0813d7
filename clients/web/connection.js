/**
 * One WebSocket at a time to the backend: requests that survive a lost reply or a lost connection, pushes,
 * reconnection with backoff, and the keep-alive. It knows frames, and nothing about conversations.
 */
import { ProtocolError } from "./protocol.js";

const RESEND_AFTER_MS = 5_000;
const MAX_SENDS = 6;
const MAX_REFUSALS = 4;
const HANDSHAKE_MS = 10_000;
const PING_EVERY_MS = 240_000;
const PING_DEADLINE_MS = 10_000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** A connection that lived this long is a good one: the next loss starts the backoff anew. */
const STABLE_MS = 5_000;

/**
 * @typedef {"idle"|"connecting"|"open"|"waiting"|"kicked"|"closed"} Status
 * `waiting` is the pause before the next attempt, `kicked` means that the server ended this connection on purpose
 * (another one took its place, logout, ban) and that only `resume()` opens another.
 */

/**
 * @typedef {object} Pending
 * @property {string} id
 * @property {string} frame
 * @property {number} sends
 * @property {number} refusals
 * @property {ReturnType<typeof setTimeout>|undefined} timer
 * @property {(data: any) => void} resolve
 * @property {(error: ProtocolError) => void} reject
 */

/** Events: `status`, `open`, `push` (detail: the frame), `pong` (detail: the reply's data). */
export class Connection extends EventTarget {
  /** @type {Status} */
  status = "idle";
  /** Why the server ended the connection; set while `status` is `kicked`. */
  kickReason = "";
  /** Attempts that failed since the last connection that opened. */
  failures = 0;
  /** Whether any attempt ever succeeded. */
  everOpened = false;

  /** @type {WebSocket|null} */
  #socket = null;
  /** @type {Map<string, Pending>} */
  #pending = new Map();
  /** Goes up with every attempt, so that what belongs to an older one is recognised. */
  #attempt = 0;
  #backoffStep = 0;
  #nextId = 1;
  #openedAt = 0;
  #heardAt = 0;
  #pinging = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #pingTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #handshakeTimer;
  #address;

  /** @param {(failures: number) => Promise<string>} address gives the URL of the next attempt */
  constructor(address) {
    super();
    this.#address = address;
  }

  start() {
    globalThis.addEventListener("online", this.#onNetwork);
    globalThis.addEventListener("offline", this.#onNetwork);
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#connect();
  }

  /** Ends it for good: every request still open is rejected with `closed`. */
  stop() {
    globalThis.removeEventListener("online", this.#onNetwork);
    globalThis.removeEventListener("offline", this.#onNetwork);
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#dropSocket();
    clearTimeout(this.#retryTimer);
    this.#setStatus("closed");
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new ProtocolError({ code: "closed" }));
    }
    this.#pending.clear();
  }

  /** Connects now instead of after the backoff; also the way back from `kicked`. */
  resume() {
    if (this.status === "waiting" || this.status === "kicked") {
      clearTimeout(this.#retryTimer);
      this.kickReason = "";
      this.#connect();
    }
  }

  /**
   * Sends a request until its reply comes, on this connection or a later one. Every operation used here may be
   * repeated without effect, so the same frame goes out again.
   * @param {string} route
   * @param {string} op
   * @param {object} data
   * @returns {Promise<any>} the reply's data
   * @throws {ProtocolError} the server's refusal; `timeout` after six sends without a reply; `closed` after `stop()`
   */
  request(route, op, data) {
    const id = `r${this.#nextId++}`;
    const frame = JSON.stringify({ route, op, id, data });
    return new Promise((resolve, reject) => {
      if (this.status === "closed") {
        reject(new ProtocolError({ code: "closed" }));
        return;
      }
      const pending = { id, frame, sends: 0, refusals: 0, timer: undefined, resolve, reject };
      this.#pending.set(id, pending);
      if (this.status === "open") this.#transmit(pending);
    });
  }

  /** Asks for a sign of life; without one in 10 s the connection counts as lost. */
  async verify() {
    if (this.status !== "open" || this.#pinging) return;
    const attempt = this.#attempt;
    this.#pinging = true;
    const deadline = setTimeout(() => {
      if (attempt === this.#attempt && this.status === "open") this.#lost();
    }, PING_DEADLINE_MS);
    try {
      const data = await this.request("connect", "ping", {});
      this.dispatchEvent(new CustomEvent("pong", { detail: data }));
    } catch {
      // A refused ping is a sign of life too.
    } finally {
      clearTimeout(deadline);
      this.#pinging = false;
      if (attempt === this.#attempt && this.status === "open") this.#armPing();
    }
  }

  async #connect() {
    const attempt = ++this.#attempt;
    this.#setStatus("connecting");
    let socket;
    try {
      const url = await this.#address(this.failures);
      if (attempt !== this.#attempt || this.status !== "connecting") return;
      socket = new WebSocket(url);
    } catch {
      if (attempt === this.#attempt && this.status === "connecting") this.#retryLater();
      return;
    }
    this.#socket = socket;
    this.#handshakeTimer = setTimeout(() => this.#lost(), HANDSHAKE_MS);
    socket.onopen = () => this.#opened();
    socket.onclose = () => this.#lost();
    socket.onmessage = (event) => this.#received(event.data);
  }

  #opened() {
    clearTimeout(this.#handshakeTimer);
    this.failures = 0;
    this.everOpened = true;
    this.#openedAt = this.#heardAt = Date.now();
    this.#setStatus("open");
    this.dispatchEvent(new Event("open"));
    for (const pending of [...this.#pending.values()]) {
      if (pending.timer === undefined) this.#transmit(pending);
    }
    this.#armPing();
  }

  #lost() {
    const opened = this.status === "open";
    this.#dropSocket();
    if (opened && Date.now() - this.#openedAt >= STABLE_MS) this.#backoffStep = 0;
    if (!opened) this.failures++;
    this.#retryLater();
  }

  #retryLater() {
    this.#setStatus("waiting");
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.#backoffStep++);
    this.#retryTimer = setTimeout(() => this.#connect(), Math.random() * ceiling);
  }

  #dropSocket() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#handshakeTimer);
    clearTimeout(this.#pingTimer);
    if (socket) {
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.timer = undefined;
    }
  }

  /** @param {Pending} pending */
  #transmit(pending) {
    clearTimeout(pending.timer);
    if (pending.sends >= MAX_SENDS) {
      this.#pending.delete(pending.id);
      pending.reject(new ProtocolError({ code: "timeout", retryable: true }));
      return;
    }
    pending.sends++;
    this.#socket?.send(pending.frame);
    pending.timer = setTimeout(() => {
      this.#transmit(pending);
      this.verify();
    }, RESEND_AFTER_MS);
  }

  /** Idle or busy: the pong tells of what a lost push would have told. */
  #armPing() {
    clearTimeout(this.#pingTimer);
    this.#pingTimer = setTimeout(() => this.verify(), PING_EVERY_MS);
  }

  /** @param {unknown} text */
  #received(text) {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(String(text));
    } catch {
      return;
    }
    if (!frame || typeof frame !== "object") return;
    if (frame.push === "kicked") {
      this.kickReason = String(frame.data?.reason ?? "");
      this.#dropSocket();
      this.#setStatus("kicked");
    } else if (typeof frame.push === "string") {
      this.dispatchEvent(new CustomEvent("push", { detail: frame }));
    } else {
      this.#settle(frame);
    }
  }

  /** @param {any} frame a reply */
  #settle(frame) {
    const pending = this.#pending.get(frame.id);
    if (!pending) return; // the second reply to a frame that was sent twice, or a gateway's own error
    clearTimeout(pending.timer);
    if (frame.ok === true) {
      this.#pending.delete(pending.id);
      pending.resolve(frame.data ?? {});
      return;
    }
    const error = new ProtocolError(frame.error ?? { code: "internal" });
    if (error.retryable && pending.refusals < MAX_REFUSALS) {
      const pause = error.retryAfterMs ?? Math.random() * BACKOFF_MIN_MS * 2 ** pending.refusals;
      pending.refusals++;
      pending.sends = 0;
      pending.timer = setTimeout(() => this.#transmit(pending), pause);
      return;
    }
    this.#pending.delete(pending.id);
    pending.reject(error);
  }

  #onNetwork = () => {
    if (this.status === "waiting" && navigator.onLine) this.resume();
    else this.verify();
    this.dispatchEvent(new Event("status"));
  };

  #onVisible = () => {
    if (document.visibilityState !== "visible") return;
    if (this.status === "waiting") this.resume();
    // A laptop that slept has a socket that only looks alive.
    else if (Date.now() - this.#heardAt > 60_000) this.verify();
  };

  /** @param {Status} status */
  #setStatus(status) {
    this.status = status;
    this.dispatchEvent(new Event("status"));
  }
}
