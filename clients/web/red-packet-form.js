/** The dialog in which a red packet is made: for whom, how much, how many, and what is written on it. */
import { wireClosing } from "./dialogs.js";
import { avatar, h } from "./dom.js";
import { errorText, t } from "./i18n.js";
import { formatAmount, parseAmount, parseCount } from "./money.js";
import { isGroup, peerOf } from "./protocol.js";
import { sendErrorText } from "./red-packet-texts.js";
import { toast } from "./toast.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./red-packet-orders.js").Terms} Terms */
/** @typedef {import("./red-packet-orders.js").Order} Order */
/** @typedef {import("./i18n.js").Key} Key */

/** @typedef {"lucky"|"equal"|"one"} Choice what a group's member chooses from; `one` is for a single member */

const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** What the amount is that is asked for. @type {Record<Choice, Key>} */
const AMOUNTS = { lucky: "packetTotal", equal: "packetEach", one: "packetAmount" };

/** @type {Record<Choice, Key|null>} */
const HINTS = { lucky: "packetLuckyHint", equal: "packetEqualHint", one: null };

export class RedPacketForm {
  #dialog = byId("packet-form-dialog");
  #form = byId("packet-form");
  #amount = byId("packet-amount");
  #count = byId("packet-count");
  #greeting = byId("packet-greeting");
  #error = byId("packet-form-error");
  /** @type {Chat|null} */
  #chat = null;
  /** @type {Conversation|null} */
  #conv = null;
  /** @type {number|null} null where it is not known */
  #balance = null;
  #opened = 0;
  /** Ends what a dialog that is open listens to. */
  #closing = new AbortController();

  constructor() {
    wireClosing(this.#dialog);
    this.#dialog.addEventListener("close", () => {
      // The event comes late: the dialog may be open again.
      if (!this.#dialog.open) this.#closing.abort();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("input", () => {
      this.#say("");
      this.#render();
    });
    byId("packet-give-up").addEventListener("click", () => this.#giveUp());
  }

  /** @param {Chat} chat @param {Conversation} conv */
  open(chat, conv) {
    const opened = ++this.#opened;
    this.#chat = chat;
    this.#conv = conv;
    this.#balance = null;
    this.#form.reset();
    this.#say("");
    this.#closing.abort();
    this.#closing = new AbortController();
    // What is on its way may arrive at any time, by its reply or by its message.
    chat.redPackets.addEventListener("sent", (event) => {
      if (/** @type {CustomEvent} */ (event).detail.conv === conv.id) this.#dialog.close();
    }, { signal: this.#closing.signal });
    const had = chat.redPackets.orderIn(conv.id);
    byId("packet-members").replaceChildren();
    if (had) this.#fill(had);
    this.#render();
    this.#dialog.showModal();
    if (had) byId("packet-submit").focus();
    else this.#amount.focus();
    if (isGroup(conv.id)) this.#showMembers(opened, chat, conv, had?.terms.to);
    this.#askBalance(opened, chat);
  }

  /**
   * Follows a packet that is being sent, whether the dialog is open or not.
   * @param {string} conv
   * @param {Promise<void>} done
   */
  async follow(conv, done) {
    try {
      await done;
    } catch (error) {
      if (!this.#dialog.open || this.#conv?.id !== conv) {
        toast(sendErrorText(error));
        return;
      }
      this.#say(sendErrorText(error));
      this.#render();
      if (error.code === "insufficient_funds" && this.#chat) this.#askBalance(this.#opened, this.#chat);
      (this.#order ? byId("packet-submit") : this.#amount).focus();
    }
  }

  /** What is not confirmed yet. @returns {Order|null} */
  get #order() {
    return this.#chat && this.#conv ? this.#chat.redPackets.orderIn(this.#conv.id) : null;
  }

  get #inGroup() {
    return this.#conv !== null && isGroup(this.#conv.id);
  }

  /** @returns {Choice} */
  get #choice() {
    return this.#inGroup ? this.#form.elements.kind.value : "one";
  }

  /** What was asked for before. @param {Order} order */
  #fill({ terms: { kind, total, count = 1, greeting }, state, code = "" }) {
    if (this.#inGroup) this.#form.elements.kind.value = kind === "direct" ? "one" : kind;
    this.#amount.value = formatAmount(kind === "equal" ? total / count : total).replaceAll(",", "");
    this.#count.value = String(count);
    this.#greeting.value = greeting;
    if (state === "unknown") this.#say(sendErrorText({ code, retryable: true }));
  }

  #render() {
    const conv = this.#conv;
    if (!conv || !this.#chat) return;
    const order = this.#order;
    const choice = this.#choice;
    byId("packet-kinds").hidden = !this.#inGroup;
    byId("packet-to").hidden = !this.#inGroup || choice !== "one";
    byId("packet-count-field").hidden = choice === "one";
    byId("packet-amount-label").textContent = t(AMOUNTS[choice]);
    const hint = HINTS[choice];
    byId("packet-amount-hint").textContent = hint ? t(hint) : "";
    byId("packet-count-hint").textContent = conv.memberCount ? t("packetCountHint", { count: conv.memberCount }) : "";
    byId("packet-for").hidden = this.#inGroup;
    byId("packet-for").textContent = this.#inGroup ? "" : t("packetFor", { name: this.#chat.nameOf(peerOf(conv.id, this.#chat.me)) });
    this.#greeting.placeholder = t("packetGreetingDefault");
    // What was asked for stands until it is known what became of it.
    byId("packet-fields").disabled = order !== null;
    byId("packet-submit").disabled = order?.state === "sending";
    byId("packet-submit").textContent = t(order === null ? "packetSubmit" : order.state === "sending" ? "packetSending" : "retry");
    byId("packet-cancel").hidden = order?.state === "unknown";
    byId("packet-give-up").hidden = order?.state !== "unknown";
    this.#renderSum(choice);
  }

  /** @param {Choice} choice */
  #renderSum(choice) {
    const { units } = parseAmount(this.#amount.value);
    const count = choice === "equal" ? parseCount(this.#count.value) : 1;
    const total = units !== undefined && count !== null ? units * count : 0;
    byId("packet-sum").textContent = formatAmount(total);
    byId("packet-sum-of").textContent =
      choice === "equal" && units !== undefined && count !== null ? t("packetSumOf", { count, amount: formatAmount(units) }) : "";
    const balance = byId("packet-balance");
    const short = this.#balance !== null && total > this.#balance;
    balance.hidden = this.#balance === null;
    balance.classList.toggle("packet-short", short);
    balance.textContent = t(short ? "packetBalanceLow" : "packetBalance", { amount: formatAmount(this.#balance ?? 0) });
  }

  /** @param {string} text @param {any} [field] the one that is wrong */
  #say(text, field) {
    for (const input of [this.#amount, this.#count]) input.setAttribute("aria-invalid", String(input === field));
    if (this.#error.textContent !== text) this.#error.textContent = text;
    field?.focus();
  }

  async #askBalance(opened, chat) {
    try {
      const { balance } = await chat.redPackets.wallet();
      if (opened === this.#opened) this.#balance = balance;
    } catch {
      // Some other system has the money: it is not shown here.
    }
    if (opened === this.#opened) this.#render();
  }

  /** @param {number} opened @param {Chat} chat @param {Conversation} conv @param {string} [chosen] */
  async #showMembers(opened, chat, conv, chosen) {
    const list = byId("packet-members");
    const more = byId("packet-members-more");
    let cursor;
    const next = async () => {
      more.disabled = true;
      more.hidden = false;
      try {
        const page = await chat.groupMembers(conv.id, cursor);
        if (opened !== this.#opened) return;
        const others = page.members.map(({ user }) => user).filter((user) => user !== chat.me);
        list.append(...others.map((user) => memberChoice(chat, user, user === chosen)));
        cursor = page.cursor;
        byId("packet-members-note").textContent = !cursor && !list.children.length ? t("packetNobody") : "";
      } catch (error) {
        if (opened === this.#opened) byId("packet-members-note").textContent = errorText(error.code);
        cursor ??= "";
      } finally {
        if (opened === this.#opened) {
          more.disabled = false;
          more.hidden = cursor === undefined;
        }
      }
    };
    byId("packet-members-note").textContent = "";
    more.onclick = next;
    await next();
  }

  /** @returns {Terms|null} null where something is wrong: it was said */
  #terms() {
    const choice = this.#choice;
    const to = this.#inGroup && choice === "one" ? this.#form.elements.to?.value : undefined;
    const { units, problem } = parseAmount(this.#amount.value);
    const count = choice === "one" ? 1 : parseCount(this.#count.value);
    const greeting = this.#greeting.value.trim();
    if (this.#inGroup && choice === "one" && !to) this.#say(t("packetNeedsMember"));
    else if (problem) this.#say(t(problem), this.#amount);
    else if (count === null) this.#say(t("packetCountForm"), this.#count);
    else if (choice === "lucky" && units < count) this.#say(t("packetTooThin", { amount: formatAmount(count) }), this.#amount);
    else if (choice === "one") return { kind: "direct", total: units, greeting, ...(to ? { to } : {}) };
    else return { kind: choice, total: choice === "equal" ? units * count : units, count, greeting };
    return null;
  }

  #submit() {
    const [chat, conv, order] = [this.#chat, this.#conv, this.#order];
    if (!chat || !conv || order?.state === "sending") return;
    const terms = order ? order.terms : this.#terms();
    if (!terms) return;
    this.#say("");
    const done = order ? chat.redPackets.sendAgain(order) : chat.redPackets.send(conv.id, terms);
    this.#render();
    this.follow(conv.id, done);
  }

  #giveUp() {
    if (this.#order) this.#chat?.redPackets.giveUp(this.#order);
    this.#dialog.close();
  }
}

/** @param {Chat} chat @param {string} user @param {boolean} checked */
function memberChoice(chat, user, checked) {
  const name = chat.nameOf(user);
  return h("li", {},
    h("label", { class: "member member-choice" },
      h("input", { type: "radio", name: "to", value: user, checked }),
      avatar(user, name, { size: "small" }),
      h("span", { class: "member-name" }, h("span", { dir: "auto" }, name), name !== user && h("small", {}, user))));
}
