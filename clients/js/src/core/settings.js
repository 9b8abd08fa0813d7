/** Every wait and limit of a client. The defaults are the protocol's; tests and the table of scenarios set others. */

/**
 * Times are in milliseconds.
 * @typedef {object} Settings
 * @property {number | null} backlog how many entries before the first one seen of a conversation are needed: null for
 *   all of them
 * @property {boolean} acknowledges whether the server is told what has been received (rule 3)
 * @property {boolean} stores whether what is to outlive the process is told, as `save`
 * @property {number} reply without a reply for so long, the same frame goes out again
 * @property {number} sends so often, then a request has no reply. A message is sent until there is one
 * @property {number} tries so often a request is made that the server would rather have later
 * @property {number} dial
 * @property {number} hole
 * @property {number} holeLongest
 * @property {number} passedOver with a backlog: of a longer hole at the end of a log, only what comes then is fetched;
 *   the rest is history
 * @property {number} acknowledge
 * @property {number} read
 * @property {number} inbox after news of a changed inbox: it seldom comes alone
 * @property {number} inboxUnknown after news of a conversation that is not in the list: its row may be written a moment
 *   later
 * @property {number} inboxRetry
 * @property {number} pingEvery
 * @property {number} pingDeadline
 * @property {number} late woken so late, this machine has slept: what looks alive may be dead
 * @property {number} backoffFirst
 * @property {number} backoffLongest
 * @property {number} stable a connection that lived so long was a good one: the next backoff begins anew
 * @property {number} renew
 * @property {number} renewSpread a connection is renewed so long before `renew` at most: not all clients at once
 */

/** @type {Readonly<Settings>} */
export const DEFAULT_SETTINGS = Object.freeze({
  backlog: 0,
  acknowledges: true,
  stores: false,
  reply: 5_000,
  sends: 12,
  tries: 8,
  dial: 20_000,
  hole: 300,
  holeLongest: 5_000,
  passedOver: 300,
  acknowledge: 1_000,
  read: 1_000,
  inbox: 300,
  inboxUnknown: 1_000,
  inboxRetry: 5_000,
  pingEvery: 240_000,
  pingDeadline: 10_000,
  late: 15_000,
  backoffFirst: 500,
  backoffLongest: 30_000,
  stable: 5_000,
  renew: 6_600_000,
  renewSpread: 600_000,
});

/**
 * The defaults with some others. Throws TypeError for a name that no setting has.
 * @param {Partial<Settings>} [others]
 * @returns {Readonly<Settings>}
 */
export function makeSettings(others = {}) {
  for (const name of Object.keys(others)) {
    if (!Object.hasOwn(DEFAULT_SETTINGS, name)) throw new TypeError(`no setting is called ${name}`);
  }
  return Object.freeze({ ...DEFAULT_SETTINGS, ...others });
}
