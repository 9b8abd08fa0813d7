/** Puts the page together: who is signed in, which conversation is open, and what the banner says. */
import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { InfoDialog, NewDialog, ReceiptsDialog } from "./dialogs.js";
import { avatar, reconcile } from "./dom.js";
import { currentLanguage, localize, setLanguage, t } from "./i18n.js";
import { addressOf, identityOf, loadConfig } from "./identity.js";
import { ListView } from "./list-view.js";
import { Menu } from "./menu.js";
import { ForwardDialog, PinsDialog } from "./message-dialogs.js";
import { Notifications } from "./notifications.js";
import { isConvOf } from "./protocol.js";
import { RedPacketDialog } from "./red-packet-dialog.js";
import { RedPacketForm } from "./red-packet-form.js";
import { newsText } from "./red-packet-texts.js";
import { SettingsDialog } from "./settings-dialog.js";
import { SignInView } from "./signin-view.js";
import { ThreadView } from "./thread-view.js";
import { report, toast } from "./toast.js";
import { WalletDialog } from "./wallet-dialog.js";

/** A loss shorter than this is mended before anybody needs to hear of it. */
const BANNER_AFTER_MS = 1_500;
/** So many failed attempts in a row are more than a hiccup: offer the way out. Fewer if there never was a connection. */
const FAILURES_TO_TELL = 6;
const FIRST_FAILURES_TO_TELL = 3;

const KICKED = { replaced: "kickedReplaced", logout: "kickedLogout", banned: "kickedBanned", ban: "kickedBanned" };

const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** @type {import("./identity.js").Config} */
let config = { users: [] };
/** @type {{identity: import("./identity.js").Identity, connection: Connection, chat: Chat}|null} */
let session = null;
let lostAt = 0;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let bannerTimer;

const menu = new Menu();
const receiptsDialog = new ReceiptsDialog();
const packetForm = new RedPacketForm();
const packetDialog = new RedPacketDialog(openWallet);
const walletDialog = new WalletDialog(openPacket);
const forwardDialog = new ForwardDialog();
const pinsDialog = new PinsDialog();
const notifications = new Notifications(goTo);
const settingsDialog = new SettingsDialog(notifications);
const list = new ListView(goTo, menu, openPins);
const thread = new ThreadView(menu, {
  leave: () => goTo(null),
  packet: openPacket,
  pins: openPins,
  forward: (conv, seqs, done) => session && forwardDialog.open(session.chat, conv, seqs, done),
  receipts: (conv, seq) => session && receiptsDialog.open(session.chat, conv, seq),
});
const signIn = new SignInView(start);
const newDialog = new NewDialog(goTo);
const infoDialog = new InfoDialog();

/** @param {import("./identity.js").Identity} identity */
function start(identity) {
  const url = new URL(location.href);
  if (config.users.some(({ id }) => id === identity.user)) url.searchParams.set("user", identity.user);
  history.replaceState(null, "", url);

  const names = new Map(config.users.map(({ id, name }) => [id, name]));
  if (config.group) names.set(config.group.conv, config.group.name);
  const connection = new Connection(async (failures) => {
    if (failures > 0) identity = await renewed(identity);
    return addressOf(identity);
  });
  const chat = new Chat(connection, identity.user, names);
  session = { identity, connection, chat };
  chat.addEventListener("change", render);
  chat.addEventListener("message", (event) => {
    const { conv, entry } = /** @type {CustomEvent} */ (event).detail;
    notifications.tell(chat, conv, entry);
  });
  chat.redPackets.addEventListener("news", (event) => tellNews(chat, /** @type {CustomEvent} */ (event).detail));
  signIn.hide();
  byId("app").hidden = false;
  const name = chat.nameOf(identity.user);
  byId("me-name").textContent = name;
  reconcile(byId("me-avatar"), [{ key: identity.user, sig: name, make: () => avatar(identity.user, name) }]);
  openFromHash();
  connection.start();
  for (const { conv, done } of chat.redPackets.resume()) packetForm.follow(conv, done);
}

/**
 * The token may have expired since: a configuration that hands out tokens has a new one.
 * @param {import("./identity.js").Identity} identity
 */
async function renewed(identity) {
  if (!config.users.some(({ id }) => id === identity.user)) return identity;
  return identityOf(await loadConfig(), identity.user) ?? identity;
}

function signOut() {
  session?.chat.stop();
  session?.connection.stop();
  session = null;
  clearTimeout(bannerTimer);
  menu.close();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const url = new URL(location.href);
  url.searchParams.delete("user");
  url.hash = "";
  history.replaceState(null, "", url);
  byId("app").hidden = true;
  document.title = t("appName");
  signIn.show(config);
}

/** The open conversation is the address's fragment, so the browser's Back leaves it. @param {string|null} conv */
function goTo(conv) {
  if (conv === null) history.pushState(null, "", location.pathname + location.search);
  else if (location.hash !== `#${encodeURIComponent(conv)}`) history.pushState(null, "", `#${encodeURIComponent(conv)}`);
  openFromHash();
}

function openFromHash() {
  if (!session) return;
  let conv = "";
  try {
    conv = decodeURIComponent(location.hash.slice(1));
  } catch {
    // A fragment that somebody cut short names no conversation.
  }
  const valid = isConvOf(conv, session.identity.user);
  if (session.chat.current?.id !== conv) session.chat.open(valid ? conv : null);
  else thread.focusComposer();
}

/** @param {string} packet */
function openPacket(packet) {
  if (session) packetDialog.open(session.chat, packet);
}

function openWallet() {
  if (session) walletDialog.open(session.chat);
}

/** @param {import("./conversation.js").Conversation} conv */
function openPins(conv) {
  if (!session) return;
  pinsDialog.open(session.chat, conv, (seq) => {
    goTo(conv.id);
    thread.goTo(seq);
  });
}

/** Where the conversation is open, the line is in it. @param {Chat} chat @param {{conv: string, line: import("./red-packets.js").News|null}} news */
function tellNews(chat, { conv, line }) {
  if (line && chat.current?.id !== conv) toast(newsText(chat, line), "news");
}

function render() {
  if (!session) return;
  const { chat, connection } = session;
  byId("app").classList.toggle("has-thread", chat.current !== null);
  list.render(chat);
  thread.render(chat, connection.status !== "kicked");
  renderStatus(connection);
  settingsDialog.render();
  const unread = chat.totalUnread;
  byId("read-all").hidden = !unread;
  document.title = unread ? `(${unread > 999 ? "999+" : unread}) ${t("appName")}` : t("appName");
}

/** @param {Connection} connection */
function renderStatus(connection) {
  const { status } = connection;
  if (status === "open" || status === "kicked") lostAt = 0;
  else if (!lostAt) lostAt = Date.now();
  const offline = !navigator.onLine;
  byId("status-dot").className = status === "open" && !offline ? "dot dot-on" : status === "kicked" ? "dot dot-off" : "dot dot-wait";
  byId("status-text").textContent = status === "open" && !offline ? t("online") : t(status === "kicked" ? "paused" : "connecting");

  const due = lostAt + BANNER_AFTER_MS - Date.now();
  clearTimeout(bannerTimer);
  if (lostAt && due > 0 && !offline) bannerTimer = setTimeout(render, due + 10);

  if (status === "kicked") {
    const replaced = connection.kickReason === "replaced";
    banner(t(/** @type {any} */ (KICKED)[connection.kickReason] ?? "kickedOther"), replaced ? t("useHere") : "", "warn", true);
  } else if (offline) {
    banner(t("offline"), "", "quiet", false);
  } else if (lostAt && due <= 0) {
    const refused = connection.failures >= (connection.everOpened ? FAILURES_TO_TELL : FIRST_FAILURES_TO_TELL);
    banner(t(refused ? "cannotConnect" : connection.everOpened ? "reconnecting" : "connecting"), status === "waiting" ? t("tryNow") : "", "quiet", refused);
  } else {
    banner("", "", "quiet", false);
  }
}

/** @param {string} text @param {string} button @param {"warn"|"quiet"} tone @param {boolean} canLeave */
function banner(text, button, tone, canLeave) {
  const box = byId("banner");
  box.hidden = !text;
  box.className = `banner banner-${tone}`;
  // Untouched texts are not read out again.
  if (byId("banner-text").textContent !== text) byId("banner-text").textContent = text;
  byId("banner-button").textContent = button;
  byId("banner-button").hidden = !button;
  byId("banner-signout").hidden = !canLeave;
}

function switchLanguage() {
  menu.close();
  setLanguage(currentLanguage() === "en" ? "zh" : "en");
  localize(document);
  signIn.localize();
  if (session) render();
  else document.title = t("appName");
}

const ACTIONS = {
  language: switchLanguage,
  signout: signOut,
  new: () => session && newDialog.open(session.chat, config.users),
};
for (const node of document.querySelectorAll("[data-action]")) {
  node.addEventListener("click", ACTIONS[/** @type {any} */ (node).dataset.action]);
}
byId("new-button").addEventListener("click", ACTIONS.new);
byId("banner-button").addEventListener("click", () => session?.connection.resume());
byId("back").addEventListener("click", () => goTo(null));
byId("info-button").addEventListener("click", () => {
  if (session?.chat.current) infoDialog.open(session.chat, session.chat.current);
});
byId("settings-button").addEventListener("click", () => session && settingsDialog.open(session.chat));
byId("read-all").addEventListener("click", () => {
  if (session) report(session.chat.readAll());
  byId("new-button").focus();
});
document.addEventListener("keydown", (event) => {
  // The browser's own search finds only what is drawn.
  if (event.key !== "f" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  if (!document.querySelector("dialog[open]") && thread.find()) event.preventDefault();
});
byId("wallet-button").addEventListener("click", openWallet);
byId("composer-packet").addEventListener("click", () => {
  if (session?.chat.current) packetForm.open(session.chat, session.chat.current);
});
globalThis.addEventListener("popstate", openFromHash);
globalThis.addEventListener("hashchange", openFromHash);

localize(document);
config = await loadConfig();
const wanted = new URLSearchParams(location.search).get("user");
const identity = wanted === null ? null : identityOf(config, wanted);
if (identity) {
  start(identity);
} else {
  signIn.show(config);
  if (wanted) signIn.fail(() => t("unknownUser", { user: wanted }));
}
