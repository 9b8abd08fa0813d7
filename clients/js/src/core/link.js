/**
 * One connection after another: opened, kept alive, renewed before its end, opened again after its loss.
 *
 * Rule 4 of the protocol: full-jitter backoff from 0.5 s to 30 s; a ping every four minutes, idle or busy, and at once
 * when a connection may be dead; a new connection before the two hours are over, beside the old one: there is no gap.
 */
import { ConnectionLostError, UpgradeRefusedError } from "./errors.js";
import { State, dial, hangup, stateChanged } from "./outputs.js";

/** @typedef {import("./errors.js").ImClientError} ImClientError */
/** @typedef {import("./outputs.js").Output} Output */
/** @typedef {import("./outputs.js").StateName} StateName */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./timers.js").Then} Then */
/** @typedef {import("./timers.js").Timer} Timer */
/** @typedef {import("./timers.js").Timers} Timers */

/**
 * What the rest of the machine does about connections.
 * @typedef {{opened: Then, lost: () => void, ended: (error: ImClientError) => void, ping: Then}} Hooks
 */

const REFUSED = new Set([401, 403]);

/** Which connection is in use. A link is a connection's number: one that is not in use any more is not heard. */
export class Link {
  /** @type {number | null} */
  current = null;
  /** @type {StateName} */
  state = State.ENDED;
  #settings;
  #timers;
  #out;
  #draw;
  #hooks;
  /** @type {number | null} */
  #dialing = null;
  #fresh = false;
  #last = 0;
  #leaving = false;
  #attempt = 0;
  #openedAt = 0;
  /** @type {Map<string, Timer>} */
  #waits = new Map();

  /**
   * @param {Readonly<Settings>} settings
   * @param {Timers} timers
   * @param {(output: Output) => void} out
   * @param {(below: number) => number} draw
   * @param {Hooks} hooks
   */
  constructor(settings, timers, out, draw, hooks) {
    this.#settings = settings;
    this.#timers = timers;
    this.#out = out;
    this.#draw = draw;
    this.#hooks = hooks;
  }

  // ---- what its owner says

  /**
   * Connect. Also after an end.
   * @param {number} now
   */
  start(now) {
    if (this.state === State.ENDED) {
      this.#leaving = false;
      this.#attempt = 0;
      this.#dial(now);
    }
  }

  /** Stay away once this connection is lost: the next one of this device may be there already. */
  leave() {
    this.#leaving = true;
    if (this.current === null) this.stop();
  }

  /** Stay away from now on. */
  stop() {
    this.#end("stopped", new ConnectionLostError({ stopped: true }));
  }

  /**
   * A connection is open. One that nobody waits for any more is closed again.
   * @param {number} link
   * @param {number} now
   */
  opened(link, now) {
    if (link !== this.#dialing) {
      this.#out(hangup(link));
      return;
    }
    const old = this.current;
    this.#dialing = null;
    this.current = link;
    this.#cancel("dial", "retry", "pong");
    this.#openedAt = now;
    if (old !== null) {
      this.#hooks.lost();
      this.#out(hangup(old));
    }
    const { pingEvery, renew, renewSpread } = this.#settings;
    this.#wait("ping", now + pingEvery, (at) => this.#keepAlive(at));
    this.#wait("renew", now + renew - this.#draw(renewSpread), (at) => this.#renew(at));
    this.#is(State.ONLINE);
    this.#hooks.opened(now);
  }

  /**
   * A connection could not be opened: refused with an HTTP status, or not reached at all.
   * @param {number} link
   * @param {number | null} status
   * @param {number} now
   */
  failed(link, status, now) {
    if (link !== this.#dialing) return;
    this.#dialing = null;
    this.#cancel("dial");
    const refused = status !== null && REFUSED.has(status);
    if (refused && !this.#fresh) {
      this.#dial(now, true); // the token may have run out
    } else if (refused && this.current === null) {
      this.#end("refused", new UpgradeRefusedError(status));
    } else if (this.current === null) {
      this.#retry(now);
    } else {
      this.#wait("renew", now + this.#backoff(), (at) => this.#renew(at));
    }
  }

  /**
   * A connection is closed, by whomever.
   * @param {number} link
   * @param {number | null} code
   * @param {number} now
   */
  closed(link, code, now) {
    if (link === this.#dialing) {
      this.failed(link, null, now);
    } else if (link === this.current) {
      this.#lost(now, new ConnectionLostError({ closeCode: code }));
    }
  }

  /**
   * The server ends a connection, and says why: its client stays away (rule 4).
   *
   * While a connection is being opened, it is that one which has replaced this.
   * @param {number} link
   * @param {string} reason
   */
  kicked(link, reason) {
    if (link !== this.current) return;
    if (this.#dialing !== null && reason === "replaced") {
      this.#drop(link);
      this.#is(State.CONNECTING);
    } else {
      this.#out(hangup(link));
      this.#end("kicked", new ConnectionLostError({ kicked: reason }));
    }
  }

  /**
   * The machine's network has come or gone, as far as the machine can tell.
   * @param {number} now
   * @param {boolean} online
   */
  network(now, online) {
    if (online && this.state === State.WAITING) {
      this.#cancel("retry");
      this.#attempt = 0;
      this.#dial(now);
    } else {
      this.verify(now);
    }
  }

  // ---- what the rest of the machine says

  /**
   * Find out whether the connection is alive: without a pong within 10 s it is not.
   * @param {number} now
   */
  verify(now) {
    if (this.current !== null && !this.#waits.has("pong")) {
      this.#wait("pong", now + this.#settings.pingDeadline, (at) => this.#dead(at));
      this.#wait("ping", now + this.#settings.pingEvery, (at) => this.#keepAlive(at));
      this.#hooks.ping(now);
    }
  }

  /** A ping was answered, in whatever way. */
  alive() {
    this.#cancel("pong");
  }

  // ---- how

  /**
   * @param {number} now
   * @param {boolean} [fresh]
   */
  #dial(now, fresh = false) {
    this.#last += 1;
    this.#dialing = this.#last;
    this.#fresh = fresh;
    this.#wait("dial", now + this.#settings.dial, (at) => this.#giveUp(at));
    this.#out(dial(this.#last, fresh));
    if (this.current === null) this.#is(State.CONNECTING);
  }

  /** @param {number} now */
  #giveUp(now) {
    if (this.#dialing !== null) {
      this.#out(hangup(this.#dialing));
      this.failed(this.#dialing, null, now);
    }
  }

  /** @param {number} now */
  #keepAlive(now) {
    this.verify(now);
  }

  /** @param {number} now */
  #renew(now) {
    if (this.#dialing === null) this.#dial(now);
  }

  /** @param {number} now */
  #dead(now) {
    if (this.current !== null) {
      this.#out(hangup(this.current));
      this.#lost(now, new ConnectionLostError());
    }
  }

  /**
   * @param {number} now
   * @param {ConnectionLostError} error
   */
  #lost(now, error) {
    if (now - this.#openedAt >= this.#settings.stable) this.#attempt = 0;
    this.#drop(null);
    if (this.#leaving) {
      this.stop();
    } else if (this.#dialing === null) {
      this.#retry(now, error);
    } else {
      this.#is(State.CONNECTING);
    }
  }

  /** @param {number | null} hangUp */
  #drop(hangUp) {
    if (hangUp !== null) this.#out(hangup(hangUp));
    this.current = null;
    this.#cancel("ping", "pong", "renew");
    this.#hooks.lost();
  }

  /**
   * @param {number} now
   * @param {ImClientError | null} [error]
   */
  #retry(now, error = null) {
    this.#wait("retry", now + this.#backoff(), (at) => this.#dial(at));
    this.#is(State.WAITING, "", error);
  }

  #backoff() {
    const { backoffFirst, backoffLongest } = this.#settings;
    const longest = Math.min(backoffLongest, backoffFirst * 2 ** Math.min(this.#attempt, 20));
    this.#attempt += 1;
    return this.#draw(longest);
  }

  /**
   * @param {string} why
   * @param {ImClientError} error
   */
  #end(why, error) {
    if (this.state === State.ENDED) return;
    for (const link of [this.#dialing, why === "stopped" ? this.current : null]) {
      if (link !== null) this.#out(hangup(link));
    }
    this.#cancel(...this.#waits.keys());
    this.#dialing = null;
    if (this.current !== null) {
      this.current = null;
      this.#hooks.lost();
    }
    this.#is(State.ENDED, why, error);
    this.#hooks.ended(error);
  }

  /**
   * @param {StateName} state
   * @param {string} [why]
   * @param {ImClientError | null} [error]
   */
  #is(state, why = "", error = null) {
    if (state !== this.state) {
      this.state = state;
      this.#out(stateChanged(state, why, error));
    }
  }

  /**
   * @param {string} name
   * @param {number} due
   * @param {Then} then
   */
  #wait(name, due, then) {
    this.#cancel(name);
    const fire = (/** @type {number} */ now) => {
      this.#waits.delete(name);
      then(now);
    };
    this.#waits.set(name, this.#timers.at(due, fire));
  }

  /** @param {string[]} names */
  #cancel(...names) {
    for (const name of names) {
      this.#waits.get(name)?.cancel();
      this.#waits.delete(name);
    }
  }
}
