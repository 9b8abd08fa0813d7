/**
 * The signed-in user's conversations: keeps them in step with the server over a connection, sends, reads, acknowledges.
 * It knows the protocol, and nothing about the document apart from whether the page is being looked at.
 */
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { MAX_ACKED_GROUP, ProtocolError, directConv, isGroup, peerOf } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./connection.js").Connection} Connection */

const PAGE = 50;
const HOLE_MS = 300;
const HOLE_MAX_PAUSE_MS = 10_000;
const ACK_MS = 1_000;
const ACKS_A_FRAME = 100;
const READ_MS = 1_000;
const SYNC_MS = 1_000;
const SYNC_AFTER_ERROR_MS = 10_000;

/**
 * `ready` tells whether the conversation list was read once.
 * Events: `change`, at most one a turn of the event loop.
 */
export class Chat extends EventTarget {
  /** @type {Map<string, Conversation>} */
  conversations = new Map();
  /** @type {Conversation|null} */
  current = null;
  ready = false;

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
    connection.addEventListener("open", () => this.#onOpen());
    connection.addEventListener("push", (event) => this.#onPush(/** @type {CustomEvent} */ (event).detail));
    connection.addEventListener("pong", (event) => this.#onInboxValue(/** @type {CustomEvent} */ (event).detail.inbox));
    connection.addEventListener("status", () => this.#change());
    document.addEventListener("visibilitychange", this.#onVisible);
    for (const draft of this.#outbox.drafts) this.#conversation(draft.conv);
  }

  stop() {
    this.#stopped = true;
    document.removeEventListener("visibilitychange", this.#onVisible);
    clearTimeout(this.#syncTimer);
    clearTimeout(this.#ackTimer);
    for (const timer of this.#holeTimers.values()) clearTimeout(timer);
  }

  /** Conversations to list: pinned ones first, then the newest. */
  get list() {
    const shown = [...this.conversations.values()].filter(
      (conv) => (conv.row && !conv.row.hidden) || conv.entries.length || conv === this.current || this.drafts(conv.id).length,
    );
    // One that was just begun has no time yet: it stands on top.
    const rank = (conv) => Math.max(conv.activity, this.drafts(conv.id).at(-1)?.ts ?? 0) || Number.MAX_SAFE_INTEGER;
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

  /** @param {string} conv */
  drafts(conv) {
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
    conv.loading = true;
    conv.error = null;
    this.#change();
    try {
      if (!conv.row && conv.have === 0) await this.#findTail(conv);
      if (conv.low > 1) {
        const before = conv.low;
        const page = await this.#connection.request("sync", "entries", { conv: conv.id, before, limit: PAGE });
        // The window may have been moved meanwhile: then this page does not join on to it.
        if (conv.low === before) this.#takeOlder(conv, page.entries ?? [], page.more ?? false);
      } else {
        conv.addOlder([], false);
      }
    } catch (error) {
      // A direct conversation begins with its first message: until then the server knows none.
      if (!isGroup(conv.id) && ["not_found", "not_member"].includes(error.code) && !conv.row) conv.addOlder([], false);
      else conv.error = error;
    } finally {
      conv.loading = false;
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

  /** @param {string} conv @param {string} text */
  send(conv, text) {
    this.#outbox.add(conv, text);
    this.#conversation(conv).newFrom = null;
    this.#pump(conv);
    this.#change();
  }

  /** Sends a failed message again, under its own `cmid`. @param {string} cmid */
  retry(cmid) {
    const draft = this.#outbox.get(cmid);
    if (!draft || draft.state !== "failed") return;
    draft.state = "sending";
    delete draft.code;
    delete draft.until;
    this.#outbox.save();
    this.#pump(draft.conv);
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
    await this.#sync();
    for (const conv of new Set(this.#outbox.drafts.map((draft) => draft.conv))) this.#pump(conv);
  }

  /** @param {any} frame */
  #onPush({ push, data }) {
    if (!data || typeof data !== "object") return;
    if (push === "entries" && typeof data.conv === "string" && Array.isArray(data.entries)) {
      this.#onEntries(data.conv, data.entries.filter((entry) => Number.isInteger(entry?.seq)));
    } else if (push === "read" && data.user === this.me && typeof data.conv === "string" && Number.isInteger(data.seq)) {
      const differs = this.#conversation(data.conv).confirmRead(data.seq, data.unread);
      if (differs) this.#syncSoon();
      this.#change();
    } else if (push === "inbox") {
      this.#onInboxValue(data.inbox);
    }
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
    const fresh = conv.add(entries);
    if (conv.row?.hidden) conv.row = { ...conv.row, hidden: false };
    for (const entry of fresh) this.#learn(conv, entry);
    this.#settle(conv);
  }

  /** A message of this user is in the log: whether its reply was lost or not, it is sent. @param {Entry} entry */
  #accepted(entry) {
    if (entry.from === this.me && entry.cmid) this.#outbox.remove(entry.cmid);
  }

  /** @param {Conversation} conv @param {Entry} entry */
  #learn(conv, entry) {
    this.#accepted(entry);
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
    this.#nameIfUnknown(conv);
    this.#read(conv);
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
      let draft;
      while ((draft = this.drafts(id).find(({ state }) => state === "sending")) && !this.#stopped) {
        await this.#deliver(draft);
        this.#change();
      }
    } finally {
      this.#sending.delete(id);
    }
  }

  /** @param {import("./outbox.js").Draft} draft */
  async #deliver(draft) {
    const { conv: id, cmid, text } = draft;
    const body = { text };
    try {
      const reply = await this.#connection.request("message", "send", { conv: id, cmid, kind: "text", body });
      this.#outbox.remove(cmid);
      const conv = this.#conversation(id);
      conv.add([{ conv: id, seq: reply.seq, n: reply.n, kind: "text", from: this.me, ts: reply.ts, cmid, body }]);
      this.#settle(conv);
    } catch (error) {
      if (error.code === "closed") return;
      draft.state = "failed";
      draft.code = error instanceof ProtocolError ? error.code : "internal";
      if (error.retryAfterMs) draft.until = Date.now() + error.retryAfterMs;
      this.#outbox.save();
      // The row tells since when.
      if (error.code === "not_member") this.#syncSoon();
    }
  }

  // --- groups ----------------------------------------------------------------------------------------------------

  /** @param {any} info @param {number} head the highest seq heard of when it was asked for */
  #takeInfo(info, head) {
    const conv = this.#conversation(info.conv);
    if (typeof info.name === "string" && info.name) conv.takeName(info.name, head);
    if (typeof info.members === "number") conv.memberCount = info.members;
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
