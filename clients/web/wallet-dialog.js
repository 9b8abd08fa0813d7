/** The dialog of this user's wallet: the balance, what moved it, and the red packets of this user. */
import { wireClosing } from "./dialogs.js";
import { h } from "./dom.js";
import { errorText, fullTime, t, timeFrom } from "./i18n.js";
import { formatAmount, formatChange } from "./money.js";
import { pagedList } from "./paged-list.js";
import { greetingText } from "./red-packet-texts.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./i18n.js").Key} Key */

/** @typedef {"ledger"|"received"|"sent"} Tab */

/**
 * @typedef {object} Line one of a list
 * @property {string} title
 * @property {string} note
 * @property {number} ts
 * @property {string} amount
 * @property {boolean} [gain]
 * @property {string} [packet] what it is about, if it can be shown
 */

/** @type {Record<string, Key>} */
const POSTINGS = { opening: "postingOpening", sent: "postingSent", received: "postingReceived", refund: "postingRefund" };
/** @type {Tab[]} */
const TABS = ["ledger", "received", "sent"];

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class WalletDialog {
  #dialog = byId("wallet-dialog");
  #list = byId("wallet-list");
  #openPacket;
  /** @type {Chat|null} */
  #chat = null;
  #shown = 0;

  /** @param {(packet: string) => void} openPacket */
  constructor(openPacket) {
    this.#openPacket = openPacket;
    wireClosing(this.#dialog);
    for (const [at, tab] of TABS.entries()) {
      byId(`wallet-${tab}`).addEventListener("click", () => this.#select(tab));
      byId(`wallet-${tab}`).addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        const to = /** @type {Tab} */ (TABS.at((at + step) % TABS.length));
        this.#select(to);
        byId(`wallet-${to}`).focus();
      });
    }
  }

  /** @param {Chat} chat */
  open(chat) {
    this.#chat = chat;
    byId("wallet-balance").textContent = "";
    byId("wallet-note").textContent = "";
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#askBalance(chat);
    this.#select("ledger");
  }

  /** @param {Chat} chat */
  async #askBalance(chat) {
    try {
      const { balance } = await chat.redPackets.wallet();
      byId("wallet-balance").textContent = formatAmount(balance);
    } catch (error) {
      byId("wallet-note").textContent = error.code === "not_found" ? t("walletElsewhere") : errorText(error.code);
    }
  }

  /** @param {Tab} tab */
  async #select(tab) {
    const chat = /** @type {Chat} */ (this.#chat);
    const shown = ++this.#shown;
    for (const each of TABS) {
      byId(`wallet-${each}`).setAttribute("aria-selected", String(each === tab));
      byId(`wallet-${each}`).tabIndex = each === tab ? 0 : -1;
    }
    this.#list.setAttribute("aria-labelledby", `wallet-${tab}`);
    this.#list.replaceChildren(h("div", { class: "spinner-row" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") })));
    const read = (cursor) => linesOf(chat, tab, cursor);
    try {
      const first = await read();
      if (shown !== this.#shown) return;
      const { list, more } = pagedList(first, read, (line) => this.#lineNode(line), "wallet-lines");
      this.#list.replaceChildren(...(list.children.length ? [list, more] : [h("p", { class: "muted wallet-empty" }, t("walletEmpty"))]));
    } catch (error) {
      if (shown !== this.#shown) return;
      const text = tab === "ledger" && error.code === "not_found" ? "" : errorText(error.code); // said above
      this.#list.replaceChildren(h("p", { class: "form-error", role: "alert" }, text));
    }
  }

  /** @param {Line} line */
  #lineNode({ title, note, ts, amount, gain = false, packet }) {
    const when = timeFrom(ts, Date.now()) ?? fullTime(ts);
    const content = [
      h("span", { class: "wallet-line-what" },
        h("span", { dir: "auto" }, title),
        h("small", { dir: "auto" }, [note, when].filter(Boolean).join(" · "))),
      h("span", { class: gain ? "wallet-line-amount wallet-line-gain" : "wallet-line-amount" }, amount),
    ];
    return h("li", {}, packet === undefined
      ? h("div", { class: "wallet-line" }, ...content)
      : h("button", { type: "button", class: "wallet-line", onclick: () => this.#openPacket(packet) }, ...content));
  }
}

/** @param {Chat} chat @param {Tab} tab @param {string} [cursor] @returns {Promise<import("./paged-list.js").RowsPage<Line>>} */
async function linesOf(chat, tab, cursor) {
  if (tab === "ledger") {
    const { postings, cursor: next } = await chat.redPackets.ledger(cursor);
    return { rows: postings.map(postingLine), cursor: next };
  }
  const { packets, cursor: next } = await chat.redPackets.mine(tab, cursor);
  return { rows: packets.map((each) => (tab === "sent" ? sentLine(each) : receivedLine(chat, each))), cursor: next };
}

/** @returns {Line} */
const postingLine = ({ ts, amount, kind, packet }) => ({
  title: t(Object.hasOwn(POSTINGS, kind) ? POSTINGS[kind] : "postingOther"),
  note: "", ts, amount: formatChange(amount), gain: amount > 0, packet,
});

/** @returns {Line} */
const sentLine = ({ packet, greeting, total, count, claimed, state, created }) => ({
  title: greetingText(greeting),
  note: state === "expired" ? `${t("packetExpired")} ${claimed}/${count}` : t("packetProgress", { claimed, count }),
  ts: created, amount: formatAmount(total), packet,
});

/** @param {Chat} chat @returns {Line} */
const receivedLine = (chat, { packet, from, greeting, amount, ts }) => ({
  title: from === chat.me ? t("youSuffix", { name: chat.nameOf(from) }) : chat.nameOf(from),
  note: greetingText(greeting), ts, amount: formatChange(amount), gain: true, packet,
});
