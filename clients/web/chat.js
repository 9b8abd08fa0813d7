/**
 * The signed-in user's conversations: keeps them in step with the server over a connection, sends, reads, acknowledges.
 * It knows the protocol, and nothing about the document apart from whether the page is being looked at.
 */
import { Conversation } from "./conversation.js";
import { Drafts } from "./drafts.js";
import { t } from "./i18n.js";
import { Outbox } from "./outbox.js";
import { MAX_ACKED_GROUP, MAX_TYPING_GROUP, ProtocolError, directConv, isCountable, isGroup, peerOf } from "./protocol.js";
import { RedPackets } from "./red-packets.js";
import { Typing } from "./typing.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./connection.js").Connection} Connection */

const PAGE = 50;
const HOLE_MS = 300;
const HOLE_MAX_PAUSE_MS = 10_000;
const ACK_MS = 1_000;
const ACKS_A_FRAME = 50;
const READ_MS = 1_000;
const SYNC_MS = 1_000;
const SYNC_AFTER_ERROR_MS = 10_000;
const TYPING_EVERY_MS = 3_000;

/**
 * `ready` tells whether the conversation list was read once.
 * Events: `change`, at most one a turn of the event loop; `message` (detail: conv, entry), when somebody else said something.
 */
export class Chat extends EventTarget {
  /** @type {Map<string, Conversation>} */
  conversations = new Map();
  /** @type {Conversation|null} */
  current = null;
  ready = false;
  /** Whether others are told what this user has received and read, and whether they are online. */
  privacy = { receipts: true, presence: true };

  #connection;
  #names;
  #outbox;
  /** @type {string|undefined} opaque: where the last sync.inbox left off */
  #inbox;
  #syncing = false;
  #syncAgain = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #syncTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #ackTimer;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #holeTimers = new Map();
  #holePauses = new Map();
  #filling = new Set();
  #sending = new Set();
  #reading = new Set();
  #typing = new Typing(() => this.#change());
  /** When others were last told that this user writes, by conversation. @type {Map<string, number>} */
  #toldTyping = new Map();
  #drafts = new Drafts((conv, draft) => this.set(conv, { draft }));
  #askingDeleted = new Set();
  /** The last change to a message of a conversation that is on its way. @type {Map<string, Promise<void>>} */
  #changing = new Map();
  /** @type {string[]} groups whose names are still to be asked for, one at a time */
  #unnamed = [];
  #naming = false;
  #changed = false;
  #stopped = false;

  /**
   * @param {Connection} connection
   * @param {string} me
   * @param {Map<string, string>} names display names of users and groups that are known beforehand
   */
  constructor(connection, me, names) {
    super();
    this.me = me;
    this.#connection = connection;
    this.#names = names;
    this.#outbox = new Outbox(me);
    this.redPackets = new RedPackets(me, connection, {
      end: (conv) => this.conversations.get(conv)?.head ?? 0,
      sent: (entry, duplicate) => this.#takeOwn(entry, duplicate),
    });
    this.redPackets.addEventListener("change", () => this.#change());
    connection.addEventListener("open", () => this.#onOpen());
    connection.addEventListener("push", (event) => this.#onPush(/** @type {CustomEvent} */ (event).detail));
    connection.addEventListener("pong", (event) => this.#onInboxValue(/** @type {CustomEvent} */ (event).detail.inbox));
    connection.addEventListener("status", () => this.#change());
    document.addEventListener("visibilitychange", this.#onVisible);
    for (const message of this.#outbox.messages) this.#conversation(message.conv);
  }

  stop() {
    this.#stopped = true;
    document.removeEventListener("visibilitychange", this.#onVisible);
    clearTimeout(this.#syncTimer);
    clearTimeout(this.#ackTimer);
    for (const timer of this.#holeTimers.values()) clearTimeout(timer);
    this.#drafts.stop();
    this.#typing.stop();
  }

  /** Conversations to list: pinned ones first, then the newest. */
  get list() {
    const shown = [...this.conversations.values()].filter(
      (conv) => (conv.row ? !conv.isHidden : conv.entries.length) || conv === this.current || this.outgoing(conv.id).length,
    );
    // One that was just begun has no time yet: it stands on top.
    const rank = (conv) => Math.max(conv.activity, this.outgoing(conv.id).at(-1)?.ts ?? 0) || Number.MAX_SAFE_INTEGER;
    return shown.sort(
      (a, b) => Number(b.row?.pinned ?? false) - Number(a.row?.pinned ?? false) || rank(b) - rank(a) || (a.id < b.id ? -1 : 1),
    );
  }

  get totalUnread() {
    let total = 0;
    for (const conv of this.conversations.values()) total += conv.unread;
    return total;
  }

  /** @param {string} user */
  nameOf(user) {
    return this.#names.get(user) ?? user;
  }

  /** @param {Conversation} conv */
  titleOf(conv) {
    if (isGroup(conv.id)) return conv.name ?? this.#names.get(conv.id) ?? conv.id.slice(2);
    return this.nameOf(peerOf(conv.id, this.me));
  }

  /** Messages that the server has not accepted yet. @param {string} conv */
  outgoing(conv) {
    return this.#outbox.of(conv);
  }

  /** @param {string|null} id */
  open(id) {
    this.current = id === null ? null : this.#conversation(id);
    const conv = this.current;
    if (conv) {
      conv.error = null;
      conv.newFrom = conv.unread > 0 ? conv.readSeq + 1 : null;
      if (!conv.loaded) this.loadOlder(conv);
      else this.#askMarks(conv);
      if (isGroup(conv.id) && conv.memberCount === null && !conv.isClosed) this.#askName(conv.id, true);
      this.#read(conv);
    }
    this.#change();
  }

  /** The conversation with one other user, whether it began or not. @param {string} user */
  directWith(user) {
    return directConv(this.me, user);
  }

  /**
   * Reads the page of history below what is here; the first page too.
   * @param {Conversation} conv
   */
  async loadOlder(conv) {
    // Before the first sync the tail is unknown, and the sync calls this again.
    if (conv.loading || (conv.loaded && conv.atStart) || !this.ready) return;
    const first = !conv.loaded;
    let moved = false;
    conv.loading = true;
    conv.error = null;
    this.#change();
    try {
      if (!conv.row && conv.have === 0) await this.#findTail(conv);
      if (conv.low > 1) {
        const before = conv.low;
        const page = await this.#connection.request("sync", "entries", { conv: conv.id, before, limit: PAGE });
        // The window may have been moved meanwhile: then this page does not join on to it.
        moved = conv.low !== before;
        if (!moved) this.#takeOlder(conv, page.entries ?? [], page.more ?? false);
      } else {
        conv.addOlder([], false);
      }
      if (first) this.#askMarks(conv);
    } catch (error) {
      // A direct conversation begins with its first message: until then the server knows none.
      if (!isGroup(conv.id) && ["not_found", "not_member"].includes(error.code) && !conv.row) conv.addOlder([], false);
      else conv.error = error;
    } finally {
      conv.loading = false;
      if (moved && conv === this.current) this.loadOlder(conv);
      this.#read(conv);
      this.#change();
    }
  }

  /** @param {Conversation} conv @param {Entry[]} entries @param {boolean} more */
  #takeOlder(conv, entries, more) {
    conv.addOlder(entries, more);
    for (const entry of entries) this.#accepted(entry);
  }

  /** @param {Conversation} conv one that has no row */
  async #findTail(conv) {
    const { head } = conv;
    const page = await this.#connection.request("sync", "entries", { conv: conv.id, after: 0, limit: PAGE });
    if (page.more) conv.startAfter(page.last_seq);
    else this.#takeNewer(conv, page, head);
  }

  /**
   * Takes a page read upwards. Where there is no more, all that was heard of when it was asked for is settled.
   * @param {Conversation} conv
   * @param {{entries?: Entry[], last_seq?: number, more?: boolean}} page
   * @param {number} head the highest seq heard of by then
   */
  #takeNewer(conv, { entries = [], last_seq = 0, more = false }, head) {
    conv.addNewer(entries, more ? 0 : Math.max(last_seq, head));
    for (const entry of entries) this.#learn(conv, entry);
  }

  /** @param {string} conv @param {string} text @param {number} [replyTo] the seq of the message that it answers */
  send(conv, text, replyTo) {
    this.#outbox.add(conv, text, replyTo);
    this.#conversation(conv).newFrom = null;
    this.#pump(conv);
    this.#change();
  }

  /** Sends a failed message again, under its own `cmid`. @param {string} cmid */
  retry(cmid) {
    const message = this.#outbox.get(cmid);
    if (!message || message.state !== "failed") return;
    message.state = "sending";
    delete message.code;
    delete message.until;
    this.#outbox.save();
    this.#pump(message.conv);
    this.#change();
  }

  /** @param {string} cmid */
  discard(cmid) {
    this.#outbox.remove(cmid);
    this.#change();
  }

  /**
   * @param {string} gid the client's own id for the group: the same one again makes no second group
   * @param {string} name
   * @param {string[]} members
   * @returns {Promise<string>} the conversation's id
   */
  async createGroup(gid, name, members) {
    const info = await this.#connection.request("group", "create", { gid, name, members });
    this.#takeInfo(info, 0);
    return info.conv;
  }

  /** @param {string} conv */
  async groupInfo(conv) {
    const { head } = this.#conversation(conv);
    const info = await this.#connection.request("group", "info", { conv });
    this.#takeInfo(info, head);
    return info;
  }

  /** @param {string} conv @param {string} [cursor] @returns {Promise<{members: any[], cursor?: string}>} */
  groupMembers(conv, cursor) {
    return this.#connection.request("group", "members", cursor ? { conv, cursor } : { conv });
  }

  // --- what is done to messages and conversations: each rejects with what the server refused ------------------------

  /** @param {Conversation} conv @param {number} seq @param {string} text */
  edit(conv, seq, text) {
    const body = { text };
    return this.#changeMessage(conv, "edit", "edit", { seq, body }, { target: seq, body });
  }

  /** @param {Conversation} conv @param {number} seq */
  recall(conv, seq) {
    return this.#changeMessage(conv, "recall", "recall", { seq }, { target: seq });
  }

  /** @param {Conversation} conv @param {number} seq @param {string} emoji @param {boolean} on */
  react(conv, seq, emoji, on) {
    return this.#changeMessage(conv, "react", "reaction", { seq, emoji, on }, { target: seq, emoji, on });
  }

  /** @param {Conversation} conv @param {number} seq @param {boolean} on */
  pin(conv, seq, on) {
    return this.#changeMessage(conv, "pin", "pin", { seq, on }, { target: seq, on });
  }

  /** Deletes a message for this user alone, on all of their devices. @param {Conversation} conv @param {number} seq */
  async deleteForMe(conv, seq) {
    this.#takeDeleted(conv, await this.#connection.request("message", "delete", { conv: conv.id, seqs: [seq] }));
  }

  /** @param {Conversation} conv @param {{muted?: boolean, pinned?: boolean, hidden?: boolean, draft?: string}} settings */
  async set(conv, settings) {
    this.#takeRow(await this.#connection.request("sync", "settings", { conv: conv.id, ...settings }));
    this.#change();
  }

  /** Everything that there is counts as read. */
  async readAll() {
    await this.#connection.request("sync", "read_all", {});
    // What each conversation's marks are now, the rows tell.
    this.#syncSoon(0);
  }

  /** @param {{receipts?: boolean, presence?: boolean}} privacy what is to change */
  async setPrivacy(privacy) {
    this.#takePrivacy(await this.#connection.request("sync", "privacy", privacy));
    this.#change();
  }

  /** @param {string} user @returns {Promise<{online: boolean, last_seen: number|null}|undefined>} */
  async presenceOf(user) {
    return (await this.#connection.request("sync", "presence", { users: [user] }))[user];
  }

  /** The pinned messages, newest first, as many as the server gives. @param {Conversation} conv @returns {Promise<Entry[]>} */
  async pins(conv) {
    const { entries = [] } = await this.#connection.request("sync", "pins", { conv: conv.id });
    return entries.toReversed();
  }

  /**
   * Sends messages on to another conversation: one as a copy, several as one.
   * @param {Conversation} source
   * @param {number[]} seqs ascending
   * @param {string} to the conversation
   */
  async forward(source, seqs, to) {
    const title = seqs.length > 1 ? { title: t("forwardTitle", { name: this.titleOf(source) }).slice(0, 100) } : {};
    const cmid = crypto.randomUUID();
    const { seq } = await this.#connection.request("message", "forward", { conv: to, cmid, source: source.id, seqs, ...title });
    const conv = this.#conversation(to);
    // The reply does not say what it says: it is read like anything that was missed.
    conv.expect(seq);
    this.#settle(conv);
  }

  /**
   * Who has received and read a message of a group.
   * @param {Conversation} conv
   * @param {number} seq
   * @param {{list: "read"|"unread", cursor?: string}} which
   */
  receipts(conv, seq, which) {
    return this.#connection.request("sync", "receipts", { conv: conv.id, seq, ...which });
  }

  /** Whether this user may recall the messages of others in a conversation, and pin in a group. @param {Conversation} conv */
  leads(conv) {
    return isGroup(conv.id) && (conv.role === "owner" || conv.role === "admin");
  }

  /**
   * One at a time in a conversation, as with messages: the later wish is the one that counts.
   * @param {Conversation} conv
   * @param {string} op
   * @param {string} kind of the entry that the change is
   * @param {object} data
   * @param {object} body of that entry
   */
  #changeMessage(conv, op, kind, data, body) {
    const before = this.#changing.get(conv.id);
    const cmid = crypto.randomUUID();
    const change = async () => {
      await before?.catch(() => {});
      const { seq, n, ts, duplicate } = await this.#connection.request("message", op, { conv: conv.id, ...data, cmid });
      // Of a change that the server had already, the entry is in the log: if it is not here, there is a hole.
      if (duplicate) conv.expect(seq);
      else conv.add([{ conv: conv.id, seq, n, kind, from: this.me, ts, cmid, body }]);
      this.#settle(conv);
    };
    const done = change();
    this.#changing.set(conv.id, done);
    return done;
  }

  // --- writing ---------------------------------------------------------------------------------------------------

  /** @param {string} conv @returns {string[]} who is writing there */
  typingIn(conv) {
    return this.#typing.in(conv);
  }

  /** Tells the others that this user is writing, now and then. @param {Conversation} conv */
  tellTyping(conv) {
    const small = !isGroup(conv.id) || (conv.memberCount !== null && conv.memberCount <= MAX_TYPING_GROUP);
    const now = Date.now();
    const told = this.#toldTyping.get(conv.id) ?? 0;
    if (!small || !conv.row || conv.isClosed || this.#connection.status !== "open" || now - told < TYPING_EVERY_MS) return;
    this.#toldTyping.set(conv.id, now);
    this.#connection.request("message", "typing", { conv: conv.id, on: true }).catch(() => {
      // Nobody misses it.
    });
  }

  /**
   * Keeps what the user has begun to write.
   * @param {Conversation} conv
   * @param {string} text
   * @param {boolean} [now] save it now
   */
  setDraft(conv, text, now = false) {
    if (text === conv.draft) return;
    this.#drafts.keep(conv, text, now);
    this.#change();
  }

  /** @param {string} id */
  #conversation(id) {
    let conv = this.conversations.get(id);
    if (!conv) {
      conv = new Conversation(id, this.me);
      this.conversations.set(id, conv);
    }
    return conv;
  }

  // --- staying in step -------------------------------------------------------------------------------------------

  async #onOpen() {
    this.redPackets.doubt();
    await this.#sync();
    if (this.current?.loaded) this.#askMarks(this.current);
    for (const conv of new Set(this.#outbox.messages.map(({ conv }) => conv))) this.#pump(conv);
  }

  /** @param {any} frame */
  #onPush({ push, data }) {
    if (!data || typeof data !== "object") return;
    if (push === "entries" && typeof data.conv === "string" && Array.isArray(data.entries)) {
      this.#onEntries(data.conv, data.entries.filter((entry) => Number.isInteger(entry?.seq)));
    } else if (push === "privacy") {
      this.#takePrivacy(data);
      this.#change();
    } else if (push === "redpacket") {
      this.redPackets.take(data);
    } else if (push === "inbox") {
      if (data.inbox === undefined) this.#syncSoon();
      else this.#onInboxValue(data.inbox);
    } else if (typeof data.conv === "string") {
      this.#onNews(push, data, this.#conversation(data.conv));
    }
  }

  /** What a push says about one conversation. @param {string} push @param {any} data @param {Conversation} conv */
  #onNews(push, data, conv) {
    if (push === "read" && data.user === this.me && Number.isInteger(data.seq)) {
      if (conv.confirmRead(data.seq, data.unread, data.n)) this.#syncSoon();
    } else if (push === "read" && Number.isInteger(data.seq)) {
      conv.takeMarks({ read_seq: data.seq });
    } else if (push === "delivered" && Number.isInteger(data.seq)) {
      conv.takeMarks({ ack_seq: data.seq });
    } else if (push === "typing" && typeof data.user === "string" && data.user !== this.me) {
      this.#typing.take(conv.id, data.user, data.on === true);
    } else if (push === "row") {
      this.#takeRow(data);
      this.#watchHole(conv);
    } else if (push === "deleted" && Array.isArray(data.ranges)) {
      this.#takeDeleted(conv, data);
    } else {
      return;
    }
    this.#change();
  }

  /** @param {string} id @param {Entry[]} entries ascending */
  #onEntries(id, entries) {
    const known = this.conversations.has(id);
    const conv = this.#conversation(id);
    const first = entries[0]?.seq;
    if (first === undefined) return;
    if (!known || (!conv.row && !conv.loaded && conv.have === 0)) {
      // Met in the middle of its log: what is below is history, and how much of that is unread only the row tells.
      if (first > 1) conv.startAfter(first - 1);
      this.#syncSoon();
    }
    let answered = false;
    for (const entry of conv.add(entries)) {
      this.#learn(conv, entry);
      if (entry.kind === "redpacket") this.redPackets.heard(entry);
      if (!isCountable(entry.kind)) continue;
      if (entry.from !== this.me) this.dispatchEvent(new CustomEvent("message", { detail: { conv, entry } }));
      this.#typing.take(id, entry.from, false);
      answered ||= entry.from !== this.me;
    }
    // Who answers has read what was there, and no push says so.
    if (answered && conv === this.current) this.#askMarks(conv);
    this.#settle(conv);
  }

  /** A message of this user is in the log: whether its reply was lost or not, it is sent. @param {Entry} entry */
  #accepted(entry) {
    if (entry.from !== this.me || !entry.cmid) return;
    this.#outbox.remove(entry.cmid);
    this.redPackets.accepted(entry.cmid);
  }

  /** @param {Conversation} conv @param {Entry} entry */
  #learn(conv, entry) {
    this.#accepted(entry);
    if (conv.isReturn(entry)) {
      conv.startAfter(entry.seq - 1);
      if (conv === this.current) this.loadOlder(conv);
    }
    if (entry.kind === "members" && isGroup(conv.id) && !conv.isClosed) this.#askName(conv.id, conv === this.current);
  }

  /** After anything came into a conversation. @param {Conversation} conv */
  #settle(conv) {
    this.#watchHole(conv);
    this.#ackSoon();
    this.#read(conv);
    this.#nameIfUnknown(conv);
    this.#change();
  }

  /** @param {unknown} inbox */
  #onInboxValue(inbox) {
    if (inbox !== undefined && inbox !== this.#inbox) this.#syncSoon();
  }

  #syncSoon(pause = SYNC_MS) {
    if (this.#stopped) return;
    this.#syncTimer ??= setTimeout(() => this.#sync(), pause);
  }

  async #sync() {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    if (this.#syncing) {
      this.#syncAgain = true;
      return;
    }
    this.#syncing = true;
    try {
      do {
        this.#syncAgain = false;
        await this.#syncOnce();
      } while (this.#syncAgain);
    } catch (error) {
      if (error.code !== "closed") this.#syncSoon(SYNC_AFTER_ERROR_MS);
      if (!error.retryable) this.#inbox = undefined; // a value that the server no longer takes: read everything
    } finally {
      this.#syncing = false;
    }
  }

  async #syncOnce() {
    const since = this.#inbox;
    let inbox;
    let cursor;
    do {
      const data = { ...(since === undefined ? {} : { since }), ...(cursor === undefined ? {} : { cursor }) };
      const page = await this.#connection.request("sync", "inbox", data);
      for (const row of page.conversations ?? []) this.#takeRow(row);
      this.#takePrivacy(page.privacy);
      // The first page's value: what changes while the others are read is then read again.
      inbox ??= page.inbox;
      cursor = page.cursor;
    } while (cursor);
    this.#inbox = inbox ?? since;
    this.ready = true;
    for (const conv of this.conversations.values()) this.#watchHole(conv);
    if (this.current && !this.current.loaded) this.loadOlder(this.current);
    this.#ackSoon();
    this.#change();
  }

  /** @param {import("./protocol.js").InboxRow} row */
  #takeRow(row) {
    const conv = this.#conversation(row.conv);
    const passed = conv.takeRow(row);
    // What was passed over may have changed the name.
    if (passed && conv.name !== null && isGroup(conv.id) && !conv.isClosed) this.#askName(conv.id);
    if (passed && conv === this.current && this.ready) this.loadOlder(conv);
    if (conv.deletedAt < row.deleted) this.#askDeleted(conv);
    this.#nameIfUnknown(conv);
    this.#read(conv);
  }

  /** @param {{receipts?: unknown, presence?: unknown}} [privacy] */
  #takePrivacy({ receipts, presence } = {}) {
    if (typeof receipts === "boolean") this.privacy.receipts = receipts;
    if (typeof presence === "boolean") this.privacy.presence = presence;
  }

  /** Something was deleted on another device meanwhile. @param {Conversation} conv */
  async #askDeleted(conv) {
    if (this.#askingDeleted.has(conv.id)) return;
    this.#askingDeleted.add(conv.id);
    try {
      this.#takeDeleted(conv, await this.#connection.request("sync", "deleted", { conv: conv.id }));
    } catch {
      // The next row asks again.
    } finally {
      this.#askingDeleted.delete(conv.id);
    }
  }

  /** @param {Conversation} conv @param {{deleted: number, ranges: [number, number][]}} reply */
  #takeDeleted(conv, { deleted, ranges }) {
    conv.takeDeleted(deleted, ranges);
    // What was shown in the list is gone: the row has what is there instead.
    if (!conv.lastEntry && !conv.lastGlimpse) this.#syncSoon();
    this.#change();
  }

  /** Asks how far the other one of a direct conversation has come, where this user waits for that. @param {Conversation} conv */
  async #askMarks(conv) {
    const own = conv.entries.findLast(({ kind, from, recalled }) => isCountable(kind) && from === this.me && !recalled);
    if (isGroup(conv.id) || !own || own.seq <= conv.peerRead) return;
    try {
      const { marks } = await this.#connection.request("sync", "receipts", { conv: conv.id, seq: own.seq });
      conv.takeMarks(marks ?? {}); // who does not show it has none
      this.#change();
    } catch {
      // The message is sent: no more is said of it.
    }
  }

  // --- holes -----------------------------------------------------------------------------------------------------

  /** @param {Conversation} conv */
  #watchHole(conv) {
    if (!conv.hasHole) {
      clearTimeout(this.#holeTimers.get(conv.id));
      this.#holeTimers.delete(conv.id);
      this.#holePauses.delete(conv.id);
      return;
    }
    if (this.#stopped || this.#holeTimers.has(conv.id) || this.#filling.has(conv.id)) return;
    const pause = this.#holePauses.get(conv.id) ?? HOLE_MS;
    this.#holeTimers.set(conv.id, setTimeout(() => this.#fill(conv), pause));
  }

  /** @param {Conversation} conv */
  async #fill(conv) {
    this.#holeTimers.delete(conv.id);
    this.#filling.add(conv.id);
    const { have, head } = conv;
    try {
      const page = await this.#connection.request("sync", "entries", { conv: conv.id, after: have, limit: 100 });
      if (conv.have >= have) this.#takeNewer(conv, page, head);
      if (conv.have > have) this.#holePauses.delete(conv.id);
      else this.#holePauses.set(conv.id, Math.min((this.#holePauses.get(conv.id) ?? HOLE_MS) * 2, HOLE_MAX_PAUSE_MS));
    } catch (error) {
      if (error.retryable) this.#holePauses.set(conv.id, HOLE_MAX_PAUSE_MS);
      else conv.skipTo(head);
    } finally {
      this.#filling.delete(conv.id);
      this.#settle(conv);
    }
  }

  // --- received and read -----------------------------------------------------------------------------------------

  #ackSoon() {
    if (this.#stopped) return;
    this.#ackTimer ??= setTimeout(() => this.#ack(), ACK_MS);
  }

  async #ack() {
    this.#ackTimer = undefined;
    const due = [...this.conversations.values()].filter(
      (conv) => conv.have > conv.acked && (conv.row || conv.entries.length) && (conv.memberCount ?? 0) <= MAX_ACKED_GROUP,
    );
    const now = due.slice(0, ACKS_A_FRAME).map((conv) => ({ conv, seq: conv.have }));
    if (!now.length || this.#connection.status !== "open") return;
    for (const { conv, seq } of now) conv.acked = seq;
    if (due.length > now.length) this.#ackSoon();
    try {
      await this.#connection.request("sync", "ack", { acks: now.map(({ conv, seq }) => ({ conv: conv.id, seq })) });
    } catch {
      // The next one says the same and more: a watermark needs no second try of its own.
    }
  }

  #onVisible = () => {
    const conv = this.current;
    if (document.visibilityState !== "visible") this.#drafts.flush();
    if (!conv || document.visibilityState !== "visible") return;
    if (conv.unread > 0) conv.newFrom = conv.readSeq + 1;
    this.#read(conv);
  };

  /** Tells the server that what is on the screen was read, at most once a second. @param {Conversation} conv */
  async #read(conv) {
    if (conv !== this.current || document.visibilityState !== "visible" || !conv.loaded || this.#stopped) return;
    if (conv.have <= conv.readSeq && conv.unread === 0) return;
    conv.markRead();
    this.#change();
    if (this.#reading.has(conv.id)) return;
    this.#reading.add(conv.id);
    try {
      while (conv.confirmedRead < conv.readSeq && !this.#stopped) {
        const reply = await this.#connection.request("sync", "read", { conv: conv.id, seq: conv.readSeq });
        if (conv.confirmRead(reply.read_seq, reply.unread)) this.#syncSoon();
        this.#change();
        await new Promise((resolve) => setTimeout(resolve, READ_MS));
      }
    } catch (error) {
      conv.forgetRead();
      if (error.code !== "closed" && error.retryable) this.#syncSoon();
    } finally {
      this.#reading.delete(conv.id);
    }
  }

  // --- sending ---------------------------------------------------------------------------------------------------

  /** Sends a conversation's messages one at a time: only a reply fixes their order. @param {string} id */
  async #pump(id) {
    if (this.#sending.has(id) || this.#stopped) return;
    this.#sending.add(id);
    try {
      let message;
      while ((message = this.outgoing(id).find(({ state }) => state === "sending")) && !this.#stopped) {
        await this.#deliver(message);
        this.#change();
      }
    } finally {
      this.#sending.delete(id);
    }
  }

  /** @param {import("./outbox.js").Outgoing} outgoing */
  async #deliver(outgoing) {
    const { conv: id, cmid, text, replyTo } = outgoing;
    const message = { cmid, kind: "text", body: { text }, ...(replyTo ? { reply_to: replyTo } : {}) };
    try {
      const reply = await this.#connection.request("message", "send", { conv: id, ...message });
      this.#outbox.remove(cmid);
      const conv = this.#conversation(id);
      conv.add([{ conv: id, seq: reply.seq, n: reply.n, from: this.me, ts: reply.ts, ...message }]);
      this.#settle(conv);
    } catch (error) {
      if (error.code === "closed") return;
      outgoing.state = "failed";
      outgoing.code = error instanceof ProtocolError ? error.code : "internal";
      if (error.retryAfterMs) outgoing.until = Date.now() + error.retryAfterMs;
      this.#outbox.save();
      // The row tells since when.
      if (error.code === "not_member") this.#syncSoon();
    }
  }

  /** A message that a reply has confirmed. @param {Entry} entry @param {boolean} duplicate whether it was in the log before */
  #takeOwn(entry, duplicate) {
    const conv = this.#conversation(entry.conv);
    conv.newFrom = null;
    // What has become of it since is in the log: if it is not here, there is a hole.
    if (duplicate) conv.expect(entry.seq);
    else conv.add([entry]);
    this.#settle(conv);
  }

  // --- groups ----------------------------------------------------------------------------------------------------

  /** @param {any} info @param {number} head the highest seq heard of when it was asked for */
  #takeInfo(info, head) {
    const conv = this.#conversation(info.conv);
    if (typeof info.name === "string" && info.name) conv.takeName(info.name, head);
    if (typeof info.members === "number") conv.memberCount = info.members;
    if (typeof info.me?.role === "string") conv.role = info.me.role;
    this.#change();
  }

  /** @param {Conversation} conv */
  #nameIfUnknown(conv) {
    if (isGroup(conv.id) && conv.name === null) this.#askName(conv.id);
  }

  /** Asks for a group's name and size, one group at a time. @param {string} id @param {boolean} [first] */
  #askName(id, first = false) {
    if (!this.#unnamed.includes(id)) this.#unnamed[first ? "unshift" : "push"](id);
    this.#nameThem();
  }

  async #nameThem() {
    if (this.#naming) return;
    this.#naming = true;
    let id;
    while ((id = this.#unnamed.shift()) && !this.#stopped) {
      const conv = this.#conversation(id);
      try {
        if (conv.isClosed) await this.#findFirstName(conv);
        else await this.groupInfo(id);
      } catch {
        // It is called by its id then.
      }
      conv.name ??= this.#names.get(id) ?? id.slice(2);
      this.#change();
    }
    this.#naming = false;
  }

  /** Nobody tells those who have left how their group is called, but they may have seen it begin. @param {Conversation} conv */
  async #findFirstName(conv) {
    const page = await this.#connection.request("sync", "entries", { conv: conv.id, after: 0, limit: 1 });
    for (const entry of page.entries ?? []) conv.heed(entry);
  }

  #change() {
    if (this.#changed || this.#stopped) return;
    this.#changed = true;
    queueMicrotask(() => {
      this.#changed = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}
