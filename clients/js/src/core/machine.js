/**
 * The client as a whole: what its owner says goes in, with the time; what is to be done and told comes out.
 *
 *     const machine = new Machine(user, makeSettings(), (below) => Math.floor(below * Math.random()));
 *     machine.start(now);
 *     for (const output of machine.outputs()) …  // dial, transmit, hangup, save, answer, and what there is to tell
 *     machine.received(link, text, now);         // and so on; then the outputs again
 *     machine.wake(now);                         // at `machine.nextWake`
 *
 * After every call the outputs are to be taken and done, in their order.
 *
 * Nothing here waits, reads a clock, opens a socket or draws randomness of its own; times are integer milliseconds on a
 * clock that never goes back. clients/python has the same machine, and clients/scenarios.json is the table of what both
 * must do.
 */
import { Deletions } from "./deletions.js";
import { MalformedEntryError } from "./errors.js";
import { decode, readEntry } from "./frames.js";
import { Inbox } from "./inbox.js";
import { integer } from "./json.js";
import { Link } from "./link.js";
import { Logs } from "./logs.js";
import { Marks } from "./marks.js";
import { Outbox } from "./outbox.js";
import { Source, State, answer, pushed, save } from "./outputs.js";
import { Requests } from "./requests.js";
import { Timers } from "./timers.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./frames.js").Push} Push */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Item} Item */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./outputs.js").Row} Row */
/** @typedef {import("./outputs.js").StateName} StateName */
/** @typedef {import("./requests.js").Ask} Ask */
/** @typedef {import("./requests.js").Done} Done */
/** @typedef {import("./settings.js").Settings} Settings */

/**
 * What was saved before: the rows of each table, and of each conversation the seqs above its watermark.
 * @typedef {object} Kept
 * @property {unknown} inbox
 * @property {Iterable<[string, Row]>} rows
 * @property {Iterable<[string, JsonObject]>} logs
 * @property {Map<string, Iterable<number>>} above
 * @property {Iterable<[string, JsonObject]>} reads
 * @property {Iterable<[string, JsonObject]>} deleted
 * @property {Iterable<Item>} outbox in the order in which they were said
 */

/** One user on one device. `draw(n)` gives an integer from 0 to below n, or 0 for an n of 0. */
export class Machine {
  messagesIgnored = 0;
  /** @type {Output[]} */
  #out = [];
  #timers = new Timers();
  #calls = 0;
  /** @type {ImClientError | null} */
  #ended = null;
  #now = 0;
  #kept;

  /**
   * @param {string} user
   * @param {Readonly<Settings>} settings
   * @param {(below: number) => number} draw
   * @param {Kept | null} [kept]
   */
  constructor(user, settings, draw, kept = null) {
    this.user = user;
    this.settings = settings;
    const timers = this.#timers;
    const out = (/** @type {Output} */ output) => this.#tell(output);
    const keep = (/** @type {Change[]} */ changes) => this.#save(changes);
    /** @type {Ask} */
    const ask = (route, op, data, done, now) => void this.requests.make(route, op, data, done, now);
    /** @type {Ask} */
    const askPatiently = (route, op, data, done, now) =>
      void this.requests.make(route, op, data, done, now, { patient: true });
    this.link = new Link(settings, timers, out, draw, {
      opened: (now) => this.#opened(now),
      lost: () => this.requests.lost(),
      ended: (error) => this.#end(error),
      ping: (now) => this.#ping(now),
    });
    this.requests = new Requests(
      settings, timers, out, draw, () => this.link.current, (now) => this.link.verify(now),
    );
    this.logs = new Logs(
      user, settings, timers, out, ask, keep,
      (conv, now) => this.marks.advanced(conv, now),
      (conv) => this.rows.get(conv)?.last_seq ?? null,
    );
    this.marks = new Marks(
      settings, timers, out, ask, this.logs, keep, (data) => this.inbox.wasRead(data, this.#now),
    );
    this.deletions = new Deletions(out, ask, keep);
    this.inbox = new Inbox(user, settings, timers, out, ask, this.logs, this.marks, this.deletions, keep);
    this.outbox = new Outbox(user, out, askPatiently, this.logs, keep);
    this.#kept = kept;
  }

  // ---- what comes out

  /**
   * What is to be done and told since the last time.
   * @returns {Output[]}
   */
  outputs() {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /**
   * When to call `wake`, in ms; null while there is nothing to wait for.
   * @returns {number | null}
   */
  get nextWake() {
    return this.#ended === null ? this.#timers.next : null;
  }

  /**
   * How the client is connected.
   * @returns {StateName}
   */
  get state() {
    return this.link.state;
  }

  /**
   * Why the client stays away.
   * @returns {ImClientError | null}
   */
  get ended() {
    return this.#ended;
  }

  /** What there is of each conversation. */
  get transcripts() {
    return this.logs.transcripts;
  }

  /** The conversation list. */
  get rows() {
    return this.inbox.rows;
  }

  // ---- time and connections

  /**
   * Connect, and go on with what was kept. Also after an end. Does nothing while it is started already.
   * @param {number} now
   */
  start(now) {
    if (this.state !== State.ENDED) return;
    this.#now = now;
    this.#ended = null;
    this.#timers.clear();
    const kept = this.#kept;
    this.#kept = null;
    if (kept !== null) this.#restore(kept, now);
    this.inbox.resume();
    this.deletions.resume();
    this.logs.resume(now);
    this.marks.resume(now);
    this.outbox.resume(now);
    this.link.start(now);
  }

  /**
   * Stay away.
   * @param {number} now
   */
  stop(now) {
    this.#now = now;
    this.link.stop();
  }

  /**
   * The connection `link` is open.
   * @param {number} link
   * @param {number} now
   */
  opened(link, now) {
    this.#now = now;
    this.link.opened(link, now);
  }

  /**
   * The connection `link` was refused with this HTTP status, or not reached at all.
   * @param {number} link
   * @param {number | null} status
   * @param {number} now
   */
  failed(link, status, now) {
    this.#now = now;
    this.link.failed(link, status, now);
  }

  /**
   * The connection `link` is closed.
   * @param {number} link
   * @param {number | null} code
   * @param {number} now
   */
  closed(link, code, now) {
    this.#now = now;
    this.link.closed(link, code, now);
  }

  /**
   * A message has come over the connection `link`. One that is not in use any more is not heard.
   * @param {number} link
   * @param {unknown} message text; anything else is ignored
   * @param {number} now
   */
  received(link, message, now) {
    this.#now = now;
    if (link !== this.link.current) return;
    const frame = decode(message);
    if (frame === null) {
      this.messagesIgnored += 1;
    } else if (frame.type === "push") {
      this.#pushed(link, frame, now);
    } else if (!this.requests.answered(frame, now)) {
      this.messagesIgnored += 1;
    }
  }

  /**
   * It is time for what was to be done later. So late that the machine has slept: the connection may be dead.
   * @param {number} now
   */
  wake(now) {
    this.#now = now;
    const due = this.nextWake;
    if (due === null) return;
    if (now - due > this.settings.late) this.link.verify(now);
    this.#timers.fire(now);
  }

  /**
   * The network has come or gone.
   * @param {number} now
   * @param {boolean} online
   */
  network(now, online) {
    this.#now = now;
    this.link.network(now, online);
  }

  /**
   * A person looks again: connect now, or find out whether the connection is alive.
   * @param {number} now
   */
  resumed(now) {
    this.network(now, true);
  }

  // ---- what a program asks for

  /**
   * Make a request. What comes of it is the answer with the number that this returns.
   * @param {string} route
   * @param {string} op
   * @param {JsonObject} data
   * @param {number} now
   * @returns {number}
   */
  call(route, op, data, now) {
    this.#now = now;
    return this.#numbered((done) => {
      /** @type {Done} */
      const learn = (reply, error, at) => {
        if (route === "group" && error === null) this.marks.learnSizes(reply);
        done(reply, error, at);
      };
      this.requests.make(route, op, data, learn, now);
    });
  }

  /**
   * Send a message, now or when there is a connection: `{cmid, conv, kind, body, mentions?, reply_to?, ts}`.
   * @param {Item} item
   * @param {number} now
   */
  send(item, now) {
    this.#now = now;
    this.outbox.add(item, now);
  }

  /**
   * Change a message (`edit`, `recall`, `react`, `pin`), after what was asked for before in its conversation.
   *
   * What comes of it is the answer with the number that this returns.
   * @param {string} conv
   * @param {string} op
   * @param {JsonObject} data
   * @param {string} cmid
   * @param {number} now
   * @returns {number}
   */
  change(conv, op, data, cmid, now) {
    this.#now = now;
    return this.#numbered((done) => this.outbox.change(conv, op, data, cmid, done, now));
  }

  /**
   * Send a message again that has failed.
   * @param {string} cmid
   * @param {number} now
   */
  retry(cmid, now) {
    this.outbox.retry(cmid, now);
  }

  /**
   * Forget a message that has failed, or was not sent yet.
   * @param {string} cmid
   */
  discard(cmid) {
    this.outbox.discard(cmid);
  }

  /**
   * The user has read up to `seq`. What was read before is no news.
   * @param {string} conv
   * @param {number} seq
   * @param {number} now
   */
  read(conv, seq, now) {
    const row = this.rows.get(conv);
    if (row !== undefined && seq <= integer(row.read_seq)) return;
    this.inbox.reads(conv, seq, this.transcripts.get(conv)?.get(seq)?.n ?? null);
    this.marks.read(conv, seq, now);
  }

  /**
   * A conversation has entries up to `lastSeq`.
   * @param {string} conv
   * @param {number} lastSeq
   * @param {number} now
   */
  expect(conv, lastSeq, now) {
    this.logs.expect(conv, lastSeq, now);
  }

  /**
   * Fetch the page of history below what is here. `settled` tells when it is there.
   * @param {string} conv
   * @param {number} limit
   * @param {number} now
   * @returns {boolean}
   */
  older(conv, limit, now) {
    return this.#ended === null && this.logs.older(conv, limit, now);
  }

  /**
   * Read what has changed in the inbox. The answer with the number that this returns comes when that is done.
   * @param {number} now
   * @returns {number}
   */
  refresh(now) {
    return this.#numbered((done) => this.inbox.whenRead((error, at) => done({}, error, at), now));
  }

  /**
   * Tell the server now what has come and was read; `stop` when the answer with this number has come.
   *
   * It does not connect for it: the next connection of this device may be there already, and would be kicked.
   * @param {number} now
   * @returns {number}
   */
  leave(now) {
    this.#now = now;
    this.#calls += 1;
    const number = this.#calls;
    const connected = this.link.current !== null;
    this.link.leave();
    if (connected) {
      this.marks.flush(() => this.#tell(answer(number, {})), now);
    } else {
      this.#tell(answer(number, {}));
    }
    return number;
  }

  // ---- how

  /**
   * Ask for something, unless there was an end. What comes of it is the answer with the number that this returns.
   * @param {(done: Done) => void} ask
   * @returns {number}
   */
  #numbered(ask) {
    this.#calls += 1;
    const number = this.#calls;
    /** @type {Done} */
    const done = (reply, error) => this.#tell(error === null ? answer(number, reply) : answer(number, null, error));
    if (this.#ended !== null) {
      done({}, this.#ended, this.#now);
    } else {
      ask(done);
    }
    return number;
  }

  /** @param {Output} output */
  #tell(output) {
    this.#out.push(output);
    if (output.type === "entry") {
      this.outbox.arrived(output.entry);
      if (output.new && output.source !== Source.OLDER) this.inbox.arrived(output.entry, this.#now);
    }
  }

  /** @param {Change[]} changes */
  #save(changes) {
    if (this.settings.stores) this.#out.push(save(changes));
  }

  /** @param {number} now */
  #opened(now) {
    this.requests.opened(now);
    this.inbox.opened(now);
  }

  /** @param {ImClientError} error */
  #end(error) {
    this.#ended = error;
    this.outbox.end(error, this.#now);
    this.requests.end(error, this.#now);
    this.#timers.clear();
  }

  /** @param {number} now */
  #ping(now) {
    /** @type {Done} */
    const pong = (data, error, at) => {
      this.link.alive();
      if (error === null) this.inbox.heard(data.inbox, at);
    };
    this.requests.askOnce("connect", "ping", pong, now);
  }

  /**
   * @param {number} link
   * @param {Push} push
   * @param {number} now
   */
  #pushed(link, { name, data }, now) {
    if (name === "entries") {
      this.#take(Array.isArray(data.entries) ? data.entries : [], now);
    } else if (name === "inbox") {
      this.inbox.heard(data.inbox, now);
    } else if (name === "kicked") {
      this.#tell(pushed("kicked", data));
      this.link.kicked(link, typeof data.reason === "string" ? data.reason : "unknown");
    } else if (name === "deleted") {
      this.deletions.take(data);
    } else if (name === "row") {
      this.inbox.take(data, now);
    } else if (name === "read" && data.user === this.user) {
      this.inbox.wasRead(data, now);
      this.#tell(pushed("read", data));
    } else {
      this.#tell(pushed(name, data));
    }
  }

  /**
   * @param {unknown[]} wires
   * @param {number} now
   */
  #take(wires, now) {
    /** @type {Set<string>} */
    const seen = new Set();
    for (const wire of wires) {
      let entry;
      try {
        entry = readEntry(wire);
      } catch (error) {
        if (error instanceof MalformedEntryError) continue; // its seq stays a hole, and is fetched
        throw error;
      }
      this.logs.take(entry, Source.PUSH, now);
      seen.add(entry.conv);
    }
    for (const conv of seen) this.logs.mend(conv, now);
  }

  /**
   * @param {Kept} kept
   * @param {number} now
   */
  #restore(kept, now) {
    this.inbox.value = kept.inbox;
    for (const [conv, row] of kept.rows) {
      this.inbox.rows.set(conv, row);
      this.marks.knows(conv, integer(row.ack_seq));
    }
    for (const [conv, { floor, watermark, horizon }] of kept.logs) {
      const above = kept.above.get(conv) ?? [];
      this.logs.transcripts.set(conv, Transcript.restored(conv, { floor, watermark, horizon, above }));
    }
    for (const [conv, deleted] of kept.deleted) this.deletions.of.set(conv, deleted);
    for (const [conv, { seq }] of kept.reads) this.marks.toRead.set(conv, seq);
    this.outbox.restore(kept.outbox, now);
  }
}
