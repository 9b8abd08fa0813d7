/** What there is to say about red packets: what has become of one, what happened to it, why something was refused. */
import { errorText, joinNames, t, timeFrom } from "./i18n.js";
import { formatAmount } from "./money.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./red-packets.js").Detail} Detail */
/** @typedef {import("./i18n.js").Key} Key */

/** So many of those who opened a packet are named in one line. */
const NAMED = 3;

/** What is written on a packet, or what its sender would have written. @param {unknown} greeting */
export const greetingText = (greeting) => (typeof greeting === "string" && greeting.trim() ? greeting : t("packetGreetingDefault"));

/** What kind of packet it is. @param {{kind: string, to?: string}} packet @param {boolean} group whether it is in a group */
export function kindText({ kind }, group) {
  if (kind === "lucky") return t("packetLuckyName");
  return t(kind === "direct" && group ? "packetExclusiveName" : "kind_redpacket");
}

/** @typedef {{kind: string, from: string, to?: string}} Packet what is known of a packet from its message on */

/** Whether this user never may claim a packet. @param {Packet} packet @param {string} me */
export const isForOther = ({ kind, from, to }, me) => (to !== undefined && to !== me) || (kind === "direct" && from === me);

/**
 * What a packet has come to, for this user, in a few words.
 * @param {Chat} chat
 * @param {Packet} packet
 * @param {import("./red-packets.js").Known} known
 * @returns {{done: boolean, text: string}} `done`: there is nothing in it any more, for them
 */
export function statusOf(chat, packet, { state = "open", amount, claimed = 0, count, forbidden }) {
  if (amount !== undefined) return { done: true, text: t("packetOpened", { amount: formatAmount(amount) }) };
  if (state === "expired") return { done: true, text: t("packetExpired") };
  if (state === "finished") return { done: true, text: t(packet.kind === "direct" ? "packetOpenedByOther" : "packetFinished") };
  if (packet.to !== undefined && packet.to !== chat.me) return { done: false, text: t("packetFor", { name: chat.nameOf(packet.to) }) };
  if (isForOther(packet, chat.me)) return { done: false, text: t("packetWaiting") };
  if (forbidden) return { done: true, text: t("packetNotYours") };
  if (packet.from === chat.me && claimed && count) return { done: false, text: t("packetProgress", { claimed, count }) };
  return { done: false, text: t(packet.to === chat.me ? "packetForYou" : "packetTap") };
}

/** Why this user cannot open a packet, in a sentence; empty if they can, or did, or know it as its sender. @param {Chat} chat @param {Detail} detail */
export function reasonText(chat, { state, kind, from, to, amount }) {
  if (amount !== undefined) return "";
  if (from === chat.me) return kind !== "direct" || state === "expired" ? "" : t(state === "finished" ? "packetOpenedByOther" : "packetWaiting");
  if (state === "finished" && kind !== "direct") return t("packetSoldOut");
  if (state === "expired") return t("packetTooLate");
  return to !== undefined && to !== chat.me ? t("packetOnlyFor", { name: chat.nameOf(to) }) : "";
}

/** What a claim was refused for. @param {Chat} chat @param {Detail} detail @param {{code: string}} error */
export function claimErrorText(chat, detail, { code }) {
  if (code === "sold_out") return t("packetSoldOut");
  if (code === "expired") return t("packetTooLate");
  if (code === "forbidden") return reasonText(chat, detail) || t("packetBeforeYou");
  return errorText(code);
}

/** What some errors mean when it is a packet that should be sent. @type {Record<string, Key>} */
const SEND_ERRORS = {
  bad_request: "packetRefused", not_found: "packetMemberGone", conflict: "packetConflict", unavailable: "packetUnknown", timeout: "packetUnknown",
};

/** Why a packet was not sent, or why it is not known. @param {{code: string, retryable?: boolean, retryAfterMs?: number}} error */
export function sendErrorText({ code, retryable = false, retryAfterMs }) {
  const time = code === "muted" && retryAfterMs ? timeFrom(Date.now() + retryAfterMs, Date.now()) : null;
  if (time) return t("mutedHereUntil", { time });
  if (Object.hasOwn(SEND_ERRORS, code)) return t(SEND_ERRORS[code]);
  return retryable ? t("packetUnknown") : errorText(code);
}

/** A line of what happened. @param {Chat} chat @param {import("./red-packets.js").News} news */
export function newsText(chat, { what, from, users, finished, best, amount }) {
  const nameOf = (user) => (user === chat.me ? t("you") : chat.nameOf(user));
  if (what === "own") return from === chat.me ? t("newsOwnOfYours") : t("newsOwn", { name: chat.nameOf(String(from)) });
  if (what === "refunded") return t("newsRefunded", { amount: formatAmount(amount ?? 0) });
  const names = joinNames(users.slice(0, NAMED).map(nameOf));
  const who = users.length > NAMED ? t("andMore", { names, count: users.length - NAMED }) : names;
  const parts = [t("newsOpened", { names: who })];
  if (finished && users.length > 1) parts.push(t("newsFinished"));
  if (best !== undefined) parts.push(t("newsBest", { name: nameOf(best) }));
  return parts.join(" · ");
}
