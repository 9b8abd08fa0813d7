/**
 * Red packets: what this client knows of each, what happens to them, and what this user does with them.
 * It knows the protocol, and nothing about the document.
 */
import { RedPacketOrders } from "./red-packet-orders.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./red-packet-orders.js").Terms} Terms */

/**
 * A packet as `redpacket.detail` gives it, with one page of its claims.
 * @typedef {object} Detail
 * @property {string} packet
 * @property {string} conv
 * @property {number} seq
 * @property {string} from
 * @property {"lucky"|"equal"|"direct"} kind
 * @property {string} greeting
 * @property {string} [to] the only one who may claim it
 * @property {number} total
 * @property {number} count
 * @property {"open"|"finished"|"expired"} state
 * @property {number} expires milliseconds since the epoch
 * @property {number} claimed how many of `count`
 * @property {number} [amount] this user's own
 * @property {number} [refunded] what went back to the sender
 * @property {string} [best] who had the most
 * @property {Claim[]} claims
 * @property {string} [cursor]
 */

/** @typedef {{user: string, amount?: number, ts: number}} Claim */

/**
 * What a message shows of its packet. A packet that is over stays so; an amount is known for ever.
 * @typedef {object} Known
 * @property {"open"|"finished"|"expired"} [state]
 * @property {number} [amount] this user's own
 * @property {number} [claimed]
 * @property {number} [count]
 * @property {boolean} [forbidden] the server said that this user cannot claim it
 */

/**
 * Something that happened to a packet while this page was open: a line between the messages.
 * @typedef {object} News
 * @property {string} key
 * @property {"opened"|"own"|"refunded"} what
 * @property {number} after the seq of the message that it stands under
 * @property {string} [from] whose packet this user opened
 * @property {string[]} users who opened this user's packet, the first one first
 * @property {boolean} [finished]
 * @property {string} [best]
 * @property {number} [amount] what came back
 */

const CLAIMS_A_PAGE = 50;
/** A packet this young is taken to be open without asking: else every member would ask for every packet that is sent. */
const NEW_MS = 60_000;

/**
 * Events: `change` after anything that is shown has changed; `sent` (detail: `conv`) when a packet of this user is
 * confirmed; `news` (detail: the push's data, and `line`, the News that came of it, if any did) when the server tells
 * what happened to a packet.
 */
export class RedPackets extends EventTarget {
  /** @type {Map<string, Known>} */
  #known = new Map();
  /** Packets that are known as they are now: what happens to them is pushed while the connection lasts. @type {Set<string>} */
  #sure = new Set();
  /** @type {string[]} packets to ask for, one at a time */
  #wanted = [];
  #asking = false;
  /** By conversation and key. @type {Map<string, Map<string, News>>} */
  #news = new Map();
  #orders;
  #me;
  #connection;
  #log;

  /**
   * @param {string} me
   * @param {Connection} connection
   * @param {{end: (conv: string) => number, sent: (entry: Entry, duplicate: boolean) => void}} log
   *   `end` gives the seq of a conversation's newest entry, `sent` takes the message of a packet that this user has sent
   */
  constructor(me, connection, log) {
    super();
    this.#me = me;
    this.#connection = connection;
    this.#log = log;
    this.#orders = new RedPacketOrders(me);
  }

  /** @param {string} packet @returns {Known} */
  of(packet) {
    return this.#known.get(packet) ?? {};
  }

  /** What happened in a conversation, in the order of where it stands. @param {string} conv */
  newsIn(conv) {
    return [...(this.#news.get(conv)?.values() ?? [])].sort((a, b) => a.after - b.after);
  }

  // --- what is known -----------------------------------------------------------------------------------------------

  /** Learns what a packet that is in sight has come to, unless that is known. @param {string} packet */
  want(packet) {
    if (this.#sure.has(packet) || this.#wanted.includes(packet)) return;
    this.#wanted.push(packet);
    this.#askThem();
  }

  /** A message was pushed: where it is new, so is its packet. @param {Entry} entry */
  heard({ ts, body }) {
    if (typeof body?.packet !== "string" || this.#known.has(body.packet) || Math.abs(Date.now() - ts) > NEW_MS) return;
    this.#sure.add(body.packet);
    this.#learn(body.packet, { state: "open" });
  }

  /** There was no connection for a while: pushes are not repeated. */
  doubt() {
    for (const packet of this.#sure) if (isOpen(this.of(packet))) this.#sure.delete(packet);
  }

  async #askThem() {
    if (this.#asking) return;
    this.#asking = true;
    let packet;
    while ((packet = this.#wanted[0])) {
      this.#sure.add(packet);
      try {
        await this.#readDetail(packet, { limit: 1 });
      } catch {
        // It says so when it is opened.
      }
      this.#wanted.shift();
    }
    this.#asking = false;
  }

  /** @param {string} packet @param {Known} facts */
  #learn(packet, facts) {
    const known = this.of(packet);
    const { state: was = "open" } = known;
    this.#known.set(packet, {
      ...known,
      ...facts,
      state: was === "open" ? facts.state ?? known.state : was,
      claimed: Math.max(known.claimed ?? 0, facts.claimed ?? 0),
      count: facts.count ?? known.count,
      amount: facts.amount ?? known.amount,
    });
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} packet @param {{limit: number, cursor?: string}} page @returns {Promise<Detail>} */
  async #readDetail(packet, page) {
    const detail = await this.#connection.request("redpacket", "detail", { packet, ...page });
    const { state, amount, claimed, count } = detail;
    this.#sure.add(packet);
    this.#learn(packet, { state, amount, claimed, count });
    return detail;
  }

  // --- what this user does: each rejects with what the server refused ------------------------------------------------

  /** @param {string} packet @param {string} [cursor] where the next page of claims begins */
  detail(packet, cursor) {
    return this.#readDetail(packet, { limit: CLAIMS_A_PAGE, ...(cursor ? { cursor } : {}) });
  }

  /**
   * Claims a share. Asked twice, because the first reply was lost, it is claimed once.
   * @param {Detail} detail
   * @returns {Promise<number>} the amount
   */
  async claim({ packet, conv, from }) {
    const amount = await this.#claim(packet);
    this.#learn(packet, { amount });
    this.#tell(conv, { key: `own:${packet}`, what: "own", from, users: [] });
    return amount;
  }

  /** @param {string} packet @returns {Promise<number>} */
  async #claim(packet) {
    try {
      return (await this.#connection.request("redpacket", "claim", { packet })).amount;
    } catch (error) {
      if (error.code === "already_claimed" && Number.isInteger(error.amount)) return error.amount;
      if (error.code === "sold_out") this.#learn(packet, { state: "finished" });
      if (error.code === "expired") this.#learn(packet, { state: "expired" });
      if (error.code === "forbidden") this.#learn(packet, { forbidden: true });
      throw error;
    }
  }

  /** @returns {Promise<{balance: number}>} */
  wallet() {
    return this.#connection.request("redpacket", "wallet", {});
  }

  /** @param {string} [cursor] @returns {Promise<{postings: any[], cursor?: string}>} newest first */
  ledger(cursor) {
    return this.#connection.request("redpacket", "ledger", cursor ? { cursor } : {});
  }

  /** @param {"sent"|"received"} which @param {string} [cursor] @returns {Promise<{packets: any[], cursor?: string}>} newest first */
  mine(which, cursor) {
    return this.#connection.request("redpacket", "mine", cursor ? { which, cursor } : { which });
  }

  // --- sending -----------------------------------------------------------------------------------------------------

  /** The packet that is being sent in a conversation, if one is. @param {string} conv */
  orderIn(conv) {
    return this.#orders.of(conv);
  }

  /** @param {string} conv @param {Terms} terms */
  send(conv, terms) {
    return this.#deliver(this.#orders.add(conv, terms));
  }

  /** Asks again for what the server has not confirmed. @param {import("./red-packet-orders.js").Order} order */
  sendAgain(order) {
    this.#orders.mark(order, "sending");
    return this.#deliver(order);
  }

  /** Asks again for what was on its way when the page was left. @returns {{conv: string, done: Promise<void>}[]} */
  resume() {
    return this.#orders.all.map((order) => ({ conv: order.conv, done: this.sendAgain(order) }));
  }

  /** Stops asking. It may have been sent: then its message comes. @param {import("./red-packet-orders.js").Order} order */
  giveUp({ cmid }) {
    this.#orders.remove(cmid);
  }

  /** A message of this user is in the log. @param {string} cmid */
  accepted(cmid) {
    const order = this.#orders.all.find((each) => each.cmid === cmid);
    if (order) this.#sent(order);
  }

  /** @param {import("./red-packet-orders.js").Order} order */
  #sent({ conv, cmid }) {
    if (this.#orders.remove(cmid)) this.dispatchEvent(new CustomEvent("sent", { detail: { conv } }));
  }

  /** @param {import("./red-packet-orders.js").Order} order */
  async #deliver(order) {
    const { conv, cmid, terms } = order;
    try {
      const reply = await this.#connection.request("redpacket", "create", { conv, cmid, ...terms });
      const { packet, seq, n, ts, duplicate } = reply;
      const { kind, greeting, to } = terms;
      this.#sent(order);
      if (!duplicate) this.#sure.add(packet);
      this.#learn(packet, { state: "open", count: terms.count ?? 1 });
      const body = { packet, kind, greeting, ...(to ? { to } : {}) };
      this.#log.sent({ conv, seq, n, kind: "redpacket", from: this.#me, ts, cmid, body }, duplicate === true);
    } catch (error) {
      if (error.code === "closed") return;
      // Refused for good: nothing was sent, and the next attempt is another packet.
      if (!error.retryable) this.#orders.remove(cmid);
      else this.#orders.mark(order, "unknown", error.code);
      throw error;
    }
  }

  // --- what is heard -----------------------------------------------------------------------------------------------

  /** Takes a push. It may come twice. @param {any} data */
  take(data) {
    if (typeof data.packet !== "string" || typeof data.conv !== "string" || !Object.hasOwn(this.#takes, data.event)) return;
    const line = this.#takes[/** @type {"claimed"|"finished"|"refunded"} */ (data.event)](data);
    this.dispatchEvent(new CustomEvent("news", { detail: { ...data, line } }));
  }

  #takes = {
    /** To the sender, and to who claimed it, with the amount. @param {any} data */
    claimed: ({ packet, conv, user, claimed, count, amount }) => {
      if (typeof user !== "string") return null;
      const own = user === this.#me;
      this.#learn(packet, { claimed, count, ...(own ? { amount } : {}) });
      if (own) return null;
      const key = `opened:${packet}`;
      const { users = [] } = this.#news.get(conv)?.get(key) ?? {};
      if (users.includes(user)) return null;
      return this.#tell(conv, { key, what: "opened", users: [...users, user] });
    },
    /** To the sender and all who claimed it. @param {any} data */
    finished: ({ packet, conv, count, best }) => {
      this.#learn(packet, { state: "finished", claimed: count, count });
      const line = this.#news.get(conv)?.get(`opened:${packet}`);
      return line && !line.finished ? this.#tell(conv, { ...line, finished: true, ...(typeof best === "string" ? { best } : {}) }) : null;
    },
    /** To the sender. @param {any} data */
    refunded: ({ packet, conv, amount }) => {
      this.#learn(packet, { state: "expired" });
      const key = `refunded:${packet}`;
      if (this.#news.get(conv)?.has(key) || !Number.isInteger(amount)) return null;
      return this.#tell(conv, { key, what: "refunded", users: [], amount });
    },
  };

  /** @param {string} conv @param {Omit<News, "after">} line @returns {News} */
  #tell(conv, line) {
    const news = this.#news.get(conv) ?? new Map();
    const told = { ...line, after: this.#log.end(conv) };
    news.set(line.key, told);
    this.#news.set(conv, news);
    this.dispatchEvent(new Event("change"));
    return told;
  }
}

/** @param {Known} known */
const isOpen = ({ state }) => state === undefined || state === "open";
