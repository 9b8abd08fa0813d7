/** The machine of `core` in a browser or in Node: WebSockets and timers for what it asks for, events for what it tells. */
import { ConnectionLostError, ImClientError, StoreTakenError } from "./core/errors.js";
import { PROTOCOL_VERSION, readEntry } from "./core/frames.js";
import { Machine } from "./core/machine.js";
import { State } from "./core/outputs.js";
import { makeSettings } from "./core/settings.js";
import { watchPage } from "./page.js";
import { MemoryStore } from "./store-memory.js";
import { uuid } from "./uuid.js";

/** @typedef {import("./core/frames.js").Entry} Entry */
/** @typedef {import("./core/json.js").JsonObject} JsonObject */
/** @typedef {import("./core/outputs.js").Change} Change */
/** @typedef {import("./core/outputs.js").Dial} Dial */
/** @typedef {import("./core/outputs.js").Item} Item */
/** @typedef {import("./core/outputs.js").Output} Output */
/** @typedef {import("./core/settings.js").Settings} Settings */
/** @typedef {import("./store-indexeddb.js").StoreProblem} StoreProblem */

/** @typedef {import("./core/outputs.js").Event | ({type: "store"} & StoreProblem)} SessionEvent */

/**
 * A connection that is being opened, or is open. `over`: nobody waits for it any more.
 * @typedef {{socket: any, opened: boolean, over: boolean}} Wire
 */

/**
 * Those who wait for something.
 * @template T
 * @typedef {{resolve: (value: T) => void, reject: (error: unknown) => void}} Waiter
 */

const CLOSE_PATIENCE_MS = 5_000;
/** A store that takes longer holds nothing up any more. */
const SAVE_PATIENCE_MS = 5_000;
/** Long timers drift, and a tab may sleep: no timer is longer. */
const LONGEST_NAP_MS = 30_000;
const NORMAL_CLOSE = 1000;
/** So many events may wait for a reader of `events`. */
const EVENTS_WAITING = 10_000;

/** An iterator of events was read too slowly: events were lost for it. Begin anew from `rows` and `history`. */
export class TooSlowError extends ImClientError {
  constructor() {
    super(`more than ${EVENTS_WAITING} events wait to be read`, "too_slow");
  }
}

/** One user on one device. `start` it, then `send` and `call`; `close` it at the end. */
export class Session {
  #url;
  #device;
  #platform;
  #token;
  #store;
  #settings;
  #WebSocket;
  #clock;
  #random;
  #onHandlerError;
  /** @type {Machine | null} */
  #machine = null;
  /** @type {Promise<void> | null} */
  #starting = null;
  /** @type {Promise<void> | null} */
  #closing = null;
  #closed = false;
  #storeTaken = false;
  #pumping = false;
  #writing = false;
  /** @type {Output[]} what waits for the store */
  #behind = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #unwatch = () => {};
  /** An attempt has failed without saying why: the token may have run out. */
  #doubtsToken = false;
  /** @type {Map<number, Wire>} */
  #wires = new Map();
  /** @type {Map<number, Waiter<JsonObject>>} */
  #answers = new Map();
  /** @type {Map<string, Waiter<Entry>[]>} */
  #sending = new Map();
  /** @type {Map<string, (() => void)[]>} */
  #older = new Map();
  /** @type {Map<string, Set<(event: any) => void>>} */
  #handlers = new Map();
  /** @type {Set<EventQueue>} */
  #queues = new Set();
  /** @type {(() => void)[]} */
  #idle = [];

  /**
   * - `url`: `wss://…`, without the protocol's own query; `token({fresh})` gives a token, one that was not used yet when
   *   `fresh` is asked for.
   * - `device`: the client's own stable id, the same one as long as `store` is the same.
   * - `store`: what is to outlive this session; by default it is in memory alone.
   * - `WebSocket`: a class with the interface that browsers have, for where there is none (Node before 22: package `ws`).
   * - `onHandlerError` is told what a handler of events has thrown.
   * - `clock` gives milliseconds that never go back, `random` a number from 0 to below 1: for tests.
   * @param {object} options
   * @param {string} options.url
   * @param {string} options.user
   * @param {string} options.device
   * @param {(how: {fresh: boolean}) => string | Promise<string>} options.token
   * @param {string} [options.platform]
   * @param {any} [options.store]
   * @param {Partial<Settings>} [options.settings]
   * @param {any} [options.WebSocket]
   * @param {(error: unknown) => void} [options.onHandlerError]
   * @param {() => number} [options.clock]
   * @param {() => number} [options.random]
   */
  constructor({
    url,
    user,
    device,
    token,
    platform = "web",
    store = new MemoryStore(),
    settings = {},
    WebSocket = globalThis.WebSocket,
    onHandlerError = report,
    clock = () => performance.now(),
    random = Math.random,
  }) {
    if (typeof WebSocket !== "function") {
      throw new TypeError("there is no WebSocket here: give the session one, as the option `WebSocket`");
    }
    this.user = user;
    this.#url = url;
    this.#device = device;
    this.#platform = platform;
    this.#token = token;
    this.#store = store;
    this.#settings = makeSettings({ ...settings, stores: true });
    this.#WebSocket = WebSocket;
    this.#onHandlerError = onHandlerError;
    this.#clock = clock;
    this.#random = random;
    store.listen((/** @type {StoreProblem} */ problem) => {
      this.#storeTaken ||= problem.what === "taken";
      this.#emit({ type: "store", ...problem });
    });
  }

  // ---- what there is

  /** How it is connected: `connecting`, `online`, `waiting` (until the next attempt) or `ended` (it stays away). */
  get state() {
    return this.#machine?.state ?? State.ENDED;
  }

  /** Why it stays away; null while it does not. */
  get ended() {
    return this.#machine?.ended ?? null;
  }

  /** The conversation list, by conversation. */
  get rows() {
    return this.#running.rows;
  }

  /** What is in memory of each conversation. */
  get transcripts() {
    return this.#running.transcripts;
  }

  /** Messages that are not sent yet, by cmid. */
  get outbox() {
    return this.#running.outbox.items;
  }

  /** Of conversations of which something was deleted: `{deleted, ranges}`. */
  get deleted() {
    return this.#running.deletions.of;
  }

  // ---- life

  /**
   * Load what is kept, and connect as soon as that is possible. It does not wait for the connection: the event `state`
   * tells of that. Also after an end.
   *
   * Rejects with StoreTakenError when another session has taken the store over meanwhile: make a new one then.
   */
  async start() {
    if (this.#closing !== null) throw new ConnectionLostError({ stopped: true });
    if (this.#storeTaken) throw new StoreTakenError();
    this.#starting ??= this.#load();
    try {
      await this.#starting;
    } catch (error) {
      this.#starting = null;
      throw error;
    }
    const machine = this.#running;
    if (this.#closing !== null) return;
    machine.start(this.#now());
    this.#pump();
  }

  async #load() {
    const kept = await this.#store.load();
    this.#machine = new Machine(this.user, this.#settings, (below) => Math.floor(below * this.#random()), kept);
    this.#unwatch = watchPage({
      wake: () => this.#tell((machine, now) => machine.wake(now)),
      resumed: () => this.#tell((machine, now) => machine.resumed(now)),
      network: (online) => this.#tell((machine, now) => machine.network(now, online)),
    });
  }

  /** Tell the server what is still to be told, close the connection and let go of the store. For good. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    await this.#starting?.catch(() => {});
    this.#unwatch();
    const machine = this.#machine;
    if (machine !== null) {
      if (machine.state === State.ONLINE) {
        // What cannot be told now, the next session learns from the inbox and tells then.
        const left = this.#answer((now) => machine.leave(now)).catch(() => {});
        await within(CLOSE_PATIENCE_MS, left);
      }
      machine.stop(this.#now());
      this.#pump();
      await this.#whenKept();
    }
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const link of [...this.#wires.keys()]) this.#hangUp(link);
    await this.#store.close();
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }

  // ---- what a program asks for

  /**
   * Make a request and return the reply's data; over the next connection if need be, and again when the server says that
   * it may succeed later.
   *
   * Rejects with ReplyError for an error that will not go away, or stayed; NoReplyError; FrameTooLargeError;
   * ConnectionLostError or UpgradeRefusedError when the session has ended.
   * @param {string} route
   * @param {string} op
   * @param {JsonObject} [data]
   * @returns {Promise<JsonObject>}
   */
  async call(route, op, data = {}) {
    return this.#answer((now) => this.#running.call(route, op, data, now));
  }

  /**
   * Send a message; the promise is of its entry, as the server has accepted it. The event `outgoing` tells of it at once.
   *
   * It is sent until the server answers: while there is no connection, that waits for the next one. Rejects with
   * ReplyError or FrameTooLargeError, and the message is forgotten; and with ConnectionLostError or UpgradeRefusedError
   * when the session ends: the message waits for the next start then.
   * @param {string} conv
   * @param {string | JsonObject} body a text, or the body of another kind
   * @param {{kind?: string, mentions?: string[], replyTo?: number, cmid?: string}} [more]
   * @returns {Promise<Entry>}
   */
  async send(conv, body, more = {}) {
    const { ended } = this.#running;
    if (ended !== null) throw ended;
    const cmid = more.cmid ?? uuid();
    /** @type {Promise<Entry>} */
    const sent = new Promise((resolve, reject) => {
      const waiters = this.#sending.get(cmid) ?? [];
      this.#sending.set(cmid, [...waiters, { resolve, reject }]);
    });
    try {
      this.post(conv, body, { ...more, cmid });
    } catch (error) {
      this.#rejectSending(cmid, error);
    }
    return sent;
  }

  /**
   * Send a message when that is possible, and return its cmid at once. The event `outgoing` tells what becomes of it; one
   * that fails stays in `outbox`, for `retry` or `discard`.
   * @param {string} conv
   * @param {string | JsonObject} body
   * @param {{kind?: string, mentions?: string[], replyTo?: number, cmid?: string}} [more]
   * @returns {string}
   */
  post(conv, body, { kind = "text", mentions, replyTo, cmid = uuid() } = {}) {
    const said = typeof body === "string" ? { text: body } : body;
    /** @type {Item} */
    const item = { cmid, conv, kind, body: said, ts: Date.now() };
    if (mentions !== undefined) item.mentions = mentions;
    if (replyTo !== undefined) item.reply_to = replyTo;
    const machine = this.#running;
    if (machine.outbox.items.get(cmid)?.state === "failed") {
      machine.retry(cmid, this.#now());
    } else {
      machine.send(JSON.parse(JSON.stringify(item)), this.#now()); // as it is now, whatever becomes of it here
    }
    this.#pump();
    return cmid;
  }

  /**
   * Send a message again that has failed.
   * @param {string} cmid
   */
  retry(cmid) {
    this.#running.retry(cmid, this.#now());
    this.#pump();
  }

  /**
   * Forget a message that has failed, or was not sent yet.
   * @param {string} cmid
   */
  discard(cmid) {
    this.#running.discard(cmid);
    this.#pump();
  }

  /**
   * Replace what an own message says; the seq of the change. Rejects as `call` does.
   * @param {string} conv
   * @param {number} seq
   * @param {string | JsonObject} body
   * @returns {Promise<number>}
   */
  async edit(conv, seq, body) {
    return this.#change(conv, "edit", { seq, body: typeof body === "string" ? { text: body } : body });
  }

  /**
   * Take a message back; the seq of the change.
   * @param {string} conv
   * @param {number} seq
   * @returns {Promise<number>}
   */
  async recall(conv, seq) {
    return this.#change(conv, "recall", { seq });
  }

  /**
   * Put a reaction on a message, or take it off; the seq of the change.
   * @param {string} conv
   * @param {number} seq
   * @param {string} emoji
   * @param {boolean} [on]
   * @returns {Promise<number>}
   */
  async react(conv, seq, emoji, on = true) {
    return this.#change(conv, "react", { seq, emoji, on });
  }

  /**
   * Pin a message for everybody, or take it down; the seq of the change.
   * @param {string} conv
   * @param {number} seq
   * @param {boolean} [on]
   * @returns {Promise<number>}
   */
  async pin(conv, seq, on = true) {
    return this.#change(conv, "pin", { seq, on });
  }

  /**
   * Hide entries of a conversation from this user, on all of their devices. Rejects as `call` does.
   * @param {string} conv
   * @param {{seqs: number[]} | {upTo: number}} which
   */
  async delete(conv, which) {
    const data = "seqs" in which ? { conv, seqs: which.seqs } : { conv, up_to: which.upTo };
    const reply = await this.call("message", "delete", data);
    this.#tell((machine) => machine.deletions.take({ ...reply, conv }));
  }

  /**
   * Set `muted`, `pinned`, `draft`, `hidden` of a conversation; its row. Rejects as `call` does.
   * @param {string} conv
   * @param {JsonObject} settings
   * @returns {Promise<JsonObject>}
   */
  async setRow(conv, settings) {
    const row = await this.call("sync", "settings", { conv, ...settings });
    this.#tell((machine, now) => machine.inbox.take(row, now));
    return row;
  }

  /**
   * Note that the user has read up to `seq`; the server is told within a second, together with what follows.
   * @param {string} conv
   * @param {number} seq
   */
  read(conv, seq) {
    this.#running.read(conv, seq, this.#now());
    this.#pump();
  }

  /**
   * Fetch the page of history below what is here; resolves when it has come, or could not be fetched (`history` has what
   * there is). false when there is nothing more.
   * @param {string} conv
   * @param {number} [limit] at most 100
   * @returns {Promise<boolean>}
   */
  async older(conv, limit = 50) {
    const machine = this.#running;
    const asked = machine.older(conv, limit, this.#now());
    if (!asked && !machine.logs.loading(conv)) return false;
    /** @type {Promise<void>} */
    const come = new Promise((resolve) => {
      this.#older.set(conv, [...(this.#older.get(conv) ?? []), resolve]);
    });
    this.#pump();
    await come;
    return true;
  }

  /**
   * Entries of a conversation that are here, in memory or in the store: those with the highest seqs below `before` first.
   * @param {string} conv
   * @param {{before?: number, limit?: number}} [range]
   * @returns {Promise<Entry[]>}
   */
  async history(conv, range = {}) {
    await this.#whenKept();
    return (await this.#store.entries(conv, range)).map(readEntry);
  }

  /**
   * Learn that a conversation has entries up to `lastSeq`: what is missing is fetched.
   * @param {string} conv
   * @param {number} lastSeq
   */
  expect(conv, lastSeq) {
    this.#running.expect(conv, lastSeq, this.#now());
    this.#pump();
  }

  /** Read now what has changed in the inbox; resolves when that is done. Rejects as `call` does. */
  async refresh() {
    await this.#answer((now) => this.#running.refresh(now));
  }

  // ---- events

  /**
   * Let `handler` be called for every event with this name; `*` is all of them. Returns how to stop that.
   * @param {string} name
   * @param {(event: any) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /**
   * All events from now on, until the session is closed. Throws TooSlowError when too many wait to be read.
   * @returns {AsyncIterableIterator<SessionEvent>}
   */
  events() {
    const queue = new EventQueue(() => this.#queues.delete(queue));
    if (this.#closed) {
      queue.end();
    } else {
      this.#queues.add(queue);
    }
    return queue;
  }

  [Symbol.asyncIterator]() {
    return this.events();
  }

  /** @param {SessionEvent} event */
  #emit(event) {
    for (const name of [event.type, "*"]) {
      for (const handler of [...(this.#handlers.get(name) ?? [])]) {
        try {
          handler(event);
        } catch (error) {
          this.#onHandlerError(error);
        }
      }
    }
    for (const queue of [...this.#queues]) queue.push(event);
  }

  // ---- the machine's wishes

  /** @returns {Machine} */
  get #running() {
    if (this.#machine === null) throw new Error("start the session first");
    return this.#machine;
  }

  #now() {
    return Math.floor(this.#clock());
  }

  /** @param {(machine: Machine, now: number) => void} say */
  #tell(say) {
    if (this.#machine === null || this.#closed) return;
    say(this.#machine, this.#now());
    this.#pump();
  }

  /**
   * @param {string} conv
   * @param {string} op
   * @param {JsonObject} data
   * @returns {Promise<number>}
   */
  async #change(conv, op, data) {
    const reply = await this.#answer((now) => this.#running.change(conv, op, data, uuid(), now));
    return reply.seq;
  }

  /**
   * @param {(now: number) => number} ask
   * @returns {Promise<JsonObject>}
   */
  #answer(ask) {
    return new Promise((resolve, reject) => {
      this.#answers.set(ask(this.#now()), { resolve, reject });
      this.#pump();
    });
  }

  /**
   * Do what the machine asks for, in its order. A handler may ask it for more: that is done in its turn.
   *
   * All that one step says is kept together, before any of it leaves. While a store is writing, what there is to tell is
   * told all the same: a person sees at once what they have said.
   */
  #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      this.#drain();
    } finally {
      this.#pumping = false;
    }
    this.#setTimer();
  }

  #drain() {
    const machine = this.#running;
    for (let outputs = machine.outputs(); outputs.length > 0; outputs = machine.outputs()) {
      const changes = outputs.flatMap((output) => (output.type === "save" ? output.changes : []));
      const keeping = this.#writing ? undefined : this.#keep(changes);
      if (this.#writing) {
        this.#behind.push(...outputs);
      } else if (keeping !== undefined) {
        this.#writing = true;
        keeping.then(() => this.#written(outputs));
      }
      for (const output of outputs) {
        this.#say(output);
        if (!this.#writing) this.#act(output);
      }
    }
  }

  /**
   * A write is done: what waited for it is done, and what has come meanwhile is kept, with one write.
   * @param {Output[]} outputs
   */
  #written(outputs) {
    for (let done = outputs; done.length > 0; ) {
      for (const output of done) this.#act(output);
      done = this.#behind;
      this.#behind = [];
      const next = done;
      const keeping = this.#keep(next.flatMap((output) => (output.type === "save" ? output.changes : [])));
      if (keeping !== undefined) {
        keeping.then(() => this.#written(next));
        return;
      }
    }
    this.#writing = false;
    const idle = this.#idle;
    this.#idle = [];
    for (const then of idle) then();
  }

  /** @returns {Promise<void>} resolves when nothing waits for the store */
  #whenKept() {
    return this.#writing ? new Promise((resolve) => this.#idle.push(resolve)) : Promise.resolve();
  }

  /**
   * Let the store keep changes. Never rejects: what the store could not keep, it tells, and tries again.
   * @param {Change[]} changes
   * @returns {Promise<void> | undefined} undefined when that is done already
   */
  #keep(changes) {
    if (changes.length === 0) return undefined;
    let kept;
    try {
      kept = this.#store.apply(changes);
    } catch (error) {
      this.#emit({ type: "store", what: "failed", error });
    }
    if (kept === undefined) return undefined;
    const done = Promise.resolve(kept).catch(() => {});
    return within(SAVE_PATIENCE_MS, done, () => this.#emit({ type: "store", what: "slow", error: null }));
  }

  #setTimer() {
    clearTimeout(this.#timer);
    const due = this.#running.nextWake;
    if (due === null || this.#closed) return;
    const at = this.#now();
    const wall = Date.now();
    const wake = () =>
      this.#tell((machine, now) => {
        // Some clocks stand still while the machine sleeps; the wall clock does not.
        if (Date.now() - wall - (now - at) > this.#settings.late) machine.resumed(now);
        machine.wake(now);
      });
    this.#timer = setTimeout(wake, Math.max(1, Math.min(due - at, LONGEST_NAP_MS)));
  }

  /**
   * What leaves this program.
   * @param {Output} output
   */
  #act(output) {
    if (output.type === "dial") {
      this.#dial(output);
    } else if (output.type === "transmit") {
      this.#transmit(output.link, output.frame);
    } else if (output.type === "hangup") {
      this.#hangUp(output.link);
    }
  }

  /**
   * What there is to tell.
   * @param {Output} output
   */
  #say(output) {
    switch (output.type) {
      case "dial":
      case "transmit":
      case "hangup":
      case "save":
        break;
      case "answer":
        this.#answered(output.call, output.data, output.error);
        break;
      default:
        this.#emit(output);
        this.#heard(output);
    }
  }

  /**
   * @param {number} call
   * @param {JsonObject | null} data
   * @param {ImClientError | null} error
   */
  #answered(call, data, error) {
    const waiter = this.#answers.get(call);
    this.#answers.delete(call);
    if (error !== null) {
      waiter?.reject(error);
    } else {
      waiter?.resolve(data ?? {});
    }
  }

  /**
   * What those are told who wait for it.
   * @param {import("./core/outputs.js").Event} event
   */
  #heard(event) {
    if (event.type === "outgoing") {
      this.#outgoing(event.item, event.error);
    } else if (event.type === "settled" && !this.#running.logs.loading(event.conv)) {
      for (const resolve of this.#older.get(event.conv) ?? []) resolve();
      this.#older.delete(event.conv);
    } else if (event.type === "state" && event.state === State.ENDED) {
      for (const cmid of [...this.#sending.keys()]) {
        this.#rejectSending(cmid, event.error ?? new ConnectionLostError({ stopped: true }));
      }
    }
  }

  /**
   * @param {Item} item
   * @param {ImClientError | null} error
   */
  #outgoing(item, error) {
    const waiters = this.#sending.get(item.cmid);
    if (waiters === undefined) return;
    if (item.state === "sent") {
      this.#sending.delete(item.cmid);
      const entry = readEntry({ n: 0, ...item, from: this.user });
      for (const { resolve } of waiters) resolve(entry);
    } else if (item.state === "failed" && error !== null) {
      this.#rejectSending(item.cmid, error);
      this.#running.discard(item.cmid);
    } else if (item.state === "discarded") {
      this.#rejectSending(item.cmid, new ImClientError("the message was discarded", "discarded"));
    }
  }

  /**
   * @param {string} cmid
   * @param {unknown} error
   */
  #rejectSending(cmid, error) {
    const waiters = this.#sending.get(cmid) ?? [];
    this.#sending.delete(cmid);
    for (const { reject } of waiters) reject(error);
  }

  // ---- connections

  /** @param {Dial} dial */
  async #dial({ link, fresh }) {
    /** @type {Wire} */
    const wire = { socket: null, opened: false, over: false };
    this.#wires.set(link, wire);
    let token;
    try {
      token = await this.#token({ fresh: fresh || this.#doubtsToken });
    } catch (error) {
      this.#failed(link, wire, null, `no token: ${error}`);
      return;
    }
    if (wire.over) return;
    try {
      const url = connectionUrl(this.#url, { token, device: this.#device, platform: this.#platform });
      wire.socket = new this.#WebSocket(url);
    } catch (error) {
      this.#failed(link, wire, null, `cannot connect: ${error}`);
      return;
    }
    this.#listen(link, wire);
  }

  /**
   * @param {number} link
   * @param {Wire} wire
   */
  #listen(link, wire) {
    const { socket } = wire;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (wire.over) return;
      wire.opened = true;
      this.#doubtsToken = false;
      this.#tell((machine, now) => machine.opened(link, now));
    };
    socket.onmessage = (/** @type {{data: unknown}} */ { data }) => {
      if (!wire.over) this.#tell((machine, now) => machine.received(link, textOf(data), now));
    };
    socket.onerror = () => {}; // `close` follows
    socket.onclose = (/** @type {{code?: number}} */ { code }) => {
      if (wire.over) return;
      if (!wire.opened) {
        this.#failed(link, wire, null, "the connection was refused, or the server is not reached");
        return;
      }
      wire.over = true;
      this.#wires.delete(link);
      this.#tell((machine, now) => machine.closed(link, code ?? null, now));
    };
    // The package `ws` tells the status that browsers hide.
    socket.once?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ { statusCode }) => {
      request.destroy?.();
      if (!wire.over) this.#failed(link, wire, statusCode, `refused with HTTP status ${statusCode}`);
    });
  }

  /**
   * @param {number} link
   * @param {Wire} wire
   * @param {number | null} status
   * @param {string} why
   */
  #failed(link, wire, status, why) {
    if (wire.over) return;
    wire.over = true;
    this.#wires.delete(link);
    // A browser does not tell why: a token that has run out looks like a server that is not reached.
    this.#doubtsToken = status === null;
    this.#emit({ type: "noted", text: why });
    this.#tell((machine, now) => machine.failed(link, status, now));
  }

  /**
   * @param {number} link
   * @param {string} frame
   */
  #transmit(link, frame) {
    const wire = this.#wires.get(link);
    try {
      wire?.socket?.send(frame);
    } catch {
      // It is closing: `close` follows, and the frame goes out over the next one.
    }
  }

  /** @param {number} link */
  #hangUp(link) {
    const wire = this.#wires.get(link);
    this.#wires.delete(link);
    if (wire === undefined) return;
    wire.over = true;
    try {
      wire.socket?.close(NORMAL_CLOSE);
    } catch {
      // it was never open
    }
  }
}

/**
 * The address to connect to: `url` with the query that the protocol asks for.
 * @param {string} url
 * @param {{token: string, device: string, platform: string}} query
 * @returns {string}
 */
export function connectionUrl(url, { token, device, platform }) {
  const address = new URL(url);
  for (const [name, value] of Object.entries({ token, device, platform, v: String(PROTOCOL_VERSION) })) {
    address.searchParams.set(name, value);
  }
  return address.href;
}

/**
 * @param {unknown} data of a WebSocket's message
 * @returns {string | null}
 */
function textOf(data) {
  if (typeof data === "string") return data;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(/** @type {any} */ (data));
  } catch {
    return null;
  }
}

/**
 * Resolves when `done` does, or after so long; then `late` is called.
 * @param {number} ms
 * @param {Promise<unknown>} done
 * @param {() => void} [late]
 * @returns {Promise<void>}
 */
function within(ms, done, late = () => {}) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      late();
      resolve();
    }, ms);
    done.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** @param {unknown} error */
function report(error) {
  if (typeof globalThis.reportError === "function") {
    globalThis.reportError(error);
  } else {
    console.error(error);
  }
}

/** @implements {AsyncIterableIterator<SessionEvent>} */
class EventQueue {
  /** @type {SessionEvent[]} */
  #waiting = [];
  /** @type {Waiter<IteratorResult<SessionEvent>>[]} */
  #readers = [];
  #over = false;
  /** @type {TooSlowError | null} */
  #error = null;
  #left;

  /** @param {() => void} left called when nobody reads any more */
  constructor(left) {
    this.#left = left;
  }

  /** @param {SessionEvent} event */
  push(event) {
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader.resolve({ value: event, done: false });
    } else if (this.#waiting.length < EVENTS_WAITING) {
      this.#waiting.push(event);
    } else {
      this.#error = new TooSlowError();
      this.#left();
    }
  }

  end() {
    this.#over = true;
    for (const { resolve } of this.#readers.splice(0)) resolve({ value: undefined, done: true });
  }

  /** @returns {Promise<IteratorResult<SessionEvent>>} */
  next() {
    const event = this.#waiting.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.#error !== null && !this.#over) {
      this.#over = true;
      return Promise.reject(this.#error);
    }
    if (this.#over) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** @returns {Promise<IteratorResult<SessionEvent>>} */
  return() {
    this.#waiting = [];
    this.#left();
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}
