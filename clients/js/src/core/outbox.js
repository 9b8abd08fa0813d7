/**
 * Messages, and changes to messages, on their way: one at a time in a conversation, for only a reply fixes their order.
 *
 * That is rule 1. A message is kept until the server has it, also over a restart; under its `cmid` it counts once.
 */
import { FrameTooLargeError, ReplyError } from "./errors.js";
import { readEntry } from "./frames.js";
import { peerIn } from "./ids.js";
import { isInteger } from "./json.js";
import { Source, change, outgoingChanged } from "./outputs.js";

/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./frames.js").Entry} Entry */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./logs.js").Logs} Logs */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Item} Item */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./requests.js").Ask} Ask */
/** @typedef {import("./requests.js").Done} Done */

/**
 * One of the items.
 * @typedef {{type: "message", cmid: string}} MessageJob
 */
/**
 * A change to a message; `done` is told of its reply.
 * @typedef {{type: "change", op: string, data: JsonObject, done: Done}} ChangeJob
 */

const MESSAGE = ["kind", "body", "mentions", "reply_to"];

/** Items by cmid: `{cmid, conv, kind, body, mentions?, reply_to?, ts, state, code?, retry_after_ms?}`. */
export class Outbox {
  /** @type {Map<string, Item>} */
  items = new Map();
  #user;
  #out;
  #ask;
  #logs;
  #save;
  /** @type {Map<string, (MessageJob | ChangeJob)[]>} */
  #jobs = new Map();
  /** @type {Set<string>} */
  #busy = new Set();
  #held = false;

  /**
   * @param {string} user
   * @param {(output: Output) => void} out
   * @param {Ask} ask
   * @param {Logs} logs
   * @param {(changes: Change[]) => void} save
   */
  constructor(user, out, ask, logs, save) {
    this.#user = user;
    this.#out = out;
    this.#ask = ask;
    this.#logs = logs;
    this.#save = save;
  }

  /**
   * Take in a message. Does nothing for a `cmid` that is on its way already.
   * @param {Item} item
   * @param {number} now
   */
  add(item, now) {
    const { cmid, conv } = item;
    if (this.items.has(cmid)) return;
    this.items.set(cmid, { ...item, state: "queued" });
    this.#tell(cmid);
    this.#queue(conv, { type: "message", cmid }, now);
  }

  /**
   * Change a message: after what was asked for before in its conversation.
   * @param {string} conv
   * @param {string} op
   * @param {JsonObject} data
   * @param {string} cmid
   * @param {Done} done
   * @param {number} now
   */
  change(conv, op, data, cmid, done, now) {
    this.#queue(conv, { type: "change", op, data: { conv, ...data, cmid }, done }, now);
  }

  /**
   * Send a message again that has failed, under the same `cmid`.
   * @param {string} cmid
   * @param {number} now
   */
  retry(cmid, now) {
    const item = this.items.get(cmid);
    if (item !== undefined && item.state === "failed") {
      const { code: _, retry_after_ms: __, ...fresh } = item;
      this.items.set(cmid, { .../** @type {Item} */ (fresh), state: "queued" });
      this.#tell(cmid);
      this.#queue(item.conv, { type: "message", cmid }, now);
    }
  }

  /**
   * Forget a message that has failed, or that has not been sent yet.
   * @param {string} cmid
   */
  discard(cmid) {
    const item = this.items.get(cmid);
    if (item !== undefined && item.state !== "sending") this.#forget(cmid, "discarded");
  }

  /**
   * Go on with what was kept: what was on its way may have arrived, and is sent again.
   * @param {Iterable<Item>} items
   * @param {number} now
   */
  restore(items, now) {
    for (const item of items) {
      const failed = item.state === "failed";
      this.items.set(item.cmid, failed ? item : { ...item, state: "queued" });
      if (!failed) this.#queue(item.conv, { type: "message", cmid: item.cmid }, now);
    }
  }

  /**
   * Go on after an end.
   * @param {number} now
   */
  resume(now) {
    this.#held = false;
    for (const conv of [...this.#jobs.keys()]) this.#next(conv, now);
  }

  /**
   * An entry has come. If it is one of these messages, then that is sent, whatever becomes of its reply.
   * @param {Entry} entry
   */
  arrived(entry) {
    if (entry.sender === this.#user && entry.cmid !== null && this.items.has(entry.cmid)) {
      this.#forget(entry.cmid, "sent", { seq: entry.seq });
    }
  }

  /**
   * There will be no connection any more: nothing can be changed, and messages wait for another start.
   * @param {ImClientError} error
   * @param {number} now
   */
  end(error, now) {
    this.#held = true;
    for (const [conv, jobs] of this.#jobs) {
      this.#jobs.set(conv, jobs.filter((job) => job.type === "message"));
      for (const job of jobs) {
        if (job.type === "change") job.done({}, error, now);
      }
    }
  }

  // ---- how

  /**
   * @param {string} conv
   * @returns {(MessageJob | ChangeJob)[]}
   */
  #jobsOf(conv) {
    let jobs = this.#jobs.get(conv);
    if (jobs === undefined) this.#jobs.set(conv, (jobs = []));
    return jobs;
  }

  /**
   * @param {string} conv
   * @param {MessageJob | ChangeJob} job
   * @param {number} now
   */
  #queue(conv, job, now) {
    this.#jobsOf(conv).push(job);
    this.#next(conv, now);
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #next(conv, now) {
    const jobs = this.#jobs.get(conv) ?? [];
    while (jobs.length > 0 && !this.#busy.has(conv) && !this.#held) {
      const job = /** @type {MessageJob | ChangeJob} */ (jobs.shift());
      if (job.type === "change") {
        this.#busy.add(conv);
        this.#ask("message", job.op, job.data, this.#changed(conv, job), now);
      } else if (this.items.get(job.cmid)?.state === "queued") { // not discarded meanwhile
        this.#busy.add(conv);
        this.#send(conv, job, now);
      }
    }
    if (jobs.length === 0) this.#jobs.delete(conv);
  }

  /**
   * @param {string} conv
   * @param {MessageJob} job
   * @param {number} now
   */
  #send(conv, job, now) {
    const item = { .../** @type {Item} */ (this.items.get(job.cmid)), state: "sending" };
    this.items.set(job.cmid, item);
    this.#tell(job.cmid);
    const peer = peerIn(conv, this.#user);
    const target = peer === null ? { conv } : { to: peer };
    const data = { ...target, cmid: job.cmid, ...messageOf(item) };
    this.#ask("message", "send", data, this.#sent(conv, job), now);
  }

  /**
   * @param {string} conv
   * @param {MessageJob} job
   * @returns {Done}
   */
  #sent(conv, job) {
    return (data, refusal, now) => {
      this.#busy.delete(conv);
      const item = this.items.get(job.cmid); // missing: its entry has come before the reply
      const error = refusal ?? unreadable(data);
      if (error === null) {
        if (item !== undefined) {
          /** @type {JsonObject} */
          const told = { seq: data.seq, duplicate: data.duplicate === true };
          for (const name of ["n", "ts"]) {
            if (isInteger(data[name])) told[name] = data[name];
          }
          this.#forget(job.cmid, "sent", told);
        }
        this.#takeOwn(conv, job.cmid, item, data, now);
      } else if (item !== undefined && error instanceof ReplyError) {
        this.#fail(item, why(error), error);
      } else if (item !== undefined && error instanceof FrameTooLargeError) {
        this.#fail(item, { code: "too_large" }, error);
      } else if (item !== undefined) { // ended
        this.items.set(job.cmid, { ...item, state: "queued" });
        this.#tell(job.cmid);
        this.#jobsOf(conv).unshift(job);
      }
      this.#next(conv, now);
    };
  }

  /**
   * @param {Item} item
   * @param {JsonObject} told
   * @param {ImClientError} error
   */
  #fail(item, told, error) {
    this.items.set(item.cmid, { ...item, state: "failed", ...told });
    this.#tell(item.cmid, error);
  }

  /**
   * Its entry, unless that has come before the reply. What has become of it since is in the log above it.
   * @param {string} conv
   * @param {string} cmid
   * @param {Item | undefined} item
   * @param {JsonObject} data
   * @param {number} now
   */
  #takeOwn(conv, cmid, item, data, now) {
    if (item === undefined || !isInteger(data.n) || !isInteger(data.ts)) {
      this.#logs.expect(conv, data.seq, now);
      return;
    }
    const { seq, n, ts } = data;
    const entry = readEntry({ conv, seq, n, ts, from: this.#user, cmid, ...messageOf(item) });
    this.#logs.take(entry, Source.REPLY, now);
    this.#logs.mend(conv, now);
  }

  /**
   * @param {string} conv
   * @param {ChangeJob} job
   * @returns {Done}
   */
  #changed(conv, job) {
    return (data, refusal, now) => {
      this.#busy.delete(conv);
      const error = refusal ?? unreadable(data);
      // Nobody pushes the entry of the change to who has made it: it is fetched.
      if (error === null) this.#logs.expect(conv, data.seq, now);
      job.done(error === null ? data : {}, error, now);
      this.#next(conv, now);
    };
  }

  /**
   * @param {string} cmid
   * @param {string} state
   * @param {JsonObject} [more]
   */
  #forget(cmid, state, more = {}) {
    const item = /** @type {Item} */ (this.items.get(cmid));
    this.items.delete(cmid);
    this.#save([change("outbox", cmid, null)]);
    this.#out(outgoingChanged({ ...item, state, ...more }));
  }

  /**
   * @param {string} cmid
   * @param {ImClientError | null} [error]
   */
  #tell(cmid, error = null) {
    const item = /** @type {Item} */ (this.items.get(cmid));
    this.#save([change("outbox", cmid, item)]);
    this.#out(outgoingChanged(item, error));
  }
}

/**
 * What an item says, as the wire has it.
 * @param {Item} item
 * @returns {JsonObject}
 */
function messageOf(item) {
  return Object.fromEntries(MESSAGE.filter((name) => Object.hasOwn(item, name)).map((name) => [name, item[name]]));
}

/**
 * What is wrong with a reply that says success, but not where in the log: the same `cmid` may be sent again.
 * @param {JsonObject} data
 * @returns {ReplyError | null}
 */
function unreadable(data) {
  if (isInteger(data.seq) && data.seq >= 1) return null;
  return new ReplyError("internal", "a reply without a seq", { retryable: true });
}

/**
 * @param {ReplyError} error
 * @returns {JsonObject}
 */
function why(error) {
  return error.retryAfterMs === null ? { code: error.code } : { code: error.code, retry_after_ms: error.retryAfterMs };
}
