/**
 * What this client knows of one conversation: a window of its log, the holes in it, and how much of it is unread.
 * Pure bookkeeping: no I/O, no clock.
 */
import { glimpseOf, glimpseWithChanges, isChange, targetOf, wiped, withChanges } from "./changes.js";
import { isCountable, isGroup } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./protocol.js").Glimpse} Glimpse */
/** @typedef {import("./protocol.js").InboxRow} InboxRow */

/** A gap longer than this is not filled: the window starts anew at the tail. */
const MAX_FILL = 300;

/** @param {unknown} users @param {string} me */
const named = (users, me) => Array.isArray(users) && users.includes(me);

export class Conversation {
  /** What the server's rows come to, whatever their order. @type {InboxRow|null} */
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
  /** What the other one of a direct conversation has received and read, as far as they show it. */
  peerAck = 0;
  peerRead = 0;
  /** Acknowledged up to here. */
  acked = 0;
  /** @type {string|null} the name of a group; see `takeName` */
  name = null;
  /** @type {number|null} the number of members of a group */
  memberCount = null;
  /** @type {string|null} what this user may do in a group: `owner`, `admin`, `member` */
  role = null;
  /** @type {number|null} first unread when the conversation was opened: where the "new" line stands */
  newFrom = null;
  /** @type {string|null} what is written here and not saved with the server yet */
  unsaved = null;
  /** The version of `#deleted`. */
  deletedAt = 0;

  /** As they came. @type {Map<number, Entry>} */
  #entries = new Map();
  /** The changes in `#entries`, by the message that they are about, ascending. @type {Map<number, Entry[]>} */
  #changes = new Map();
  /** As they are now. @type {Entry[]|null} */
  #sorted = null;
  /** What this user has deleted for themself, first and last seq. @type {[number, number][]} */
  #deleted = [];
  /** The seqs up to which `isMember` and `name` are known: what is older changes them no more. */
  #memberAt = 0;
  #namedAt = 0;
  /** Countable entries up to the end of the log, and up to what was read, here and with the server. */
  #lastN = 0;
  #readN = 0;
  #confirmedN = 0;
  /** The count below what came first: until a row tells, what is older counts as read. @type {number|null} */
  #metN = null;
  /** The count when the user hid the conversation; -1: it is not hidden. */
  #hiddenN = -1;

  /** @param {string} id @param {string} me */
  constructor(id, me) {
    this.id = id;
    this.me = me;
  }

  /** What there is to show, as it is now, ascending. @returns {Entry[]} */
  get entries() {
    this.#sorted ??= [...this.#entries.values()]
      .filter(({ seq, kind }) => kind !== "void" && !this.#isDeleted(seq))
      .map((entry) => this.#asItIsNow(entry))
      .sort((a, b) => a.seq - b.seq);
    return this.#sorted;
  }

  /** @param {number} seq @returns {Entry|null} a message as it is now */
  message(seq) {
    const entry = this.#entries.get(seq);
    return entry && isCountable(entry.kind) && !this.#isDeleted(seq) ? this.#asItIsNow(entry) : null;
  }

  /**
   * The message that another one answers, as it is now.
   * @param {Entry} answer
   * @returns {Glimpse|null} null where it is not to be seen
   */
  quoteOf({ reply_to: seq, quote }) {
    if (seq === undefined || this.#isDeleted(seq)) return null;
    if (this.#entries.has(seq)) {
      const message = this.message(seq);
      return message && glimpseOf(message);
    }
    return quote ? glimpseWithChanges(quote, this.#changesOf(seq)) : null;
  }

  get hasHole() {
    return this.head > this.have;
  }

  /** Whether nothing can be said here any more. */
  get isClosed() {
    return this.dissolved || !this.isMember;
  }

  get unread() {
    return Math.max(0, this.#lastN - (this.row ? this.#readN : Math.max(this.#readN, this.#metN ?? 0)));
  }

  /** Whether the user put it out of sight, and nothing was said since. */
  get isHidden() {
    return this.#hiddenN >= this.#lastN;
  }

  /** What the user has begun to write. */
  get draft() {
    return this.unsaved ?? this.row?.draft ?? "";
  }

  /** Newest entry that is no change, if this window has it. */
  get lastEntry() {
    const here = this.entries.findLast(({ kind }) => !isChange(kind)) ?? null;
    return here && here.seq >= (this.#rowLast?.seq ?? 0) ? here : null;
  }

  /** Newest entry that is no change in one line, where only the row has it. @returns {Glimpse|null} */
  get lastGlimpse() {
    const last = this.#rowLast;
    if (!last || this.lastEntry) return null;
    return glimpseWithChanges(last, this.#changesOf(last.seq));
  }

  /** Time of the newest entry that is no change, or of the last news where there is none. */
  get activity() {
    return Math.max(this.row?.at ?? 0, this.lastEntry?.ts ?? 0) || (this.row?.updated ?? 0);
  }

  get #rowLast() {
    const last = this.row?.last;
    return last && !this.#isDeleted(last.seq) ? last : null;
  }

  /**
   * Takes a row of the inbox: the further marks and the newer settings win.
   * @param {InboxRow} row
   * @returns {boolean} whether the window begins anew, so that entries were passed over
   */
  takeRow(row) {
    const known = this.row;
    const first = known === null && this.#entries.size === 0 && !this.loaded;
    const log = known && known.last_seq > row.last_seq ? known : row;
    const set = known && known.rev > row.rev ? known : row;
    this.row = {
      ...log,
      ...{ muted: set.muted, pinned: set.pinned, draft: set.draft, hidden: set.hidden, rev: set.rev },
      deleted: Math.max(row.deleted, known?.deleted ?? 0),
    };
    // Nobody told who was away what was recalled meanwhile, or that more is open to them: it is read anew.
    const away = row.left_seq !== known?.left_seq && row.last_seq >= this.have && (row.left_seq !== undefined || !this.isMember);
    if (set === row) this.#hiddenN = row.hidden ? row.last_n : -1;
    if (first) this.deletedAt = row.deleted; // what is read from now on leaves it out
    if (row.left_seq !== undefined) this.#takeMembership(row.left_seq, false);
    else if (row.last_seq > this.#memberAt) this.#takeMembership(row.last_seq, true);
    this.head = Math.max(this.head, row.last_seq);
    this.#lastN = Math.max(this.#lastN, row.last_n);
    this.acked = Math.max(this.acked, row.ack_seq);
    this.#confirm(row.read_seq, row.read_n);
    const passes = first || away || row.last_seq - this.have > MAX_FILL || (!this.loaded && row.last_seq > this.have);
    if (passes) this.#rebase(row.last_seq);
    return passes;
  }

  /**
   * Takes what this user has deleted here. Deleted stays deleted, so the newer version has it all.
   * @param {number} version
   * @param {[number, number][]} ranges first and last seq of each
   */
  takeDeleted(version, ranges) {
    if (version < this.deletedAt) return;
    this.deletedAt = version;
    this.#deleted = ranges;
    this.#sorted = null;
  }

  /** @param {{read_seq?: number, ack_seq?: number}} marks of the other one of a direct conversation */
  takeMarks({ read_seq: readSeq = 0, ack_seq: ackSeq = 0 }) {
    this.peerRead = Math.max(this.peerRead, readSeq);
    this.peerAck = Math.max(this.peerAck, ackSeq, readSeq);
  }

  /** Learns that the log goes up to `seq`. @param {number} seq */
  expect(seq) {
    this.head = Math.max(this.head, seq);
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
    const role = body?.roles?.[this.me];
    if (typeof role === "string" && seq > this.#memberAt) this.role = role;
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
      if (entry.seq < this.low || !this.#put(entry)) continue;
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
      this.#put(entry);
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

  /** Whether an entry brought this user into the group, after something of it was here: that is to be read anew. @param {Entry} entry */
  isReturn({ seq, kind, body }) {
    return kind === "members" && named(body?.added, this.me) && seq === this.#memberAt && this.low < seq;
  }

  /** The window begins anew above `seq`; what is below is history. @param {number} seq */
  startAfter(seq) {
    this.#rebase(seq);
  }

  /** Everything up to `have` counts as read from now on; the server is told by the caller. */
  markRead() {
    this.readSeq = Math.max(this.readSeq, this.have);
    this.#readN = Math.max(this.#readN, this.#countAt(this.have));
  }

  /**
   * Takes the server's word on what this user has read.
   * @param {number} readSeq
   * @param {number|undefined} unread
   * @param {number} [n] the count there; without it, as it is known here
   * @returns {boolean} whether its number differs from the count here, so that the row is worth reading again
   */
  confirmRead(readSeq, unread, n = this.#countAt(readSeq)) {
    const later = readSeq < this.readSeq; // a later read is on its way
    this.#confirm(readSeq, n);
    return !later && unread !== undefined && unread !== this.unread;
  }

  /** A read that the server did not take is taken back. */
  forgetRead() {
    this.readSeq = this.confirmedRead;
    this.#readN = this.#confirmedN;
  }

  /** @param {number} readSeq @param {number} n */
  #confirm(readSeq, n) {
    this.confirmedRead = Math.max(this.confirmedRead, readSeq);
    this.#confirmedN = Math.max(this.#confirmedN, n);
    this.readSeq = Math.max(this.readSeq, readSeq);
    this.#readN = Math.max(this.#readN, n);
  }

  /** Countable entries up to `seq`, as far as they are known here. @param {number} seq */
  #countAt(seq) {
    const entry = this.#entries.get(seq);
    if (entry) return entry.n;
    if (seq >= this.head) return this.#lastN;
    if (seq === this.row?.last_seq) return this.row.last_n;
    let below = 0;
    for (const held of this.#entries.values()) if (held.seq < seq) below = Math.max(below, held.n);
    return below;
  }

  /** @param {number} seq */
  #changesOf(seq) {
    return this.#changes.get(seq) ?? [];
  }

  /** @param {Entry} entry */
  #asItIsNow(entry) {
    const changes = this.#changesOf(entry.seq);
    return changes.length && isCountable(entry.kind) ? withChanges(entry, changes) : entry;
  }

  /** @param {number} seq */
  #isDeleted(seq) {
    return this.#deleted.some(([first, last]) => first <= seq && seq <= last);
  }

  /** @param {Entry} entry @returns {boolean} whether it is new */
  #put(entry) {
    const { seq, n, kind } = entry;
    const held = this.#entries.get(seq);
    // What is here is as good, unless the server gives it with later changes in it.
    if (held && (held.changed ?? 0) >= (entry.changed ?? 0)) return false;
    this.#entries.set(seq, entry);
    this.#sorted = null;
    this.#keepChange(entry);
    this.#forgetRecalled(targetOf(entry) ?? seq);
    if (held) return false;
    this.head = Math.max(this.head, seq);
    this.#metN ??= n - Number(isCountable(kind));
    this.#lastN = Math.max(this.#lastN, n);
    this.heed(entry);
    // Whoever writes has read what was there: the server moves the sender's marks the same way. Whoever joins begins to read there.
    if (entry.from === this.me && isCountable(kind)) {
      this.readSeq = Math.max(this.readSeq, seq);
      this.#readN = Math.max(this.#readN, n);
    } else if (kind === "members" && named(entry.body?.added, this.me)) {
      this.#readN = Math.max(this.#readN, n);
    }
    return true;
  }

  /** @param {Entry} entry */
  #keepChange(entry) {
    const target = targetOf(entry);
    if (target === null) return;
    this.#changes.set(target, [...this.#changesOf(target), entry].sort((a, b) => a.seq - b.seq));
  }

  /** Keeps nothing of what a recalled message said: not as it came, and not in its edits. @param {number} target */
  #forgetRecalled(target) {
    const entry = this.#entries.get(target);
    const changes = this.#changesOf(target);
    if (!changes.length || !(entry?.recalled || changes.some(({ kind }) => kind === "recall"))) return;
    if (entry) this.#entries.set(target, this.#asItIsNow(entry));
    const kept = changes.map((change) => (change.kind === "edit" ? wiped(change) : change));
    this.#changes.set(target, kept);
    for (const change of kept) this.#entries.set(change.seq, change);
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
    this.#changes.clear();
    for (const entry of this.#entries.values()) this.#keepChange(entry);
    this.#sorted = null;
    this.have = seq;
    this.low = seq + 1;
    this.head = Math.max(seq, ...this.#entries.keys());
    this.loaded = false;
    this.atStart = seq === 0;
    this.#advance();
  }
}
