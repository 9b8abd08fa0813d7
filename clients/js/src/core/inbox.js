/** The conversation list, kept in step with the server's: all of it once, then what has changed (rule 4). */
import { ReplyError } from "./errors.js";
import { integer, isInteger, isObject, same } from "./json.js";
import { change, noted, pushed, rowChanged } from "./outputs.js";
import { merged, read, readRow, withEntry } from "./rows.js";

/** @typedef {import("./deletions.js").Deletions} Deletions */
/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./frames.js").Entry} Entry */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./logs.js").Logs} Logs */
/** @typedef {import("./marks.js").Marks} Marks */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./outputs.js").Row} Row */
/** @typedef {import("./requests.js").Ask} Ask */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./timers.js").Timer} Timer */
/** @typedef {import("./timers.js").Timers} Timers */

/** Rows by conversation, and the server's `inbox` value that they are as of. */
export class Inbox {
  /** @type {Map<string, Row>} */
  rows = new Map();
  /** @type {unknown} */
  value = null;
  #user;
  #settings;
  #timers;
  #out;
  #ask;
  #logs;
  #marks;
  #deletions;
  #save;
  #reading = false;
  #again = false;
  /** @type {unknown} */
  #firstValue = null;
  /** @type {Timer | null} */
  #timer = null;
  /** @type {((error: ImClientError | null, now: number) => void)[]} */
  #wanted = [];

  /**
   * @param {string} user
   * @param {Readonly<Settings>} settings
   * @param {Timers} timers
   * @param {(output: Output) => void} out
   * @param {Ask} ask
   * @param {Logs} logs
   * @param {Marks} marks
   * @param {Deletions} deletions
   * @param {(changes: Change[]) => void} save
   */
  constructor(user, settings, timers, out, ask, logs, marks, deletions, save) {
    this.#user = user;
    this.#settings = settings;
    this.#timers = timers;
    this.#out = out;
    this.#ask = ask;
    this.#logs = logs;
    this.#marks = marks;
    this.#deletions = deletions;
    this.#save = save;
  }

  /**
   * The server has said what the value is now; anything but a value stands for another one.
   * @param {unknown} value
   * @param {number} now
   */
  heard(value, now) {
    if (value === undefined || value === null || !same(value, this.value)) this.soon(now);
  }

  /**
   * Read what has changed in a moment.
   * @param {number} now
   * @param {number} [wait]
   */
  soon(now, wait = this.#settings.inbox) {
    if (this.#timer === null) this.#timer = this.#timers.at(now + wait, (at) => this.refresh(at));
  }

  /**
   * Read what has changed. What changes while that is read is read after it.
   * @param {number} now
   */
  refresh(now) {
    if (this.#timer !== null) {
      this.#timer.cancel();
      this.#timer = null;
    }
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    this.#again = false;
    this.#firstValue = null;
    this.#page(this.value === null ? {} : { since: this.value }, now);
  }

  /**
   * There is a connection. What is being read goes on over it; pages that were read before may be old by now.
   * @param {number} now
   */
  opened(now) {
    if (this.#reading) {
      this.#again = this.#again || this.#firstValue !== null;
    } else {
      this.refresh(now);
    }
  }

  /**
   * Read what has changed, and say so once that is done, or what went wrong.
   * @param {(error: ImClientError | null, now: number) => void} then
   * @param {number} now
   */
  whenRead(then, now) {
    this.#wanted.push(then);
    this.refresh(now);
  }

  /**
   * A row has come, in whatever way. Anything else is left alone.
   * @param {unknown} wire
   * @param {number} now
   */
  take(wire, now) {
    const row = readRow(wire);
    if (row === null) return;
    const { conv, last_seq: lastSeq } = row;
    const known = this.rows.get(conv);
    const nowKnown = merged(known, row);
    this.rows.set(conv, nowKnown);
    this.#marks.knows(conv, integer(row.ack_seq));
    this.#deletions.heard(conv, integer(row.deleted), now);
    this.#save([change("rows", conv, nowKnown)]);
    if (known !== undefined && known.left_seq !== nowKnown.left_seq) this.#logs.away(conv, lastSeq);
    if (this.#logs.transcripts.has(conv) || this.#settings.backlog === null) this.#logs.expect(conv, lastSeq, now);
    if (!same(nowKnown, known)) this.#out(rowChanged(nowKnown));
  }

  /**
   * A new entry has come. Of a conversation that is not in the list yet, the server has the row.
   * @param {Entry} entry
   * @param {number} now
   */
  arrived(entry, now) {
    const row = this.rows.get(entry.conv);
    if (row === undefined) {
      this.soon(now, this.#settings.inboxUnknown);
    } else {
      this.#becomes(entry.conv, withEntry(row, entry, this.#user));
    }
  }

  /**
   * The user reads up to `seq`, here and now.
   * @param {string} conv
   * @param {number} seq
   * @param {number | null} n
   */
  reads(conv, seq, n) {
    const row = this.rows.get(conv);
    if (row !== undefined) this.#becomes(conv, read(row, seq, seq >= row.last_seq ? (row.last_n ?? null) : n));
  }

  /**
   * @param {string} conv
   * @param {Row} row
   */
  #becomes(conv, row) {
    if (!same(row, this.rows.get(conv))) {
      this.rows.set(conv, row);
      this.#save([change("rows", conv, row)]);
      this.#out(rowChanged(row));
    }
  }

  /**
   * This user has read something: a reply to `sync.read`, or the push to their other devices.
   * @param {JsonObject} data
   * @param {number} now
   */
  wasRead(data, now) {
    const seq = Object.hasOwn(data, "read_seq") ? data.read_seq : data.seq;
    const row = typeof data.conv === "string" ? this.rows.get(data.conv) : undefined;
    if (row === undefined || !isInteger(seq)) return;
    const n = isInteger(data.n) ? data.n : null;
    const changed = read(row, seq, seq >= row.last_seq ? (row.last_n ?? null) : n);
    if (isInteger(data.unread) && seq >= changed.read_seq && data.unread !== changed.unread) this.soon(now);
    this.#becomes(row.conv, changed);
  }

  /** Go on after an end. */
  resume() {
    this.#reading = false;
    this.#timer = null;
  }

  /**
   * @param {JsonObject} query
   * @param {number} now
   */
  #page(query, now) {
    this.#ask("sync", "inbox", query, (data, error, at) => this.#read(query, data, error, at), now);
  }

  /**
   * @param {JsonObject} query
   * @param {JsonObject} data
   * @param {ImClientError | null} error
   * @param {number} now
   */
  #read(query, data, error, now) {
    if (error !== null) {
      if (error instanceof ReplyError && !error.retryable && Object.hasOwn(query, "since")) {
        // The server does not know this value of `inbox` any more: read all of it.
        this.value = null;
        this.#reading = false;
        this.refresh(now);
      } else {
        this.#done(error, now);
      }
      return;
    }
    for (const row of Array.isArray(data.conversations) ? data.conversations : []) this.take(row, now);
    if (isObject(data.privacy)) this.#out(pushed("privacy", data.privacy));
    // The first page's value: what changes while the others are read is then read again, and not missed.
    if (this.#firstValue === null) this.#firstValue = data.inbox ?? null;
    if ((data.cursor ?? null) !== null) {
      this.#page({ ...query, cursor: data.cursor }, now);
      return;
    }
    if (this.#firstValue !== null) {
      this.value = this.#firstValue;
      this.#save([change("meta", "inbox", { value: this.value })]);
    }
    this.#done(null, now);
  }

  /**
   * @param {ImClientError | null} error
   * @param {number} now
   */
  #done(error, now) {
    this.#reading = false;
    const wanted = this.#wanted;
    this.#wanted = [];
    for (const then of wanted) then(error, now);
    if (error !== null) {
      this.#out(noted(`cannot read the inbox now: ${error}`));
      this.soon(now, this.#settings.inboxRetry);
    } else if (this.#again) {
      this.refresh(now);
    }
  }
}
