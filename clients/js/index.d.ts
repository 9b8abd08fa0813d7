/** Types of the package `serverless-im`. The protocol (docs/protocol.md) tells what the fields mean. */

/** A value that came as a JSON object: data, of which nothing is taken for granted. */
export type JsonObject = Record<string, any>;

/** One entry of a conversation's log. */
export interface Entry {
  readonly conv: string;
  readonly seq: number;
  /** Count of countable entries up to and including this one. */
  readonly n: number;
  readonly kind: string;
  /** The field `from`; empty for a notice of the system itself. */
  readonly sender: string;
  /** Milliseconds since the epoch. */
  readonly ts: number;
  readonly body: JsonObject;
  readonly cmid: string | null;
  readonly mentions: readonly string[];
  /** The seq of the message that it answers. */
  readonly replyTo: number | null;
  /** Whether it counts as unread for those who have not read it. */
  readonly countable: boolean;
  /** Seq of the newest change that is in it, 0 for none. */
  readonly changed: number;
  readonly edited: boolean;
  readonly recalledBy: string | null;
  /** How many there are of each emoji. */
  readonly reactions: ReadonlyMap<string, number>;
  readonly pinned: boolean;
  /** The start of the message that it answers. */
  readonly quoted: string | null;
  readonly forwardedFrom: string | null;
  /** All of it, as it came. */
  readonly wire: JsonObject;
}

export interface Glimpse {
  seq: number;
  kind: string;
  from: string;
  ts: number;
  preview: string;
  recalled?: boolean;
  changed?: number;
}

/** A row of the conversation list, as it is on the wire. Another server may leave out all but `conv` and `last_seq`. */
export interface Row {
  readonly conv: string;
  readonly last_seq: number;
  readonly last_n?: number;
  readonly last?: Glimpse | null;
  readonly unread?: number;
  readonly read_seq?: number;
  readonly read_n?: number;
  readonly ack_seq?: number;
  readonly mention_seq?: number;
  readonly muted?: boolean;
  readonly pinned?: boolean;
  readonly draft?: string;
  readonly hidden?: boolean;
  readonly rev?: number;
  readonly deleted?: number;
  readonly at?: number;
  readonly updated?: number;
  readonly left_seq?: number;
  readonly [name: string]: any;
}

/** A message that is to be sent, with what has become of it. */
export interface Item {
  readonly cmid: string;
  readonly conv: string;
  readonly kind: string;
  readonly body: JsonObject;
  readonly mentions?: readonly string[];
  readonly reply_to?: number;
  /** When it was said, in milliseconds since the epoch. */
  readonly ts: number;
  readonly state: "queued" | "sending" | "failed" | "sent" | "discarded";
  /** Of a failed one. */
  readonly code?: string;
  readonly retry_after_ms?: number;
  /** Of one that is sent. */
  readonly seq?: number;
  readonly duplicate?: boolean;
}

export type StateName = "connecting" | "online" | "waiting" | "ended";
export type SourceName = "push" | "reply" | "fetch" | "older";
export declare const State: Readonly<{ CONNECTING: "connecting"; ONLINE: "online"; WAITING: "waiting"; ENDED: "ended" }>;
export declare const Source: Readonly<{ PUSH: "push"; REPLY: "reply"; FETCH: "fetch"; OLDER: "older" }>;

/** The connection has opened, is lost, or will stay away (`why`: `kicked`, `refused` or `stopped`). */
export interface StateEvent {
  type: "state";
  state: StateName;
  why: string;
  error: ImClientError | null;
}
/** An entry has come; `new` is false for a duplicate. */
export interface EntryEvent {
  type: "entry";
  entry: Entry;
  source: SourceName;
  new: boolean;
}
/** A page was fetched. Below `restarted`, when it is not null, everything was forgotten, to be loaded anew. */
export interface SettledEvent {
  type: "settled";
  conv: string;
  restarted: number | null;
}
/** A row of the conversation list, as it is now. */
export interface RowEvent {
  type: "row";
  row: Row;
}
/** The user has deleted something of a conversation for themself: see `Session.deleted`. */
export interface DeletedEvent {
  type: "deleted";
  conv: string;
}
/** What has become of a message that is to be sent. */
export interface OutgoingEvent {
  type: "outgoing";
  item: Item;
  error: ImClientError | null;
}
/** A push that only a program knows what to do with: `typing`, `read`, `delivered`, `redpacket`, `privacy`, … */
export interface PushEvent {
  type: "push";
  name: string;
  data: JsonObject;
}
/** Something for a person who looks for a fault. */
export interface NotedEvent {
  type: "noted";
  text: string;
}
/**
 * Something about the store. `memory`: nothing will outlive the page; `failed`: a write failed, and is tried again;
 * `slow`: what follows was done before a write; `taken`: another session keeps it now, or it was wiped.
 */
export interface StoreEvent {
  type: "store";
  what: "memory" | "failed" | "slow" | "taken";
  error: unknown;
}

export interface EventsByName {
  state: StateEvent;
  entry: EntryEvent;
  settled: SettledEvent;
  row: RowEvent;
  deleted: DeletedEvent;
  outgoing: OutgoingEvent;
  push: PushEvent;
  noted: NotedEvent;
  store: StoreEvent;
}
export type SessionEvent = EventsByName[keyof EventsByName];

/** One row of what is kept: put there, or, with null for a `value`, no longer there. */
export interface Change {
  readonly table: "meta" | "rows" | "logs" | "reads" | "deleted" | "outbox" | "entries";
  /** `meta`: a name; `outbox`: a cmid; of all others the conversation. */
  readonly key: string;
  readonly value: JsonObject | null;
  /** Of `entries`. null: all entries of the conversation. */
  readonly seq: number | null;
}

/** What was saved before: the rows of each table, and of each conversation the seqs above its watermark. */
export interface Kept {
  readonly inbox: unknown;
  readonly rows: Iterable<[string, Row]>;
  readonly logs: Iterable<[string, JsonObject]>;
  readonly above: Map<string, Iterable<number>>;
  readonly reads: Iterable<[string, JsonObject]>;
  readonly deleted: Iterable<[string, JsonObject]>;
  /** In the order in which they were said. */
  readonly outbox: Iterable<Item>;
}

export interface StoreProblem {
  what: StoreEvent["what"];
  error: unknown;
}

/** What is to outlive a session: of one user on one device. */
export interface Store {
  /** Let `tell` know of problems. */
  listen(tell: (problem: StoreProblem) => void): void;
  load(): Kept | Promise<Kept>;
  /** Keep all of this, in this order, or nothing of it. Gives nothing when that is done already. */
  apply(changes: Change[]): void | Promise<void>;
  /** Entries as they are on the wire, those with the highest seqs below `before` first. */
  entries(conv: string, range?: { before?: number; limit?: number }): Promise<JsonObject[]>;
  close(): Promise<void>;
}

export declare class MemoryStore implements Store {
  listen(tell?: (problem: StoreProblem) => void): void;
  load(): Kept;
  apply(changes: Change[]): void;
  entries(conv: string, range?: { before?: number; limit?: number }): Promise<JsonObject[]>;
  close(): Promise<void>;
}

export declare class IndexedDbStore implements Store {
  constructor(how: { name: string; indexedDB?: IDBFactory | null });
  listen(tell: (problem: StoreProblem) => void): void;
  load(): Promise<Kept>;
  apply(changes: Change[]): void | Promise<void>;
  entries(conv: string, range?: { before?: number; limit?: number }): Promise<JsonObject[]>;
  close(): Promise<void>;
}

/** Every wait and limit of a client; times are in milliseconds. */
export interface Settings {
  backlog: number | null;
  acknowledges: boolean;
  stores: boolean;
  reply: number;
  sends: number;
  tries: number;
  dial: number;
  hole: number;
  holeLongest: number;
  passedOver: number;
  acknowledge: number;
  read: number;
  inbox: number;
  inboxUnknown: number;
  inboxRetry: number;
  pingEvery: number;
  pingDeadline: number;
  late: number;
  backoffFirst: number;
  backoffLongest: number;
  stable: number;
  renew: number;
  renewSpread: number;
}
export declare const DEFAULT_SETTINGS: Readonly<Settings>;
export declare function makeSettings(others?: Partial<Settings>): Readonly<Settings>;

/** The entries of one conversation that are in memory, and which ones are missing. */
export interface Transcript {
  readonly conv: string;
  readonly floor: number;
  readonly watermark: number;
  readonly horizon: number;
  readonly complete: boolean;
  readonly size: number;
  has(seq: number): boolean;
  holds(seq: number): boolean;
  get(seq: number): Entry | undefined;
  missing(upTo?: number | null): { first: number; last: number }[];
  entries(): Entry[];
}

export interface SessionOptions {
  /** `wss://…`, without the protocol's own query. */
  url: string;
  user: string;
  /** The client's own stable id, the same one as long as `store` is the same. */
  device: string;
  /** Gives a token; one that was not used yet when `fresh` is asked for. */
  token: (how: { fresh: boolean }) => string | Promise<string>;
  platform?: "web" | "ios" | "android" | "desktop" | "other";
  store?: Store;
  settings?: Partial<Settings>;
  /** A class with the interface that browsers have, for where there is none. */
  WebSocket?: new (url: string) => any;
  /** Told what a handler of events has thrown. */
  onHandlerError?: (error: unknown) => void;
  /** Milliseconds that never go back. */
  clock?: () => number;
  /** From 0 to below 1. */
  random?: () => number;
}

export interface MessageOptions {
  kind?: string;
  mentions?: string[];
  replyTo?: number;
  cmid?: string;
}

/** One user on one device. */
export declare class Session implements AsyncIterable<SessionEvent> {
  constructor(options: SessionOptions);
  readonly user: string;
  readonly state: StateName;
  readonly ended: ImClientError | null;
  readonly rows: ReadonlyMap<string, Row>;
  readonly transcripts: ReadonlyMap<string, Transcript>;
  readonly outbox: ReadonlyMap<string, Item>;
  readonly deleted: ReadonlyMap<string, JsonObject>;
  start(): Promise<void>;
  close(): Promise<void>;
  call(route: string, op: string, data?: JsonObject): Promise<JsonObject>;
  send(conv: string, body: string | JsonObject, more?: MessageOptions): Promise<Entry>;
  post(conv: string, body: string | JsonObject, more?: MessageOptions): string;
  retry(cmid: string): void;
  discard(cmid: string): void;
  edit(conv: string, seq: number, body: string | JsonObject): Promise<number>;
  recall(conv: string, seq: number): Promise<number>;
  react(conv: string, seq: number, emoji: string, on?: boolean): Promise<number>;
  pin(conv: string, seq: number, on?: boolean): Promise<number>;
  delete(conv: string, which: { seqs: number[] } | { upTo: number }): Promise<void>;
  setRow(conv: string, settings: { muted?: boolean; pinned?: boolean; draft?: string; hidden?: boolean }): Promise<JsonObject>;
  read(conv: string, seq: number): void;
  older(conv: string, limit?: number): Promise<boolean>;
  history(conv: string, range?: { before?: number; limit?: number }): Promise<Entry[]>;
  expect(conv: string, lastSeq: number): void;
  refresh(): Promise<void>;
  on<Name extends keyof EventsByName>(name: Name, handler: (event: EventsByName[Name]) => void): () => void;
  on(name: "*", handler: (event: SessionEvent) => void): () => void;
  events(): AsyncIterableIterator<SessionEvent>;
  [Symbol.asyncIterator](): AsyncIterableIterator<SessionEvent>;
}

/** The root of every error that this package raises on purpose. Choose by `code`. */
export declare class ImClientError extends Error {
  constructor(message: string, code: string);
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number | null;
  /** What the caller has of a red packet already (`already_claimed`). */
  readonly amount: number | null;
}
/** `too_large`. `size` and `limit` are in bytes. */
export declare class FrameTooLargeError extends ImClientError {
  readonly size: number;
  readonly limit: number;
}
/** `malformed`. */
export declare class MalformedEntryError extends ImClientError {}
/** `refused`. */
export declare class UpgradeRefusedError extends ImClientError {
  readonly status: number;
}
/** `kicked`, `stopped` or `lost`. */
export declare class ConnectionLostError extends ImClientError {
  readonly closeCode: number | null;
  readonly kicked: string | null;
}
/** `no_reply`. */
export declare class NoReplyError extends ImClientError {
  readonly route: string;
  readonly op: string;
  readonly sent: number;
}
/** One of the protocol's codes. */
export declare class ReplyError extends ImClientError {
  readonly said: string;
}
/** `store_taken`. */
export declare class StoreTakenError extends ImClientError {}
/** `too_slow`. */
export declare class TooSlowError extends ImClientError {}

export declare const PROTOCOL_VERSION: 1;
export declare const COUNTABLE_KINDS: ReadonlySet<string>;
export declare const CHANGE_KINDS: ReadonlySet<string>;
export declare function readEntry(wire: unknown): Entry;
export declare function previewOf(kind: string, body: JsonObject): string;
export declare function directConversation(one: string, other: string): string;
export declare function peerIn(conv: string, user: string): string | null;
export declare function connectionUrl(url: string, query: { token: string; device: string; platform: string }): string;

/** The client without I/O, for another shell: see src/core/machine.js. */
export declare class Machine {
  constructor(user: string, settings: Readonly<Settings>, draw: (below: number) => number, kept?: Kept | null);
  readonly user: string;
  readonly settings: Readonly<Settings>;
  readonly messagesIgnored: number;
  readonly nextWake: number | null;
  readonly state: StateName;
  readonly ended: ImClientError | null;
  readonly transcripts: ReadonlyMap<string, Transcript>;
  readonly rows: ReadonlyMap<string, Row>;
  outputs(): Output[];
  start(now: number): void;
  stop(now: number): void;
  opened(link: number, now: number): void;
  failed(link: number, status: number | null, now: number): void;
  closed(link: number, code: number | null, now: number): void;
  received(link: number, message: unknown, now: number): void;
  wake(now: number): void;
  network(now: number, online: boolean): void;
  resumed(now: number): void;
  call(route: string, op: string, data: JsonObject, now: number): number;
  send(item: Omit<Item, "state">, now: number): void;
  change(conv: string, op: string, data: JsonObject, cmid: string, now: number): number;
  retry(cmid: string, now: number): void;
  discard(cmid: string): void;
  read(conv: string, seq: number, now: number): void;
  expect(conv: string, lastSeq: number, now: number): void;
  older(conv: string, limit: number, now: number): boolean;
  refresh(now: number): number;
  leave(now: number): number;
}
export type Output =
  | { type: "dial"; link: number; fresh: boolean }
  | { type: "transmit"; link: number; frame: string }
  | { type: "hangup"; link: number }
  | { type: "save"; changes: Change[] }
  | { type: "answer"; call: number; data: JsonObject | null; error: ImClientError | null }
  | StateEvent
  | EntryEvent
  | SettledEvent
  | RowEvent
  | DeletedEvent
  | OutgoingEvent
  | PushEvent
  | NotedEvent;
