/**
 * Requests that survive lost replies and lost connections: each is sent again until its reply has come (rule 1).
 *
 * Every operation may be repeated without harm, so the same frame goes out again, on the next connection if need be. A
 * request that the server would rather have later is made anew, with another id: a late reply to the first one is no
 * reply to the second.
 */
import { FrameTooLargeError, NoReplyError } from "./errors.js";
import { encodeRequest } from "./frames.js";
import { transmit } from "./outputs.js";

/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./frames.js").Reply} Reply */
/** @typedef {import("./json.js").JsonObject} JsonObject */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./timers.js").Timer} Timer */
/** @typedef {import("./timers.js").Timers} Timers */

/**
 * Told what came of a request, and when: the reply's data, which is empty when there is an error.
 * @typedef {(data: JsonObject, error: ImClientError | null, now: number) => void} Done
 */
/**
 * Makes a request of a route, an operation and data, at a time.
 * @typedef {(route: string, op: string, data: JsonObject, done: Done, now: number) => void} Ask
 */
/**
 * One that has no reply yet.
 *
 * `patient`: it is sent until there is one. `once`: it is of this connection, and is sent once. `paused`: the server
 * would rather have it later.
 * @typedef {object} Request
 * @property {string} route
 * @property {string} op
 * @property {JsonObject} data
 * @property {Done} done
 * @property {boolean} patient
 * @property {boolean} once
 * @property {boolean} paused
 * @property {string} frame
 * @property {number} sends
 * @property {number} refusals
 * @property {Timer | null} timer
 */

/** Those under way. `link` tells which connection is open; `doubt` is called when a reply is late. */
export class Requests {
  framesResent = 0;
  #settings;
  #timers;
  #out;
  #draw;
  #link;
  #doubt;
  /** @type {Map<string, Request>} */
  #pending = new Map();
  #last = 0;

  /**
   * @param {Readonly<Settings>} settings
   * @param {Timers} timers
   * @param {(output: Output) => void} out
   * @param {(below: number) => number} draw
   * @param {() => number | null} link
   * @param {(now: number) => void} doubt
   */
  constructor(settings, timers, out, draw, link, doubt) {
    this.#settings = settings;
    this.#timers = timers;
    this.#out = out;
    this.#draw = draw;
    this.#link = link;
    this.#doubt = doubt;
  }

  /**
   * Make a request; it goes out when there is a connection. Returns its first id.
   * @param {string} route
   * @param {string} op
   * @param {JsonObject} data
   * @param {Done} done
   * @param {number} now
   * @param {{patient?: boolean}} [how]
   * @returns {string}
   */
  make(route, op, data, done, now, { patient = false } = {}) {
    return this.#issue(newRequest(route, op, data, done, patient, false), now);
  }

  /**
   * Ask over the connection that is open; without a reply from it, nothing comes of that.
   * @param {string} route
   * @param {string} op
   * @param {Done} done
   * @param {number} now
   */
  askOnce(route, op, done, now) {
    this.#issue(newRequest(route, op, {}, done, false, true), now);
  }

  /**
   * A reply has come; false when nobody waits for it, as for the second reply to a frame that was sent twice.
   * @param {Reply} reply
   * @param {number} now
   * @returns {boolean}
   */
  answered(reply, now) {
    const request = this.#pending.get(reply.id);
    if (request === undefined) return false;
    this.#pending.delete(reply.id);
    this.#stop(request);
    const error = reply.error;
    if (error === null) {
      request.done(reply.data, null, now);
      return true;
    }
    if (!error.retryable || request.once || request.refusals + 1 >= this.#settings.tries) {
      request.done({}, error, now);
      return true;
    }
    const wait = error.retryAfterMs ?? this.#backoff(request.refusals);
    request.refusals += 1;
    request.paused = true;
    // It keeps its old id until then, so that it is not lost from sight; no frame goes out under it any more.
    this.#pending.set(reply.id, request);
    request.timer = this.#timers.at(now + wait, (at) => this.#anew(reply.id, at));
    return true;
  }

  /**
   * There is a connection: what waits for one goes out, in its order.
   * @param {number} now
   */
  opened(now) {
    for (const [key, request] of [...this.#pending]) {
      if (request.timer === null) this.#transmit(key, now);
    }
  }

  /** The connection is gone; what waits for a reply waits for the next one. */
  lost() {
    for (const [key, request] of [...this.#pending]) {
      if (request.once) {
        this.#pending.delete(key);
        this.#stop(request);
      } else if (!request.paused) {
        this.#stop(request);
      }
    }
  }

  /**
   * There will be no connection any more.
   * @param {ImClientError} error
   * @param {number} now
   */
  end(error, now) {
    const pending = this.#pending;
    this.#pending = new Map();
    for (const request of pending.values()) {
      this.#stop(request);
      request.done({}, error, now);
    }
  }

  /**
   * @param {Request} request
   * @param {number} now
   * @returns {string}
   */
  #issue(request, now) {
    this.#last += 1;
    const key = `r${this.#last}`;
    request.sends = 0;
    try {
      request.frame = encodeRequest(request.route, request.op, key, request.data);
    } catch (error) {
      if (!(error instanceof FrameTooLargeError)) throw error;
      request.done({}, error, now);
      return key;
    }
    this.#pending.set(key, request);
    this.#transmit(key, now);
    return key;
  }

  /**
   * @param {string} key
   * @param {number} now
   */
  #anew(key, now) {
    const request = this.#known(key);
    this.#pending.delete(key);
    request.timer = null;
    request.paused = false;
    this.#issue(request, now);
  }

  /**
   * @param {string} key
   * @param {number} now
   */
  #transmit(key, now) {
    const link = this.#link();
    const request = this.#known(key);
    if (link === null) return;
    if (request.sends > 0) this.framesResent += 1;
    request.sends += 1;
    if (!request.once) {
      request.timer = this.#timers.at(now + this.#settings.reply, (at) => this.#late(key, at));
    }
    this.#out(transmit(link, request.frame));
  }

  /**
   * @param {string} key
   * @param {number} now
   */
  #late(key, now) {
    const request = this.#known(key);
    request.timer = null;
    if (request.sends >= this.#settings.sends && !request.patient) {
      this.#pending.delete(key);
      request.done({}, new NoReplyError(request.route, request.op, request.sends), now);
    } else {
      this.#transmit(key, now);
    }
    this.#doubt(now);
  }

  /** @param {string} key */
  #known(key) {
    return /** @type {Request} */ (this.#pending.get(key));
  }

  /** @param {number} attempt */
  #backoff(attempt) {
    const { backoffFirst, backoffLongest } = this.#settings;
    return this.#draw(Math.min(backoffLongest, backoffFirst * 2 ** Math.min(attempt, 20)));
  }

  /** @param {Request} request */
  #stop(request) {
    if (request.timer !== null) {
      request.timer.cancel();
      request.timer = null;
    }
  }
}

/**
 * @param {string} route
 * @param {string} op
 * @param {JsonObject} data
 * @param {Done} done
 * @param {boolean} patient
 * @param {boolean} once
 * @returns {Request}
 */
function newRequest(route, op, data, done, patient, once) {
  return { route, op, data, done, patient, once, paused: false, frame: "", sends: 0, refusals: 0, timer: null };
}
