/** The logs of all conversations: what has come of them, what is missing, and fetching that (rule 2). */
import { ImClientError, MalformedEntryError, ReplyError } from "./errors.js";
import { entriesOf, readPage } from "./frames.js";
import { integer } from "./json.js";
import { Source, arrived, change, noted, settled } from "./outputs.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./frames.js").Entry} Entry */
/** @typedef {import("./frames.js").Page} Page */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./outputs.js").Change} Change */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./outputs.js").SourceName} SourceName */
/** @typedef {import("./requests.js").Ask} Ask */
/** @typedef {import("./requests.js").Done} Done */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./timers.js").Timers} Timers */
/** @typedef {import("./transcript.js").Gap} Gap */

export const PAGE = 100;

/**
 * Fetching what is missing of one conversation, from when that was seen until nothing is or nothing comes.
 *
 * `seen`: holes below it are as old as this wait; the younger ones wait their turn. `before`: the watermark and how many
 * entries there were when the round began.
 * @typedef {object} Fill
 * @property {Transcript} transcript
 * @property {number} wait
 * @property {number} seen
 * @property {number} era
 * @property {[number, number]} before
 * @property {boolean} more
 * @property {Gap[]} gaps
 * @property {number} after
 */

/**
 * Transcripts by conversation. `save` keeps what is to outlive the process; `advanced` is told of every change of a
 * watermark, perhaps once too often; `rowEnd` knows how far the conversation list has a conversation.
 */
export class Logs {
  /** @type {Map<string, Transcript>} */
  transcripts = new Map();
  #user;
  #settings;
  #timers;
  #out;
  #ask;
  #save;
  #advanced;
  #rowEnd;
  /** @type {Map<string, Fill>} */
  #fills = new Map();
  /** @type {Set<string>} */
  #older = new Set();

  /**
   * @param {string} user
   * @param {Readonly<Settings>} settings
   * @param {Timers} timers
   * @param {(output: Output) => void} out
   * @param {Ask} ask
   * @param {(changes: Change[]) => void} save
   * @param {(conv: string, now: number) => void} advanced
   * @param {(conv: string) => number | null} rowEnd
   */
  constructor(user, settings, timers, out, ask, save, advanced, rowEnd) {
    this.#user = user;
    this.#settings = settings;
    this.#timers = timers;
    this.#out = out;
    this.#ask = ask;
    this.#save = save;
    this.#advanced = advanced;
    this.#rowEnd = rowEnd;
  }

  /**
   * The transcript of a conversation. A new one starts `backlog` entries before the seq that is seen first, and before
   * what its row does not have yet, unless that is much.
   * @param {string} conv
   * @param {number | null} [firstSeen]
   * @returns {Transcript}
   */
  transcript(conv, firstSeen = null) {
    let known = this.transcripts.get(conv);
    if (known === undefined) {
      const { backlog, passedOver } = this.#settings;
      const rowEnd = this.#rowEnd(conv);
      let start = firstSeen ?? 1;
      if (rowEnd !== null && (firstSeen === null || firstSeen - rowEnd <= passedOver)) {
        start = firstSeen === null ? rowEnd + 1 : Math.min(firstSeen, rowEnd + 1);
      }
      known = new Transcript(conv, backlog === null ? 0 : Math.max(0, start - 1 - backlog));
      this.transcripts.set(conv, known);
    }
    return known;
  }

  /**
   * The transcript of a conversation that has one.
   * @param {string} conv
   * @returns {Transcript}
   */
  known(conv) {
    const known = this.transcripts.get(conv);
    if (known === undefined) throw new RangeError(`nothing is known of ${conv}`);
    return known;
  }

  /**
   * Learn that a conversation has entries up to `lastSeq`; what is missing is fetched, after the usual wait.
   * @param {string} conv
   * @param {number} lastSeq
   * @param {number} now
   */
  expect(conv, lastSeq, now) {
    const transcript = this.transcript(conv, lastSeq + 1);
    const { backlog, passedOver } = this.#settings;
    if (backlog !== null && lastSeq - transcript.watermark > Math.max(passedOver, backlog)) {
      this.#restart(transcript, lastSeq - backlog);
    }
    transcript.expect(lastSeq);
    this.#keep(transcript);
    this.mend(conv, now);
  }

  /**
   * Learn from a row that this user has left, or is back: what was closed of the conversation may be open, and what was
   * open recalled. It is history, to be loaded anew. Where all is needed, the entry that says so does that.
   * @param {string} conv
   * @param {number} lastSeq
   */
  away(conv, lastSeq) {
    const transcript = this.transcripts.get(conv);
    if (transcript !== undefined && this.#settings.backlog !== null && lastSeq >= transcript.watermark) {
      this.#restart(transcript, lastSeq);
    }
  }

  /**
   * An entry has come.
   * @param {Entry} entry
   * @param {SourceName} source
   * @param {number} now
   * @param {number} [asOf]
   */
  take(entry, source, now, asOf = 0) {
    const transcript = this.transcript(entry.conv, entry.seq);
    if (entry.seq <= transcript.floor && this.#settings.backlog !== null) return; // it is history, and comes with its page
    const isNew = transcript.insert(entry, asOf);
    const kept = this.#held(transcript, entry.seq);
    const added = entry.body.added;
    if (isNew && entry.kind === "members" && Array.isArray(added) && added.includes(this.#user)) {
      // Whoever comes back may see all of a group that shows its history, and was not told of recalls.
      if (this.#settings.backlog === null) {
        transcript.reopen(entry.seq);
        this.#forgetKept(transcript);
      } else if (transcript.floor < entry.seq - 1) {
        this.#restart(transcript, entry.seq - 1);
      }
    }
    if (isNew || asOf !== 0) this.#save([...kept, this.#log(transcript)]);
    this.#out(arrived(entry, source, isNew));
    this.#advanced(entry.conv, now);
  }

  /**
   * Fetch a hole 300 ms after it was seen, unless pushes have filled it by then.
   *
   * What the server leaves out is closed to the user, and no hole. One that it refuses, or that lies above all that they
   * may see, is not asked for again before something else of the conversation comes. A server that is busy or out of
   * reach is asked until it answers: nothing else might ever tell of the hole again.
   * @param {string} conv
   * @param {number} now
   */
  mend(conv, now) {
    const transcript = this.known(conv);
    if (!this.#fills.has(conv) && !transcript.complete) {
      const wait = this.#settings.hole;
      this.#fills.set(conv, { transcript, wait, seen: 0, era: 0, before: [0, 0], more: true, gaps: [], after: 0 });
      this.#wait(conv, now);
    }
  }

  /**
   * Go on after an end.
   * @param {number} now
   */
  resume(now) {
    this.#fills.clear();
    this.#older.clear();
    for (const conv of this.transcripts.keys()) this.mend(conv, now);
  }

  /**
   * Whether a page of history is on its way.
   * @param {string} conv
   * @returns {boolean}
   */
  loading(conv) {
    return this.#older.has(conv);
  }

  /**
   * Fetch the page of history below what is here, downwards. false when there is nothing, or it is on its way.
   * @param {string} conv
   * @param {number} limit
   * @param {number} now
   * @returns {boolean}
   */
  older(conv, limit, now) {
    const transcript = this.transcript(conv);
    if (transcript.floor === 0 || this.#older.has(conv)) return false;
    this.#older.add(conv);
    const { era, floor } = transcript;
    /** @type {Done} */
    const done = (data, error, at) => {
      this.#older.delete(conv);
      try {
        if (error !== null) throw error;
        const entries = entriesOf(data, conv);
        if (transcript.era === era && transcript.floor === floor) this.#takeOlder(transcript, entries, data, at);
      } catch (failed) {
        if (!(failed instanceof ImClientError)) throw failed;
        this.#out(noted(`cannot fetch older entries of ${conv}: ${failed}`));
      }
      this.#out(settled(conv));
    };
    this.#ask("sync", "entries", { conv, before: floor + 1, limit: Math.min(limit, PAGE) }, done, now);
    return true;
  }

  /**
   * @param {Transcript} transcript
   * @param {Entry[]} entries
   * @param {JsonObject} data
   * @param {number} now
   */
  #takeOlder(transcript, entries, data, now) {
    const newest = integer(data.last_seq);
    for (const entry of [...entries].sort((one, other) => one.seq - other.seq)) {
      this.#out(arrived(entry, Source.OLDER, transcript.insert(entry, newest)));
    }
    const lowest = entries.length === 0 ? 1 : entries.reduce((least, { seq }) => Math.min(least, seq), entries[0].seq);
    transcript.lower(data.more === true ? lowest - 1 : 0);
    const kept = entries.flatMap((entry) => this.#held(transcript, entry.seq));
    this.#save([...kept, this.#log(transcript)]);
    this.#advanced(transcript.conv, now);
  }

  // ---- holes

  /** @param {string} conv */
  #fill(conv) {
    return /** @type {Fill} */ (this.#fills.get(conv));
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #wait(conv, now) {
    const fill = this.#fill(conv);
    fill.seen = fill.transcript.horizon;
    this.#timers.at(now + fill.wait, (at) => this.#begin(conv, at));
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #begin(conv, now) {
    const fill = this.#fill(conv);
    const transcript = fill.transcript;
    if (transcript.complete) {
      this.#fills.delete(conv);
      return;
    }
    fill.before = [transcript.watermark, transcript.size];
    fill.more = true;
    fill.era = transcript.era;
    fill.gaps = transcript.missing(fill.seen);
    this.#nextGap(conv, now);
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #nextGap(conv, now) {
    const fill = this.#fill(conv);
    if (fill.gaps.length > 0) {
      fill.after = fill.gaps[0].first - 1;
      this.#fetch(conv, now);
    } else {
      this.#roundDone(conv, now);
    }
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #fetch(conv, now) {
    const fill = this.#fill(conv);
    const query = { conv, after: fill.after, limit: Math.min(PAGE, fill.gaps[0].last - fill.after) };
    this.#ask("sync", "entries", query, (data, error, at) => this.#fetched(conv, data, error, at), now);
  }

  /**
   * @param {string} conv
   * @param {JsonObject} data
   * @param {ImClientError | null} error
   * @param {number} now
   */
  #fetched(conv, data, error, now) {
    const fill = this.#fill(conv);
    /** @type {Page | null} */
    let page = null;
    let failed = error;
    if (failed === null) {
      try {
        page = readPage(data, fill.after, conv);
      } catch (malformed) {
        if (!(malformed instanceof MalformedEntryError)) throw malformed;
        failed = malformed;
      }
    }
    if (page === null) {
      if (failed instanceof ReplyError && !failed.retryable) {
        // Removed from the group, for one: the rest of the inbox lives on.
        this.#out(noted(`cannot fetch what is missing of ${conv}: ${failed}`));
        this.#fills.delete(conv);
        return;
      }
      this.#out(noted(`cannot fetch what is missing of ${conv} now: ${failed}`));
      fill.more = true;
      this.#roundDone(conv, now);
      return;
    }
    this.#takePage(fill, page, now);
    fill.more = page.more;
    if (page.more && page.last !== fill.after && page.last < fill.gaps[0].last) {
      fill.after = page.last;
      this.#fetch(conv, now);
    } else {
      fill.gaps.shift();
      this.#nextGap(conv, now);
    }
  }

  /**
   * Take in a page that was asked for in an era: what has become open since then, it cannot settle.
   * @param {Fill} fill
   * @param {Page} page
   * @param {number} now
   */
  #takePage(fill, page, now) {
    const transcript = fill.transcript;
    const settles = transcript.era === fill.era;
    for (const entry of page.entries) this.take(entry, Source.FETCH, now, page.newest);
    if (settles) {
      transcript.settle(page.first, page.last);
      this.#keep(transcript);
    }
    this.#out(settled(transcript.conv));
    this.#advanced(transcript.conv, now);
  }

  /**
   * @param {string} conv
   * @param {number} now
   */
  #roundDone(conv, now) {
    const fill = this.#fill(conv);
    const { transcript, before, seen } = fill;
    if (transcript.complete || (!fill.more && transcript.horizon === seen && transcript.era === fill.era)) {
      this.#fills.delete(conv);
      return;
    }
    const progress =
      transcript.watermark !== before[0] || transcript.size !== before[1] || transcript.watermark >= seen;
    fill.wait = progress ? this.#settings.hole : Math.min(2 * fill.wait, this.#settings.holeLongest);
    this.#wait(conv, now);
  }

  // ---- what is kept

  /**
   * @param {Transcript} transcript
   * @param {number} floor
   */
  #restart(transcript, floor) {
    transcript.restart(floor);
    this.#forgetKept(transcript);
    this.#out(settled(transcript.conv, floor));
  }

  /**
   * What is here of it still is kept anew.
   * @param {Transcript} transcript
   */
  #forgetKept(transcript) {
    const held = transcript.current().map((entry) => change("entries", entry.conv, entry.wire, entry.seq));
    this.#save([change("entries", transcript.conv, null), ...held, this.#log(transcript)]);
  }

  /**
   * What is kept of an entry that has come: what is held of it, which may be newer. One that is outdated comes again, or
   * is closed by now.
   * @param {Transcript} transcript
   * @param {number} seq
   * @returns {Change[]}
   */
  #held(transcript, seq) {
    const entry = transcript.isCurrent(seq) ? transcript.get(seq) : undefined;
    return entry === undefined ? [] : [change("entries", entry.conv, entry.wire, seq)];
  }

  /** @param {Transcript} transcript */
  #keep(transcript) {
    this.#save([this.#log(transcript)]);
  }

  /**
   * @param {Transcript} transcript
   * @returns {Change}
   */
  #log({ conv, floor, watermark, horizon }) {
    return change("logs", conv, { floor, watermark, horizon });
  }
}
