/** The entries of one conversation as one client has them, and which ones it still lacks. Pure: no I/O, no clock. */

/** @typedef {import("./frames.js").Entry} Entry */

/**
 * A part of a log, every seq from `first` to `last`, both included: what is missing, to be fetched, or settled.
 * @typedef {{first: number, last: number}} Gap
 */

/**
 * Keeps each entry once, by seq, in whatever order entries come, and knows what is missing.
 *
 * - `watermark`: nothing is missing from `floor + 1` up to it.
 * - `horizon`: the highest seq known to exist, by an entry or by being told (`expect`, `settle`).
 * - `floor`: what lies at or below it is not needed. Such entries can be inserted, but are never missing.
 * - settled: the server has said what there is for this user. What is not held there is closed to them, not missing.
 * - outdated: held, but missing all the same, because it may have been recalled while nobody could tell this user.
 * - `era`: how often it was reopened or restarted. What the server said in an earlier one settles nothing.
 * - elsewhere: held by who keeps it (`restored`), and not here. It is no news, and it is not missing.
 */
export class Transcript {
  era = 0;
  #watermark;
  #horizon;
  /** @type {Map<number, Entry>} */
  #entries = new Map();
  /** @type {Map<number, number>} of each entry: how far the log had come then, as far as that is known */
  #asOf = new Map();
  /** The newest entry that says that this user has come. */
  #came = 0;
  /** @type {Set<number>} */
  #outdated = new Set();
  /** @type {Gap[]} above the watermark; ascending, neither adjoining nor overlapping */
  #settled = [];
  /** @type {Gap[]} */
  #elsewhere = [];

  /**
   * @param {string} conv
   * @param {number} [floor]
   */
  constructor(conv, floor = 0) {
    if (floor < 0) throw new RangeError(`a floor is a seq or 0, not ${floor}`);
    this.conv = conv;
    this.floor = floor;
    this.#watermark = floor;
    this.#horizon = floor;
  }

  /**
   * What was kept: all that there is between floor and watermark, and the seqs `above` it.
   * @param {string} conv
   * @param {{floor: number, watermark: number, horizon: number, above?: Iterable<number>}} kept
   * @returns {Transcript}
   */
  static restored(conv, { floor, watermark, horizon, above = [] }) {
    const made = new Transcript(conv, floor);
    const alone = Array.from(above, (seq) => ({ first: seq, last: seq }));
    made.#elsewhere = joined([{ first: floor + 1, last: watermark }, ...alone]);
    made.#settled = [...made.#elsewhere];
    made.#horizon = Math.max(floor, horizon, made.#elsewhere.at(-1)?.last ?? 0);
    made.#advance();
    return made;
  }

  /** How many entries are held. */
  get size() {
    return this.#entries.size;
  }

  /**
   * Whether the entry with this seq is held, here or elsewhere (where what is closed to this user counts too).
   * @param {number} seq
   */
  has(seq) {
    if (this.#entries.has(seq)) return true;
    const gaps = this.#elsewhere;
    let low = 0; // all gaps before it begin at or below seq
    let high = gaps.length; // it and all gaps after it begin above seq
    while (low < high) {
      const middle = (low + high) >> 1;
      if (gaps[middle].first <= seq) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low > 0 && seq <= gaps[low - 1].last;
  }

  /**
   * Whether the entry with this seq is held here.
   * @param {number} seq
   */
  holds(seq) {
    return this.#entries.has(seq);
  }

  /**
   * The entry with this seq, when it is held here.
   * @param {number} seq
   * @returns {Entry | undefined}
   */
  get(seq) {
    return this.#entries.get(seq);
  }

  /** The highest seq up to which nothing is missing. */
  get watermark() {
    return this.#watermark;
  }

  /** The highest seq known to exist. */
  get horizon() {
    return this.#horizon;
  }

  /** Whether every entry that is known to exist is held, or closed to this user. Constant time. */
  get complete() {
    return this.#watermark === this.#horizon;
  }

  /**
   * Keep `entry`; true when it is new, false when its seq was held already.
   *
   * `asOf` is how far the log had come when this was what the entry said: of two, the later one stays, and the first
   * where that is not known.
   *
   * Throws RangeError for an entry of another conversation, or a seq below 1.
   * @param {Entry} entry
   * @param {number} [asOf]
   * @returns {boolean}
   */
  insert(entry, asOf = 0) {
    if (entry.conv !== this.conv) throw new RangeError(`an entry of ${entry.conv} does not belong to ${this.conv}`);
    if (entry.seq < 1) throw new RangeError(`a seq starts at 1, this is ${entry.seq}`);
    const isNew = !this.has(entry.seq);
    if (!isNew && asOf <= (this.#asOf.get(entry.seq) ?? 0)) return false;
    this.#entries.set(entry.seq, entry);
    this.#asOf.set(entry.seq, asOf);
    if (asOf >= this.#came) {
      this.#outdated.delete(entry.seq);
    } else if (isNew && entry.seq < this.#came) {
      this.#outdated.add(entry.seq); // it is as it was before this user came back
    }
    this.#horizon = Math.max(this.#horizon, entry.seq);
    this.#advance();
    return isNew;
  }

  /**
   * Learn that entries exist up to `lastSeq`. What was known to exist stays known.
   * @param {number} lastSeq
   */
  expect(lastSeq) {
    this.#horizon = Math.max(this.#horizon, lastSeq);
  }

  /**
   * Learn that from `first` to `last` there is nothing for this user but what is held: the rest is closed to them, and
   * not missing. Nothing is learnt from a `last` below `first`.
   *
   * What the server gave is inserted before this: the watermark passes over what is settled. What is outdated still is
   * closed by now, and goes.
   * @param {number} first
   * @param {number} last
   */
  settle(first, last) {
    if (last < first) return;
    for (const seq of [...this.#outdated]) {
      if (first <= seq && seq <= last) {
        this.#outdated.delete(seq);
        this.#entries.delete(seq);
      }
    }
    this.#settled = joined([...this.#settled, { first, last }]);
    this.#horizon = Math.max(this.#horizon, last);
    this.#advance();
  }

  /**
   * Learn that with the entry `at` this user came back: what was closed may be open now, and what they saw before may
   * have been recalled meanwhile. Every seq below it that is not held is missing again, and so is every one that is held
   * as it was before.
   * @param {number} [at]
   */
  reopen(at = 0) {
    this.era += 1;
    this.#settled = [];
    this.#elsewhere = [];
    this.#came = Math.max(this.#came, at);
    for (const seq of this.#entries.keys()) {
      if (seq < at && (this.#asOf.get(seq) ?? 0) < at) this.#outdated.add(seq);
    }
    this.#watermark = this.floor;
    this.#advance();
  }

  /**
   * Forget what there is up to `floor`: it is not needed, or is loaded anew, downwards. What is not held here is missing
   * above it, and so are the seqs that were settled there.
   * @param {number} floor
   */
  restart(floor) {
    this.era += 1;
    this.floor = floor;
    this.#watermark = floor;
    for (const seq of [...this.#entries.keys()]) {
      if (seq <= floor) {
        this.#entries.delete(seq);
        this.#asOf.delete(seq);
      }
    }
    this.#outdated.clear();
    this.#settled = [];
    this.#elsewhere = [];
    this.#horizon = Math.max(this.#horizon, floor);
    this.#advance();
  }

  /**
   * Learn that between `floor` and the floor until now there is nothing for this user but what is held.
   * @param {number} floor
   */
  lower(floor) {
    this.floor = Math.min(this.floor, floor);
  }

  /**
   * The gaps between the watermark and `upTo` (the horizon when not given), ascending and not adjoining.
   * @param {number | null} [upTo]
   * @returns {Gap[]}
   */
  missing(upTo = null) {
    const end = upTo === null ? this.#horizon : Math.min(upTo, this.#horizon);
    const held = [...this.#entries.keys()]
      .filter((seq) => seq > this.#watermark && seq <= end && !this.#outdated.has(seq))
      .map((seq) => ({ first: seq, last: seq }));
    /** @type {Gap[]} */
    const gaps = [];
    let start = this.#watermark + 1;
    for (const here of [...joined([...this.#settled, ...held]), { first: end + 1, last: end + 1 }]) {
      if (start < here.first && start <= end) gaps.push({ first: start, last: Math.min(here.first - 1, end) });
      start = here.last + 1;
    }
    return gaps;
  }

  /**
   * Every entry held that is not outdated, ascending by seq.
   * @returns {Entry[]}
   */
  current() {
    return this.entries().filter((entry) => this.isCurrent(entry.seq));
  }

  /**
   * Whether the entry with this seq is held here and not outdated.
   * @param {number} seq
   */
  isCurrent(seq) {
    return this.#entries.has(seq) && !this.#outdated.has(seq);
  }

  /**
   * Every entry held, ascending by seq; a gap is simply not there.
   * @returns {Entry[]}
   */
  entries() {
    return [...this.#entries.values()].sort((one, other) => one.seq - other.seq);
  }

  #advance() {
    for (;;) {
      const next = this.#watermark + 1;
      if (this.#entries.has(next) && !this.#outdated.has(next)) {
        this.#watermark = next;
      } else if (this.#settled.length > 0 && this.#settled[0].first <= next) {
        const [settled] = this.#settled.splice(0, 1);
        this.#watermark = Math.max(this.#watermark, settled.last);
      } else {
        return;
      }
    }
  }
}

/**
 * The same seqs as ascending gaps that neither adjoin nor overlap.
 * @param {Gap[]} gaps
 * @returns {Gap[]}
 */
function joined(gaps) {
  const sorted = gaps
    .filter(({ first, last }) => first <= last)
    .sort((one, other) => one.first - other.first || one.last - other.last);
  /** @type {Gap[]} */
  const whole = [];
  for (const { first, last } of sorted) {
    const before = whole.at(-1);
    if (before !== undefined && first <= before.last + 1) {
      before.last = Math.max(before.last, last);
    } else {
      whole.push({ first, last });
    }
  }
  return whole;
}
