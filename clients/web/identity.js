/** Who this tab is: the deployment's configuration, the token, and the device id. */

/**
 * @typedef {object} Config
 * @property {string} [websocket]
 * @property {{id: string, name: string, token: string}[]} users
 * @property {{conv: string, name: string}} [group]
 */

/**
 * @typedef {object} Identity
 * @property {string} user
 * @property {string} websocket
 * @property {string} token
 */

/** Reads `config.json`; a deployment without one has no users to choose from. @returns {Promise<Config>} */
export async function loadConfig() {
  try {
    const response = await fetch("config.json", { cache: "no-store" });
    const config = response.ok ? await response.json() : {};
    return { ...config, users: Array.isArray(config.users) ? config.users : [] };
  } catch {
    return { users: [] };
  }
}

/** @param {Config} config @param {string} id @returns {Identity|null} */
export function identityOf(config, id) {
  const user = config.users.find((candidate) => candidate.id === id);
  return user && config.websocket ? { user: user.id, websocket: config.websocket, token: user.token } : null;
}

/**
 * The user id in a token. Nothing is verified here: the server does that.
 * @param {string} token
 * @returns {string|null}
 */
export function subjectOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" && sub ? sub : null;
  } catch {
    return null;
  }
}

/** One id a tab and user, so that two tabs of one user are two devices. @param {string} user */
function deviceOf(user) {
  const key = `im.device.${user}`;
  const fresh = `web-${crypto.randomUUID()}`;
  try {
    const stored = sessionStorage.getItem(key);
    if (stored) return stored;
    sessionStorage.setItem(key, fresh);
  } catch {
    // Storage is forbidden: a reload is a new device.
  }
  return fresh;
}

/** @param {Identity} identity */
export function addressOf({ user, websocket, token }) {
  const url = new URL(websocket);
  url.searchParams.set("token", token);
  url.searchParams.set("device", deviceOf(user));
  url.searchParams.set("platform", "web");
  url.searchParams.set("v", "1");
  return url.href;
}
