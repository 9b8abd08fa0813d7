/** What can be done with a message and with a conversation, and by whom: the content of their menus. */
import { t } from "./i18n.js";
import { REACTIONS, isGroup } from "./protocol.js";
import { report } from "./toast.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */
/** @typedef {import("./menu.js").Choice} Choice */

/**
 * @param {Chat} chat
 * @param {Conversation} conv
 * @param {Entry} message
 * @param {{reply: () => void, edit: () => void, receipts: () => void, forward: () => void, select: () => void}} open what needs more of the page
 * @returns {{quick: import("./menu.js").Quick[], choices: Choice[]}}
 */
export function choicesOfMessage(chat, conv, { seq, from, kind, pinned = false, forwarded, reactions = {} }, open) {
  const own = from === chat.me;
  const leads = chat.leads(conv);
  const group = isGroup(conv.id);
  const act = (done) => report(done, { ofMessage: true });
  /** @type {Choice[]} */
  const sendOn = [{ label: t("forward"), icon: "forward", run: open.forward }, { label: t("select"), icon: "select", run: open.select }];
  /** @type {Choice[]} */
  const choices = [];
  if (!conv.isClosed) {
    choices.push({ label: t("reply"), icon: "reply", run: open.reply });
    if (own && kind === "text" && !forwarded) choices.push({ label: t("edit"), icon: "edit", run: open.edit });
    if (kind !== "redpacket") choices.push(...sendOn);
    if (!group || leads) choices.push({ label: t(pinned ? "unpin" : "pin"), icon: "pin", run: () => act(chat.pin(conv, seq, !pinned)) });
    if (own && group) choices.push({ label: t("readBy"), icon: "eye", run: open.receipts });
    if (own || leads) choices.push({ label: t("recall"), icon: "recall", tone: "bad", run: () => act(chat.recall(conv, seq)) });
  }
  // What was said may be sent on by those who have left, too.
  if (conv.isClosed && kind !== "redpacket") choices.push(...sendOn);
  choices.push({ label: t("deleteForMe"), icon: "trash", tone: "bad", run: () => act(chat.deleteForMe(conv, seq)) });
  const quick = conv.isClosed ? [] : REACTIONS.map((emoji) => {
    const mine = Object.hasOwn(reactions, emoji) && reactions[emoji].users.includes(chat.me);
    return { text: emoji, label: t("reactWith", { emoji }), checked: mine, run: () => act(chat.react(conv, seq, emoji, !mine)) };
  });
  return { quick, choices };
}

/**
 * @param {Chat} chat
 * @param {Conversation} conv one that has a row
 * @param {{leave: () => void, pins: (conv: Conversation) => void}} open
 * @returns {{choices: Choice[]}}
 */
export function choicesOfConversation(chat, conv, { leave, pins }) {
  const { pinned, muted } = /** @type {import("./protocol.js").InboxRow} */ (conv.row);
  const hide = async () => {
    await chat.set(conv, { hidden: true });
    if (chat.current === conv) leave();
  };
  return {
    choices: [
      { label: t(pinned ? "unpin" : "pin"), icon: "pin", run: () => report(chat.set(conv, { pinned: !pinned })) },
      { label: t(muted ? "unmute" : "mute"), icon: muted ? "bell" : "muted", run: () => report(chat.set(conv, { muted: !muted })) },
      { label: t("pinnedMessages"), icon: "pin", run: () => pins(conv) },
      { label: t("hide"), icon: "hide", run: () => report(hide()) },
    ],
  };
}
