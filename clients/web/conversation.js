/**
 * What this client knows of one conversation: a window of its log, the holes in it, and how much of it is unread.
 * Pure bookkeeping: no I/O, no clock.
 */
import { isCountable, isGroup } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./protocol.js").InboxRow} InboxRow */

/** A gap longer than this is not filled: the window starts anew at the tail. */
const MAX_FILL = 300;

/** @param {unknown} users @param {string} me */
const named = (users, me) => Array.isArray(users) && users.includes(me);

export class Conversation {
  /** @type {InboxRow|null} */
  row = null;
  /** Everything in `[low, have]` is here, save what is closed to this user. */
  have = 0;
  low = 1;
  /** The highest seq heard of. Above `have`: something is missing. */
  head = 0;
  /** Whether this user was in the group at the end of what is known of it. */
  isMember = true;
  dissolved = false;
  /** Whether the first page of history was asked for. */
  loaded = false;
  atStart = false;
  loading = false;
  /** @type {import("./protocol.js").ProtocolError|null} why the history could not be read */
  error = null;
  /** Read up to here, as this client wants it; `confirmedRead` as the server knows it. */
  readSeq = 0;
  confirmedRead = 0;
  /** Acknowledged up to here. */
  acked = 0;
  /** @type {string|null} the name of a group; see `takeName` */
  name = null;
  /** @type {number|null} the number of members of a group */
  memberCount = null;
  /** @type {number|null} first unread when the conversation was opened: where the "new" line stands */
  newFrom = null;
  draft = "";

  /** @type {Map<number, Entry>} */
  #entries = new Map();
  /** @type {Entry[]|null} */
  #sorted = null;
  /** The seqs up to which `isMember` and `name` are known: what is older changes them no more. */
  #memberAt = 0;
  #namedAt = 0;
  /** The server's last word: `unread` of them up to `through`; entries above are counted here. */
  #base = { unread: 0, through: 0 };

  /** @param {string} id @param {string} me */
  constructor(id, me) {
    this.id = id;
    this.me = me;
  }

  /** @returns {Entry[]} ascending */
  get entries() {
    this.#sorted ??= [...this.#entries.values()].sort((a, b) => a.seq - b.seq);
    return this.#sorted;
  }

  get hasHole() {
    return this.head > this.have;
  }

  /** Whether nothing can be said here any more. */
  get isClosed() {
    return this.dissolved || !this.isMember;
  }

  get unread() {
    let count = this.#base.unread;
    const from = Math.max(this.#base.through, this.readSeq);
    for (let i = this.entries.length - 1; i >= 0 && this.entries[i].seq > from; i--) {
      if (this.#counts(this.entries[i])) count++;
    }
    return count;
  }

  /** Newest countable entry, if this window has it. */
  get lastEntry() {
    return this.entries.findLast((entry) => isCountable(entry.kind)) ?? null;
  }

  /** Time of the newest message, or of the last change where there is none. */
  get activity() {
    return Math.max(this.lastEntry?.ts ?? 0, this.row?.last?.ts ?? this.row?.updated ?? 0);
  }

  /**
   * Takes a row of the inbox. The server's numbers win, except over a read that is still on its way.
   * @param {InboxRow} row
   * @returns {boolean} whether the window begins anew, so that entries were passed over
   */
  takeRow(row) {
    const first = this.row === null && this.#entries.size === 0 && !this.loaded;
    this.row = row;
    if (row.left_seq !== undefined) this.#takeMembership(row.left_seq, false);
    else if (row.last_seq > this.#memberAt) this.#takeMembership(row.last_seq, true);
    this.head = Math.max(this.head, row.last_seq);
    this.acked = Math.max(this.acked, row.ack_seq ?? 0);
    this.confirmedRead = Math.max(this.confirmedRead, row.read_seq);
    if (row.read_seq >= this.readSeq) {
      this.readSeq = row.read_seq;
      this.#base = { unread: row.unread, through: row.last_seq };
    }
    const passes = first || row.last_seq - this.have > MAX_FILL || (!this.loaded && row.last_seq > this.have);
    if (passes) this.#rebase(row.last_seq);
    return passes;
  }

  /**
   * Takes the name that the server gives the group. One that an entry above `through` gave is newer.
   * @param {string} name
   * @param {number} through the highest seq heard of when the server was asked
   */
  takeName(name, through) {
    if (through < this.#namedAt) return;
    this.#namedAt = through;
    this.name = name;
  }

  /**
   * Takes what an entry says about the group itself, whatever else becomes of the entry. A later one wins.
   * @param {Entry} entry
   */
  heed({ kind, seq, body }) {
    if (!isGroup(this.id) || (kind !== "members" && kind !== "profile")) return;
    if (body?.dissolved === true) this.dissolved = true;
    const name = kind === "members" ? body?.group?.name : body?.name;
    if (typeof name === "string" && seq > this.#namedAt) {
      this.#namedAt = seq;
      this.name = name;
    }
    if (kind !== "members") return;
    if (named(body?.added, this.me)) this.#takeMembership(seq, true);
    else if (named(body?.removed, this.me)) this.#takeMembership(seq, false);
  }

  /**
   * Takes entries in any order, drops those it has.
   * @param {Entry[]} entries
   * @returns {Entry[]} the new ones
   */
  add(entries) {
    const fresh = [];
    for (const entry of entries) {
      // Below the window there is history that was not loaded: a page of it comes through `addOlder`.
      if (this.#entries.has(entry.seq) || entry.seq < this.low) continue;
      this.#put(entry);
      fresh.push(entry);
    }
    this.#advance();
    return fresh;
  }

  /**
   * Takes a page read upwards from `have`. What it leaves out is closed to this user.
   * @param {Entry[]} entries ascending
   * @param {number} through nothing else is there for this user up to here
   */
  addNewer(entries, through) {
    this.add(entries);
    this.skipTo(Math.max(through, entries.at(-1)?.seq ?? 0));
  }

  /**
   * Takes a page read downwards from `low`.
   * @param {Entry[]} entries
   * @param {boolean} more
   */
  addOlder(entries, more) {
    for (const entry of entries) {
      if (!this.#entries.has(entry.seq)) this.#put(entry);
      this.low = Math.min(this.low, entry.seq);
    }
    this.loaded = true;
    this.atStart = !more || entries.length === 0 || this.low <= 1;
  }

  /** Passes over what is missing up to `seq`: the server has nothing there for this user. @param {number} seq */
  skipTo(seq) {
    this.have = Math.max(this.have, seq);
    this.head = Math.max(this.head, seq);
    this.#advance();
  }

  /** The window begins anew above `seq`; what is below is history. @param {number} seq */
  startAfter(seq) {
    this.#rebase(seq);
  }

  /** Everything up to `have` counts as read from now on; the server is told by the caller. */
  markRead() {
    this.readSeq = Math.max(this.readSeq, this.have);
    this.#base = { unread: 0, through: this.readSeq };
  }

  /**
   * Takes the server's word on what this user has read.
   * @param {number} readSeq
   * @param {number|undefined} unread
   * @returns {boolean} whether its number differs from the count here, so that the row is worth reading again
   */
  confirmRead(readSeq, unread) {
    this.confirmedRead = Math.max(this.confirmedRead, readSeq);
    if (readSeq < this.readSeq) return false; // a later read is on its way
    const counted = this.entries.filter((entry) => entry.seq > readSeq && this.#counts(entry)).length;
    this.readSeq = readSeq;
    const agreed = unread === counted && this.low <= readSeq + 1;
    this.#base = agreed ? { unread: 0, through: readSeq } : { unread: unread ?? counted, through: this.head };
    return !agreed;
  }

  /** A read that the server did not take is taken back. */
  forgetRead() {
    this.readSeq = this.confirmedRead;
  }

  /** @param {Entry} entry */
  #counts(entry) {
    return entry.from !== this.me && isCountable(entry.kind);
  }

  /** @param {Entry} entry */
  #put(entry) {
    this.#entries.set(entry.seq, entry);
    this.#sorted = null;
    this.head = Math.max(this.head, entry.seq);
    this.heed(entry);
    // Whoever writes has read what was there: the server moves the sender's read_seq the same way.
    if (entry.from === this.me && isCountable(entry.kind) && entry.seq > this.readSeq) {
      this.readSeq = entry.seq;
      if (entry.seq >= this.#base.through) this.#base = { unread: 0, through: entry.seq };
    }
  }

  /** @param {number} seq @param {boolean} isMember */
  #takeMembership(seq, isMember) {
    if (seq < this.#memberAt) return;
    this.#memberAt = seq;
    this.isMember = isMember;
  }

  #advance() {
    while (this.#entries.has(this.have + 1)) this.have++;
  }

  /** @param {number} seq */
  #rebase(seq) {
    for (const known of this.#entries.keys()) if (known <= seq) this.#entries.delete(known);
    this.#sorted = null;
    this.have = seq;
    this.low = seq + 1;
    this.head = Math.max(seq, ...this.#entries.keys());
    this.loaded = false;
    this.atStart = seq === 0;
    this.#advance();
  }
}
