/** The dialogs of messages: where to forward them, and those that are pinned. */
import { wireClosing } from "./dialogs.js";
import { avatar, h } from "./dom.js";
import { errorText, fullTime, t, timeFrom } from "./i18n.js";
import { isGroup, peerOf } from "./protocol.js";
import { summary } from "./texts.js";
import { toast } from "./toast.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */

const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** What can be chosen, with a second line and the picture of a person or a group. */
const choice = (id, title, note, { name = title, group = false, onclick }) =>
  h("li", {}, h("button", { type: "button", class: "choice", onclick },
    avatar(id, name, { group, size: "small" }),
    h("span", {}, h("span", { dir: "auto" }, title), note && h("small", { dir: "auto" }, note))));

export class ForwardDialog {
  #dialog = byId("forward-dialog");
  #body = byId("forward-body");

  constructor() {
    wireClosing(this.#dialog);
  }

  /** @param {Chat} chat @param {Conversation} source @param {number[]} seqs ascending @param {() => void} done */
  open(chat, source, seqs, done) {
    const error = h("p", { class: "form-error", role: "alert" });
    const list = h("ul", { class: "choices" });
    const send = async (conv) => {
      for (const button of list.querySelectorAll("button")) button.disabled = true;
      try {
        await chat.forward(source, seqs, conv.id);
        this.#dialog.close();
        toast(t("forwarded"), "news");
        done();
      } catch (failure) {
        error.textContent = errorText(failure.code);
        for (const button of list.querySelectorAll("button")) button.disabled = false;
      }
    };
    list.append(...chat.list.filter((conv) => !conv.isClosed).map((conv) => {
      const group = isGroup(conv.id);
      const id = group ? conv.id : peerOf(conv.id, chat.me);
      return choice(id, chat.titleOf(conv), t(group ? "group" : "direct"), { group, onclick: () => send(conv) });
    }));
    this.#body.replaceChildren(error, list);
    this.#dialog.showModal();
  }
}

export class PinsDialog {
  #dialog = byId("pins-dialog");
  #body = byId("pins-body");
  #opened = 0;

  constructor() {
    wireClosing(this.#dialog);
  }

  /** @param {Chat} chat @param {Conversation} conv @param {(seq: number) => void} show */
  async open(chat, conv, show) {
    const opened = ++this.#opened;
    this.#body.replaceChildren(h("div", { class: "spinner-row" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") })));
    this.#dialog.showModal();
    try {
      const pins = await chat.pins(conv);
      if (opened !== this.#opened) return;
      const list = h("ul", { class: "choices" }, ...pins.map(({ seq, from, kind, body, ts }) =>
        choice(from, summary(kind, body), `${chat.nameOf(from)} · ${timeFrom(ts, Date.now()) ?? fullTime(ts)}`, {
          name: chat.nameOf(from),
          onclick: () => {
            this.#dialog.close();
            show(seq);
          },
        })));
      this.#body.replaceChildren(pins.length ? list : h("p", { class: "muted" }, t("noPins")));
    } catch (error) {
      if (opened === this.#opened) this.#body.replaceChildren(h("p", { class: "form-error", role: "alert" }, errorText(error.code)));
    }
  }
}
