/** The dialog of one red packet: closed, with the button that opens it, and opened, with who got how much. */
import { wireClosing } from "./dialogs.js";
import { avatar, h, icon, reconcile } from "./dom.js";
import { errorText, fullTime, t, timeFrom } from "./i18n.js";
import { formatAmount } from "./money.js";
import { isGroup } from "./protocol.js";
import { claimErrorText, greetingText, isForOther, kindText, reasonText } from "./red-packet-texts.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./red-packets.js").Detail} Detail */
/** @typedef {import("./red-packets.js").Claim} Claim */

/** The coin turns at least once, however fast the answer comes. */
const TURN_MS = 800;
/** What happens to a packet is shown a moment later, together with what follows. */
const NEWS_MS = 300;

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class RedPacketDialog {
  #dialog = byId("packet-dialog");
  #body = byId("packet-body");
  #openWallet;
  /** @type {Chat|null} */
  #chat = null;
  #packet = "";
  /** Goes up with every packet that is shown, so that what belongs to an older one is recognised. */
  #opened = 0;
  /** As far as it was read. @type {Detail|null} */
  #detail = null;
  /** @type {Claim[]} */
  #claims = [];
  #closing = new AbortController();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #newsTimer;

  /** @param {() => void} openWallet */
  constructor(openWallet) {
    this.#openWallet = openWallet;
    wireClosing(this.#dialog);
    this.#dialog.addEventListener("close", () => this.#onClose());
  }

  /** @param {Chat} chat @param {string} packet */
  async open(chat, packet) {
    this.#opened++;
    this.#chat = chat;
    this.#packet = packet;
    this.#detail = null;
    this.#closing.abort();
    this.#closing = new AbortController();
    chat.redPackets.addEventListener("news", (event) => {
      if (/** @type {CustomEvent} */ (event).detail.packet === packet) this.#onNews();
    }, { signal: this.#closing.signal });
    const loaded = this.#load();
    if (!this.#dialog.open) this.#dialog.showModal();
    await loaded;
  }

  #onClose() {
    // The event comes late: the dialog may be open again.
    if (this.#dialog.open) return;
    this.#opened++;
    this.#closing.abort();
    clearTimeout(this.#newsTimer);
    // The card that was pressed, and that the focus returns to, may have been made anew since.
    const { activeElement, body } = document;
    if (activeElement === body || this.#dialog.contains(activeElement)) byId("messages").querySelector(`[data-packet="${CSS.escape(this.#packet)}"]`)?.focus();
  }

  async #load() {
    const opened = this.#opened;
    this.#show(h("div", { class: "packet-wait" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") })));
    try {
      const detail = await this.#read(1);
      if (opened !== this.#opened) return;
      const closed = detail.amount === undefined && detail.from !== this.#chat?.me;
      if (canClaim(detail, this.#chat?.me ?? "")) this.#showCover("");
      else if (closed) this.#showCover(reasonText(/** @type {Chat} */ (this.#chat), detail));
      else this.#showResult();
    } catch (error) {
      if (opened === this.#opened) this.#showFailure(error);
    }
  }

  /** Reads the packet, and its claims up to so many. @param {number} enough @returns {Promise<Detail>} */
  async #read(enough) {
    const { redPackets } = /** @type {Chat} */ (this.#chat);
    const opened = this.#opened;
    const claims = [];
    let cursor;
    let detail;
    do {
      detail = await redPackets.detail(this.#packet, cursor);
      claims.push(...detail.claims);
      cursor = detail.cursor;
    } while (cursor && claims.length < enough && opened === this.#opened);
    if (opened === this.#opened) this.#take(detail, claims);
    return detail;
  }

  /** @param {Detail} detail @param {Claim[]} claims */
  #take(detail, claims) {
    this.#detail = detail;
    this.#claims = claims;
  }

  #onNews() {
    clearTimeout(this.#newsTimer);
    this.#newsTimer = setTimeout(() => this.#refresh(), NEWS_MS);
  }

  /** Reads again what is shown. */
  async #refresh() {
    const opened = this.#opened;
    const shown = this.#detail;
    if (!shown) return;
    try {
      await this.#read(Math.max(1, this.#claims.length));
    } catch {
      return; // What is shown stays.
    }
    if (opened !== this.#opened) return;
    const cover = this.#body.querySelector(".packet-cover");
    if (!cover) this.#showResult();
    // It was opened on another device.
    else if (this.#detail?.amount !== undefined && !this.#body.querySelector(".packet-coin-turning")) this.#uncover(cover);
  }

  /** @param {HTMLElement} content */
  #show(content) {
    this.#body.replaceChildren(content);
  }

  /** @param {{code: string}} error */
  #showFailure(error) {
    const retry = h("button", { type: "button", class: "button", onclick: () => this.#load() }, t("retry"));
    const text = error.code === "not_found" ? t("packetGone") : errorText(error.code);
    this.#show(h("div", { class: "packet-wait" }, h("p", { class: "form-error", role: "alert" }, text), retry));
    retry.focus();
  }

  // --- closed --------------------------------------------------------------------------------------------------------

  /** @param {string} reason why it cannot be opened; empty where it can */
  #showCover(reason) {
    const [chat, detail] = [/** @type {Chat} */ (this.#chat), /** @type {Detail} */ (this.#detail)];
    const name = chat.nameOf(detail.from);
    const status = h("p", { id: "packet-reason", class: "packet-reason", role: "status" }, reason);
    const coin = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "packet-coin", hidden: reason !== "" },
      h("span", { class: "packet-coin-face" }, t("packetOpen"))));
    const details = h("button", {
      type: "button", class: "packet-details", "aria-describedby": "packet-reason", hidden: !reason && detail.from !== chat.me, onclick: () => this.#showResult(),
    }, t("packetDetails"));
    const cover = h("div", { class: reason ? "packet-cover packet-cover-closed" : "packet-cover" },
      h("div", { class: "packet-cover-top" },
        avatar(detail.from, name),
        h("p", { class: "packet-title", dir: "auto" }, t("packetOf", { name })),
        kindLine(chat, detail),
        h("p", { class: "packet-cover-greeting", dir: "auto" }, greetingText(detail.greeting))),
      h("div", { class: "packet-cover-bottom" }, coin, status, details));
    coin.addEventListener("click", () => this.#claim(cover, coin, status, details));
    this.#show(cover);
    (coin.hidden ? details : coin).focus();
  }

  /** @param {HTMLElement} cover @param {HTMLButtonElement} coin @param {HTMLElement} status @param {HTMLElement} details */
  async #claim(cover, coin, status, details) {
    const [chat, detail] = [/** @type {Chat} */ (this.#chat), /** @type {Detail} */ (this.#detail)];
    const opened = this.#opened;
    if (coin.getAttribute("aria-disabled") === "true") return;
    // It keeps the focus, so it is not disabled.
    coin.setAttribute("aria-disabled", "true");
    coin.classList.add("packet-coin-turning");
    status.textContent = "";
    const turned = new Promise((resolve) => setTimeout(resolve, matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : TURN_MS));
    try {
      const amount = await chat.redPackets.claim(detail);
      await turned;
      if (opened !== this.#opened) return;
      this.#detail = { .../** @type {Detail} */ (this.#detail), amount };
      this.#uncover(cover);
      await this.#refresh();
    } catch (error) {
      await turned;
      if (opened !== this.#opened) return;
      status.textContent = claimErrorText(chat, detail, error);
      coin.classList.remove("packet-coin-turning");
      coin.removeAttribute("aria-disabled");
      // What the server refuses for good is asked for no more.
      if (error.retryable) return;
      cover.classList.add("packet-cover-closed");
      coin.hidden = true;
      details.hidden = false;
      details.focus();
      await this.#refresh();
    }
  }

  /** Takes the cover off what is in the packet. @param {HTMLElement} cover */
  async #uncover(cover) {
    this.#showResult();
    cover.classList.add("packet-cover-leaving");
    cover.inert = true;
    this.#body.append(cover);
    // Where nothing is to move, there is nothing to wait for.
    const moves = cover.querySelector(".packet-cover-top")?.getAnimations() ?? [];
    await Promise.allSettled(moves.map((move) => move.finished));
    cover.remove();
  }

  // --- opened --------------------------------------------------------------------------------------------------------

  /** Shows what is known of the packet, and keeps what of it is shown already. */
  #showResult() {
    if (!this.#body.querySelector(".packet-result")) {
      this.#show(h("div", { class: "packet-result" },
        h("div", { class: "packet-top" }),
        h("ul", { class: "packet-claims" }),
        h("button", { type: "button", class: "button packet-more", hidden: true, onclick: () => this.#more() }, t("more"))));
      this.#renderResult();
      (this.#body.querySelector(".packet-amount") ?? this.#body.querySelector(".packet-title")).focus();
    } else {
      this.#renderResult();
    }
  }

  #renderResult() {
    const [chat, detail] = [/** @type {Chat} */ (this.#chat), /** @type {Detail} */ (this.#detail)];
    const name = chat.nameOf(detail.from);
    const { amount } = detail;
    const reason = reasonText(chat, detail);
    const summary = summaryText(chat, detail);
    reconcile(this.#body.querySelector(".packet-top"), [
      {
        key: "head", sig: name, make: () => h("div", { class: "packet-head" },
          avatar(detail.from, name),
          h("p", { class: "packet-title", tabindex: -1, dir: "auto" }, t("packetOf", { name })),
          kindLine(chat, detail),
          h("p", { class: "packet-head-greeting", dir: "auto" }, greetingText(detail.greeting))),
      },
      {
        key: "amount", sig: JSON.stringify([amount, reason]), make: () => (amount === undefined
          ? h("p", { class: "packet-reason", role: "status" }, reason)
          : h("div", { class: "packet-won" },
            h("p", { class: "packet-amount", tabindex: -1 },
              h("span", { class: "visually-hidden" }, t("packetReceived", { amount: formatAmount(amount) })),
              h("span", { "aria-hidden": "true" }, formatAmount(amount))),
            h("button", { type: "button", class: "link", onclick: this.#openWallet }, t("packetInWallet")))),
      },
      { key: "summary", sig: summary, make: () => h("p", { class: "packet-summary", role: "status" }, summary) },
    ]);
    reconcile(this.#body.querySelector(".packet-claims"), this.#claims.map((claim) => claimItem(chat, claim, detail.best === claim.user)));
    this.#body.querySelector(".packet-more").hidden = !detail.cursor;
  }

  async #more() {
    const opened = this.#opened;
    const more = this.#body.querySelector(".packet-more");
    const { cursor } = /** @type {Detail} */ (this.#detail);
    more.disabled = true;
    try {
      const page = await /** @type {Chat} */ (this.#chat).redPackets.detail(this.#packet, cursor);
      // It may have been read anew meanwhile.
      if (opened !== this.#opened || this.#detail?.cursor !== cursor) return;
      this.#take(page, [...this.#claims, ...page.claims]);
      this.#renderResult();
    } catch {
      // The button stays: press it again.
    } finally {
      more.disabled = false;
    }
  }
}

/** Whether it is worth asking for a share, as far as the packet tells. @param {Detail} detail @param {string} me */
const canClaim = (detail, me) => detail.state === "open" && detail.amount === undefined && !isForOther(detail, me);

/** @param {Chat} chat @param {Detail} detail */
const kindLine = (chat, detail) => h("p", { class: "packet-kind" }, kindText(detail, isGroup(detail.conv)),
  isGroup(detail.conv) && detail.to !== undefined && ` · ${t("packetFor", { name: detail.to === chat.me ? t("youObject") : chat.nameOf(detail.to) })}`);

/** @param {Chat} chat @param {Detail} detail */
function summaryText(chat, { kind, from, total, count, claimed, state, refunded }) {
  const values = { claimed, count, total: formatAmount(total) };
  const parts = [kind === "direct" || count === 1 ? t("packetSummaryOne", values) : t(claimed === count ? "packetSummaryAll" : "packetSummary", values)];
  if (state === "expired") parts.push(t("packetExpired"));
  if (refunded !== undefined && from === chat.me) parts.push(t("packetRefunded", { amount: formatAmount(refunded) }));
  return parts.join(" · ");
}

/** @param {Chat} chat @param {Claim} claim @param {boolean} best @returns {import("./dom.js").Item} */
function claimItem(chat, { user, amount, ts }, best) {
  const name = chat.nameOf(user);
  const when = timeFrom(ts, Date.now()) ?? fullTime(ts);
  const make = () => h("li", { class: "packet-claim", dataset: { user } },
    avatar(user, name, { size: "small" }),
    h("span", { class: "packet-claim-who" },
      h("span", { dir: "auto" }, user === chat.me ? t("youSuffix", { name }) : name),
      h("time", { datetime: new Date(ts).toISOString(), title: fullTime(ts) }, when)),
    h("span", { class: "packet-claim-what" },
      amount !== undefined && h("span", { class: "packet-claim-amount" }, formatAmount(amount)),
      best && h("span", { class: "packet-best" }, icon("crown"), t("packetBest"))));
  return { key: user, sig: JSON.stringify([name, amount, when, best]), make };
}
