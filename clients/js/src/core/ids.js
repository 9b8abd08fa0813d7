/** The identifiers of the protocol, and how they are built. No I/O. */

/**
 * The conversation of two people: `d:<a>:<b>`, the two ids in ascending order, whoever asks.
 * @param {string} one
 * @param {string} other
 * @returns {string}
 */
export function directConversation(one, other) {
  const [first, second] = [one, other].sort();
  return `d:${first}:${second}`;
}

/**
 * The other person of a direct conversation; null for a group, and for two people of whom `user` is none.
 * @param {string} conv
 * @param {string} user
 * @returns {string | null}
 */
export function peerIn(conv, user) {
  const parts = conv.split(":");
  if (parts.length !== 3 || parts[0] !== "d") return null;
  if (parts[1] === user) return parts[2];
  return parts[2] === user ? parts[1] : null;
}
