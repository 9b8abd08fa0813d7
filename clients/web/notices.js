/** What happened to a group or to a message's place in it, in words: the lines between the messages. */
import { joinNames, t, timeFrom } from "./i18n.js";
import { isCountable, isSilent } from "./protocol.js";

/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./i18n.js").Key} Key */

/** @type {Record<string, Key>} */
const ROLES = { owner: "roleOwner", admin: "roleAdmin", member: "roleMember" };

/** The fields of a profile whose values have a meaning of their own. @type {Record<string, Record<string, Key>>} */
const MEANINGS = {
  history: { true: "profileHistoryShown", false: "profileHistoryHidden" },
  join_mode: { open: "profileJoinOpen", approval: "profileJoinApproval", invite: "profileJoinInvite" },
  who_invites: { members: "profileInviteMembers", admins: "profileInviteAdmins" },
  who_mentions_all: { members: "profileMentionMembers", admins: "profileMentionAdmins" },
};

/**
 * The line that an entry leaves in the conversation when it is no message.
 * @param {Chat} chat
 * @param {Entry} entry
 * @returns {string|null} null for messages, and for what shows nothing of its own
 */
export function noticeText(chat, entry) {
  if (isCountable(entry.kind) || isSilent(entry.kind)) return null;
  switch (entry.kind) {
    case "members":
      return membersText(chat, entry);
    case "profile":
      return profileText(chat, entry);
    case "pin":
      return t(entry.body?.on === false ? "unpinned" : "pinned", { name: subject(chat, entry.from) });
    default:
      return t("unsupported", { kind: String(entry.kind) });
  }
}

/** @param {Chat} chat @param {Entry} entry */
function membersText(chat, { from, ts, body }) {
  const by = typeof body?.by === "string" ? body.by : from;
  const actor = subject(chat, by);
  const parts = [];
  const say = (key, values = {}) => parts.push(t(key, { by: actor, ...values }));

  const founded = typeof body?.group?.name === "string";
  if (founded) say("groupFounded", { name: body.group.name });
  const added = idsIn(body?.added);
  const others = added.filter((user) => user !== by);
  if (others.length) say("membersAdded", { names: objects(chat, others) });
  else if (added.length && !founded) say("membersJoined");
  const removed = idsIn(body?.removed);
  if (removed.length === 1 && removed[0] === by) say("membersLeft");
  else if (removed.length) say("membersRemoved", { names: objects(chat, removed) });

  const roles = fieldsOf(body?.roles);
  const given = roles.some(([, role]) => role === "owner");
  for (const [user, role] of roles) {
    // Whoever gives the group away has lost their own role by that: it goes without saying.
    if (Object.hasOwn(ROLES, role) && !(given && user === by)) say(ROLES[role], { name: objects(chat, [user]) });
  }
  for (const [user, until] of fieldsOf(body?.muted)) {
    if (!isTime(until)) continue;
    const values = { name: objects(chat, [user]), time: timeFrom(until, ts) ?? "" };
    say(until === 0 ? "memberUnmuted" : values.time ? "memberMutedUntil" : "memberMuted", values);
  }
  if (body?.dissolved === true) say("profileDissolved");
  return parts.join(" · ") || t("membersChanged");
}

/** @param {Chat} chat @param {Entry} entry */
function profileText(chat, { from, ts, body }) {
  const by = subject(chat, from);
  const parts = [];
  const say = (key, values = {}) => parts.push(t(key, { by, ...values }));

  if (typeof body?.name === "string") say("profileName", { name: body.name });
  if (typeof body?.notice === "string") say(body.notice ? "profileNotice" : "profileNoticeRemoved");
  if (body?.avatar !== undefined) say("profileAvatar");
  for (const [field, meanings] of Object.entries(MEANINGS)) {
    const value = String(body?.[field]);
    if (Object.hasOwn(meanings, value)) say(meanings[value]);
  }
  if (isTime(body?.muted_until)) {
    const time = timeFrom(body.muted_until, ts) ?? "";
    say(body.muted_until === 0 ? "allUnmuted" : time ? "allMutedUntil" : "allMuted", { time });
  }
  if (body?.dissolved === true) say("profileDissolved");
  return parts.join(" · ") || t("profileChangedBy", { by });
}

/** @param {unknown} value milliseconds since the epoch; 0 for none */
const isTime = (value) => Number.isInteger(value) && /** @type {number} */ (value) >= 0;

/** @param {unknown} users @returns {string[]} */
const idsIn = (users) => (Array.isArray(users) ? users.filter((user) => typeof user === "string") : []);

/** @param {unknown} byUser @returns {[string, any][]} */
const fieldsOf = (byUser) => (byUser && typeof byUser === "object" && !Array.isArray(byUser) ? Object.entries(byUser) : []);

/** Who does something. @param {Chat} chat @param {string} user */
const subject = (chat, user) => (user === chat.me ? t("you") : chat.nameOf(user));

/** To whom something is done. @param {Chat} chat @param {string[]} users */
const objects = (chat, users) => joinNames(users.map((user) => (user === chat.me ? t("youObject") : chat.nameOf(user))));
