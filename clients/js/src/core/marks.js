/** What the server is told of what has come and what was read: at most once a second (rule 3). */
import { ReplyError } from "./errors.js";
import { isInteger, isObject } from "./json.js";
import { change, noted } from "./outputs.js";

/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./logs.js").Logs} Logs */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./requests.js").Ask} Ask */
/** @typedef {import("./requests.js").Done} Done */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./timers.js").Timer} Timer */
/** @typedef {import("./timers.js").Timers} Timers */

export const ACKS_A_FRAME = 50;
/** Members of larger groups do not acknowledge. */
export const LARGE = 100;

/** What is told already, and what is not. `toldRead` gets the reply to a read. */
export class Marks {
  /** @type {Map<string, number>} how many members groups have, as far as that is known */
  sizes = new Map();
  /** @type {Map<string, number>} */
  toRead = new Map();
  #settings;
  #timers;
  #out;
  #ask;
  #logs;
  #save;
  #toldRead;
  /** @type {Map<string, number>} */
  #acked = new Map();
  /** @type {Set<string>} where there may be more to acknowledge, in the order in which it came */
  #more = new Set();
  /** @type {Timer | null} */
  #ackTimer = null;
  #acking = false;
  /** @type {Timer | null} */
  #readTimer = null;
  /** @type {Set<string>} */
  #reading = new Set();
  /** @type {(() => void)[]} */
  #flushed = [];

  /**
   * @param {Readonly<Settings>} settings
   * @param {Timers} timers
   * @param {(output: Output) => void} out
   * @param {Ask} ask
   * @param {Logs} logs
   * @param {(changes: Change[]) => void} save
   * @param {(data: JsonObject) => void} toldRead
   */
  constructor(settings, timers, out, ask, logs, save, toldRead) {
    this.#settings = settings;
    this.#timers = timers;
    this.#out = out;
    this.#ask = ask;
    this.#logs = logs;
    this.#save = save;
    this.#toldRead = toldRead;
  }

  /**
   * Go on after an end.
   * @param {number} now
   */
  resume(now) {
    this.#acking = false;
    this.#ackTimer = null;
    this.#readTimer = null;
    this.#reading.clear();
    this.#more.clear();
    for (const conv of this.#logs.transcripts.keys()) this.advanced(conv, now);
    this.wake(now);
  }

  /**
   * Tell now what is to be told, as much as a frame takes, and say so when the server has answered.
   * @param {() => void} then
   * @param {number} now
   */
  flush(then, now) {
    this.#ackTimer?.cancel();
    this.#readTimer?.cancel();
    this.#flushed.push(then);
    if (!this.#acking) this.#ack(now);
    this.#tellReads(now);
    this.#checkFlushed();
  }

  #checkFlushed() {
    if (!this.#acking && this.#reading.size === 0) {
      const flushed = this.#flushed;
      this.#flushed = [];
      for (const then of flushed) then();
    }
  }

  // ---- received

  /**
   * The server knows that this user has received so much.
   * @param {string} conv
   * @param {number} ackSeq
   */
  knows(conv, ackSeq) {
    this.#acked.set(conv, Math.max(ackSeq, this.#acked.get(conv) ?? 0));
  }

  /**
   * More of a conversation may be whole.
   * @param {string} conv
   * @param {number} now
   */
  advanced(conv, now) {
    if (this.#settings.acknowledges && this.#isDue(conv)) {
      this.#more.add(conv);
      this.#ackSoon(now);
    }
  }

  /**
   * A reply of the route `group`: it may say how many members groups have.
   * @param {JsonObject} data
   */
  learnSizes(data) {
    for (const group of [data, ...(Array.isArray(data.groups) ? data.groups : [])]) {
      if (isObject(group) && typeof group.conv === "string" && isInteger(group.members)) {
        this.sizes.set(group.conv, group.members);
      }
    }
  }

  /** @param {number} now */
  #ackSoon(now) {
    if (this.#more.size > 0 && this.#ackTimer === null && !this.#acking) {
      this.#ackTimer = this.#timers.at(now + this.#settings.acknowledge, (at) => this.#ack(at));
    }
  }

  /**
   * Whether there is something that the server does not know yet, and is to be told.
   * @param {string} conv
   */
  #isDue(conv) {
    const { watermark, floor } = this.#logs.known(conv);
    return watermark > Math.max(this.#acked.get(conv) ?? 0, floor) && (this.sizes.get(conv) ?? 0) <= LARGE;
  }

  #forgetAcked() {
    for (const conv of [...this.#more]) {
      if (!this.#isDue(conv)) this.#more.delete(conv);
    }
  }

  /** @param {number} now */
  #ack(now) {
    this.#ackTimer = null;
    this.#forgetAcked();
    const acks = [...this.#more]
      .slice(0, ACKS_A_FRAME)
      .map((conv) => ({ conv, seq: this.#logs.known(conv).watermark }));
    if (acks.length === 0) return;
    this.#acking = true;
    /** @type {Done} */
    const done = (_, error, at) => {
      this.#acking = false;
      if (error !== null) this.#out(noted(`the server did not take what was received: ${error}`));
      if (error === null || (error instanceof ReplyError && !error.retryable)) {
        for (const { conv, seq } of acks) this.knows(conv, seq);
      }
      this.#forgetAcked();
      this.#ackSoon(at);
      this.#checkFlushed();
    };
    this.#ask("sync", "ack", { acks }, done, now);
  }

  // ---- read

  /**
   * The user has read up to `seq`; the server is told within a second, together with what follows.
   * @param {string} conv
   * @param {number} seq
   * @param {number} now
   */
  read(conv, seq, now) {
    if (seq > (this.toRead.get(conv) ?? 0)) {
      this.toRead.set(conv, seq);
      this.#save([change("reads", conv, { seq })]);
      this.wake(now);
    }
  }

  /**
   * Tell what is to be told, in a second.
   * @param {number} now
   */
  wake(now) {
    if (this.toRead.size > 0 && this.#readTimer === null) {
      this.#readTimer = this.#timers.at(now + this.#settings.read, (at) => this.#tellReads(at));
    }
  }

  /** @param {number} now */
  #tellReads(now) {
    this.#readTimer = null;
    for (const [conv, seq] of [...this.toRead]) {
      if (!this.#reading.has(conv)) {
        this.#reading.add(conv);
        this.#tellRead(conv, seq, now);
      }
    }
  }

  /**
   * @param {string} conv
   * @param {number} seq
   * @param {number} now
   */
  #tellRead(conv, seq, now) {
    /** @type {Done} */
    const done = (data, error, at) => {
      this.#reading.delete(conv);
      if (error !== null) this.#out(noted(`the server did not take what was read: ${error}`));
      if (error === null || (error instanceof ReplyError && !error.retryable)) {
        if (this.toRead.get(conv) === seq) {
          this.toRead.delete(conv);
          this.#save([change("reads", conv, null)]);
        }
        if (error === null) this.#toldRead(data);
      }
      this.wake(at);
      this.#checkFlushed();
    };
    this.#ask("sync", "read", { conv, seq }, done, now);
  }
}
