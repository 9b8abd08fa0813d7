/**
 * What a session keeps, in IndexedDB: one database for each user and device.
 *
 * Several tabs may have it open. What is kept belongs to the one that loaded it last (as does the connection of a
 * device: the newer one wins): of another one, only the messages that are typed after that are kept still, so that
 * nothing that was said is lost and nothing that was sent is sent again. It is told so, once (`taken`).
 */
import { StoreTakenError } from "./core/errors.js";
import { MemoryStore } from "./store-memory.js";
import { uuid } from "./uuid.js";

/** @typedef {import("./core/json.js").JsonObject} JsonObject */
/** @typedef {import("./core/machine.js").Kept} Kept */
/** @typedef {import("./core/outputs.js").Change} Change */

/**
 * Something about the store that a person may have to know. `memory`: nothing will outlive the page (private mode, a
 * newer schema, …); `failed`: a write failed, and is tried again together with the next ones; `slow`: a write takes
 * long, and what follows was done before it; `taken`: another session has taken the store over, or it was wiped.
 * @typedef {{what: "memory" | "failed" | "slow" | "taken", error: unknown}} StoreProblem
 */

const SCHEMA = 1;
const TABLES = ["meta", "rows", "logs", "reads", "deleted", "outbox", "entries"];
/** Names of errors that no second try mends. */
const UNFIT = new Set(["DataError", "DataCloneError"]);
const OPEN_PATIENCE_MS = 5_000;
const RETRY_FIRST_MS = 1_000;
const RETRY_LONGEST_MS = 60_000;

export class IndexedDbStore {
  #name;
  #factory;
  /** @type {IDBDatabase | null} */
  #db = null;
  /** @type {MemoryStore | null} instead, where there is no IndexedDB */
  #memory = null;
  /** Who has loaded it. */
  #owner = uuid();
  #taken = false;
  #closed = false;
  /** @type {(problem: StoreProblem) => void} */
  #tell = () => {};
  /** @type {Change[]} */
  #unsaved = [];
  /** @type {Promise<void> | null} */
  #writing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  #retryAfter = RETRY_FIRST_MS;
  /** @type {Map<string, number>} of each message that this store was told of: its place among them */
  #places = new Map();
  #lastPlace = 0;
  /** @type {Set<string>} messages that were said after the store was taken */
  #said = new Set();

  /** @param {{name: string, indexedDB?: IDBFactory}} how */
  constructor({ name, indexedDB = globalThis.indexedDB }) {
    this.#name = name;
    this.#factory = indexedDB;
  }

  /**
   * Let `tell` know of problems.
   * @param {(problem: StoreProblem) => void} tell
   */
  listen(tell) {
    this.#tell = tell;
  }

  /**
   * What was kept. From now on it is this store's.
   * @returns {Promise<Kept>}
   */
  async load() {
    if (this.#memory !== null) return this.#memory.load();
    this.#closed = false;
    try {
      this.#db ??= await this.#open();
      this.#taken = false;
      this.#said.clear();
      return await this.#load(this.#db);
    } catch (error) {
      return this.#forget(error).load();
    }
  }

  /**
   * Keep all of this, or nothing of it. What could not be kept is tried again, before what comes later.
   * @param {Change[]} changes
   * @returns {Promise<void> | void} rejects when it could not be kept this time
   */
  apply(changes) {
    if (this.#memory !== null) return this.#memory.apply(changes);
    if (this.#closed) return undefined;
    for (const { table, key, value } of changes) {
      if (table === "outbox" && value !== null && !this.#places.has(key)) {
        this.#lastPlace += 1;
        this.#places.set(key, this.#lastPlace);
        if (this.#taken) this.#said.add(key);
      }
    }
    this.#unsaved.push(...changes);
    return this.#save();
  }

  /**
   * Entries of a conversation as they are on the wire, those with the highest seqs below `before` first.
   * @param {string} conv
   * @param {{before?: number, limit?: number}} [range]
   * @returns {Promise<JsonObject[]>}
   */
  async entries(conv, { before = Infinity, limit = 50 } = {}) {
    if (this.#memory !== null) return this.#memory.entries(conv, { before, limit });
    const db = (this.#db ??= await this.#open());
    return new Promise((resolve, reject) => {
      /** @type {JsonObject[]} */
      const found = [];
      const range = IDBKeyRange.bound([conv], [conv, before], false, true);
      const request = db.transaction("entries").objectStore("entries").openCursor(range, "prev");
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (cursor === null || found.length >= limit) {
          resolve(found);
        } else {
          found.push(cursor.value);
          cursor.continue();
        }
      };
    });
  }

  /** Try once more to keep what is not kept yet, and let go of the database. */
  async close() {
    clearTimeout(this.#retry);
    try {
      await this.#save();
    } catch {
      // told already
    }
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#db?.close();
    this.#db = null;
  }

  // ---- opening

  /** @returns {Promise<IDBDatabase>} */
  #open() {
    return new Promise((resolve, reject) => {
      if (this.#factory === undefined || this.#factory === null) {
        throw new DOMException("there is no IndexedDB", "NotSupportedError");
      }
      const request = this.#factory.open(this.#name, SCHEMA); // throws where it is forbidden
      let late = false;
      const patience = setTimeout(() => {
        late = true;
        reject(new DOMException("the database does not open", "TimeoutError"));
      }, OPEN_PATIENCE_MS);
      request.onupgradeneeded = ({ oldVersion }) => upgrade(request.result, oldVersion);
      request.onerror = () => {
        clearTimeout(patience);
        reject(request.error);
      };
      request.onsuccess = () => {
        clearTimeout(patience);
        const db = request.result;
        if (late) {
          db.close();
          return;
        }
        // Another tab has a newer schema, or deletes it all; or the browser does. What is there then is not ours.
        db.onversionchange = () => this.#letGo(db);
        db.onclose = () => this.#letGo(db);
        resolve(db);
      };
    });
  }

  /** @param {IDBDatabase} db */
  #letGo(db) {
    db.close();
    if (this.#db === db) this.#db = null;
  }

  /**
   * Go on in memory.
   * @param {unknown} error
   * @returns {MemoryStore}
   */
  #forget(error) {
    this.#memory ??= new MemoryStore();
    this.#tell({ what: "memory", error });
    return this.#memory;
  }

  // ---- reading

  /**
   * @param {IDBDatabase} db
   * @returns {Promise<Kept>}
   */
  async #load(db) {
    const transaction = db.transaction(TABLES, "readwrite");
    const done = completed(transaction);
    const table = (/** @type {string} */ name) => transaction.objectStore(name);
    table("meta").put(this.#owner, "owner");
    const inbox = result(table("meta").get("inbox"));
    const pairs = ["rows", "logs", "reads", "deleted"].map((name) =>
      Promise.all([result(table(name).getAllKeys()), result(table(name).getAll())]),
    );
    const outbox = result(table("outbox").getAll());
    const [rows, logs, reads, deleted] = (await Promise.all(pairs)).map(([keys, values]) =>
      keys.map((key, at) => /** @type {[string, any]} */ ([String(key), values[at]])),
    );
    const above = await Promise.all(
      logs.map(async ([conv, { watermark }]) => {
        const keys = await result(table("entries").getAllKeys(IDBKeyRange.bound([conv, watermark], [conv, []], true)));
        return /** @type {[string, number[]]} */ ([conv, keys.map((key) => /** @type {any} */ (key)[1])]);
      }),
    );
    const said = (await outbox).sort((one, other) => one.place - other.place);
    for (const { place, item } of said) {
      this.#places.set(item.cmid, place);
      this.#lastPlace = Math.max(this.#lastPlace, place);
    }
    const value = (await inbox)?.value ?? null;
    await done;
    return { inbox: value, rows, logs, above: new Map(above), reads, deleted, outbox: said.map(({ item }) => item) };
  }

  // ---- writing

  /** One write at a time: a later one must not be overwritten by an earlier one that is tried again. */
  #save() {
    this.#writing ??= this.#saveAll().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #saveAll() {
    clearTimeout(this.#retry);
    while (this.#unsaved.length > 0) {
      const changes = this.#unsaved;
      this.#unsaved = [];
      try {
        this.#db ??= await this.#open();
        await this.#write(this.#db, changes);
        this.#retryAfter = RETRY_FIRST_MS;
      } catch (error) {
        this.#unsaved = newest([...changes, ...this.#unsaved]);
        this.#retryLater();
        this.#tell({ what: "failed", error });
        throw error;
      }
    }
  }

  #retryLater() {
    if (this.#closed) return;
    this.#retry = setTimeout(() => this.#save().catch(() => {}), this.#retryAfter);
    this.#retryAfter = Math.min(2 * this.#retryAfter, RETRY_LONGEST_MS);
  }

  /**
   * @param {IDBDatabase} db
   * @param {Change[]} changes
   * @returns {Promise<void>}
   */
  async #write(db, changes) {
    const transaction = db.transaction(TABLES, "readwrite");
    const done = completed(transaction);
    /** @type {unknown} */
    let wrong = null;
    const owner = transaction.objectStore("meta").get("owner");
    owner.onsuccess = () => {
      try {
        const mine = owner.result === this.#owner;
        if (!mine) this.#isTaken();
        for (const change of changes) {
          if (mine || (change.table === "outbox" && this.#said.has(change.key))) this.#tryPut(transaction, change);
        }
      } catch (error) {
        wrong = error;
        transaction.abort();
      }
    };
    try {
      await done;
    } catch (error) {
      throw wrong ?? error;
    }
  }

  #isTaken() {
    if (!this.#taken) {
      this.#taken = true;
      this.#tell({ what: "taken", error: new StoreTakenError() });
    }
  }

  /**
   * What no database could ever keep is left out: all that comes later would wait for it.
   * @param {IDBTransaction} transaction
   * @param {Change} change
   */
  #tryPut(transaction, change) {
    try {
      this.#put(transaction, change);
    } catch (error) {
      if (!(error instanceof DOMException) || !UNFIT.has(error.name)) throw error;
      this.#tell({ what: "failed", error });
    }
  }

  /**
   * @param {IDBTransaction} transaction
   * @param {Change} change
   */
  #put(transaction, { table: name, key, value, seq }) {
    const table = transaction.objectStore(name);
    if (name === "entries") {
      if (seq === null) {
        table.delete(IDBKeyRange.bound([key], [key, []]));
      } else {
        table.put(value, [key, seq]);
      }
    } else if (value === null) {
      table.delete(key);
    } else {
      table.put(name === "outbox" ? { place: this.#places.get(key), item: value } : value, key);
    }
  }
}

/**
 * @param {IDBDatabase} db
 * @param {number} from the schema that is there; 0 for none
 */
function upgrade(db, from) {
  if (from < 1) {
    for (const name of TABLES) db.createObjectStore(name);
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>}
 */
function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new DOMException("the write was given up", "AbortError"));
  });
}

/**
 * Changes without those that later ones have made void.
 * @param {Change[]} changes
 * @returns {Change[]}
 */
function newest(changes) {
  /** @type {Map<string, Change>} */
  const kept = new Map();
  for (const change of changes) {
    if (change.table === "entries" && change.seq === null) {
      for (const [name, { table, key }] of kept) {
        if (table === "entries" && key === change.key) kept.delete(name);
      }
    }
    const name = JSON.stringify([change.table, change.key, change.seq]);
    kept.delete(name);
    kept.set(name, change);
  }
  return [...kept.values()];
}
