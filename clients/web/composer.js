/** The box to write in: a new message, an answer to one, or the new text of one; and the draft of what is not sent yet. */
import { glimpseOf } from "./changes.js";
import { t } from "./i18n.js";
import { MAX_TEXT_BYTES, utf8Length } from "./protocol.js";
import { glimpseText } from "./texts.js";
import { report } from "./toast.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./protocol.js").Entry} Entry */

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class Composer {
  #text = byId("composer-text");
  /** @type {Chat|null} */
  #chat = null;
  /** @type {Conversation|null} */
  #conv = null;
  /** What is written now, if it is no message of its own. @type {{kind: "reply"|"edit", seq: number}|null} */
  #mode = null;
  /** Whether a new text is on its way. */
  #saving = false;

  constructor() {
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => {
      // While an input method is composing, its keys belong to it.
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape" && this.#mode) this.#leaveMode();
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("input", () => this.#onInput());
    byId("composer-mode-cancel").addEventListener("click", () => {
      this.#leaveMode();
      this.focus();
    });
  }

  /** @param {Chat} chat @param {Conversation|null} conv */
  switchTo(chat, conv) {
    this.#chat = chat;
    this.#conv = conv;
    this.#mode = null;
    this.#put(conv?.draft ?? "");
  }

  /** @param {boolean} canWrite */
  render(canWrite) {
    const conv = this.#conv;
    if (!conv) return;
    const message = this.#mode && conv.message(this.#mode.seq);
    if (this.#mode && (!message || message.recalled || conv.isClosed)) this.#leaveMode();
    // It may have been written on another device.
    else if (this.#mode?.kind !== "edit" && inOneForm(conv.draft) !== this.#text.value) this.#put(conv.draft);
    this.#renderMode();

    this.#text.disabled = !canWrite || conv.isClosed;
    byId("composer-packet").disabled = this.#text.disabled;
    const placeholder = t("writeMessage");
    this.#text.placeholder = placeholder;
    this.#text.setAttribute("aria-label", placeholder);
    for (const part of ["composer-box", "composer-hint"]) byId(part).hidden = conv.isClosed;
    const closed = byId("composer-closed");
    const text = conv.isClosed ? t(conv.dissolved ? "groupDissolved" : "groupLeft") : "";
    closed.hidden = !conv.isClosed;
    if (closed.textContent !== text) closed.textContent = text;
  }

  focus() {
    this.#text.focus();
  }

  /** @param {number} seq */
  reply(seq) {
    if (this.#mode?.kind === "edit") this.#leaveMode();
    this.#mode = { kind: "reply", seq };
    this.#renderMode();
    this.focus();
  }

  /** @param {Entry} message */
  edit({ seq, body }) {
    this.#mode = { kind: "edit", seq };
    this.#put(String(body.text));
    this.#renderMode();
    this.focus();
  }

  #leaveMode() {
    const wasEdit = this.#mode?.kind === "edit";
    this.#mode = null;
    if (wasEdit) this.#put(this.#conv?.draft ?? "");
    this.#renderMode();
  }

  #renderMode() {
    const message = this.#mode && this.#conv?.message(this.#mode.seq);
    byId("composer-mode").hidden = !message;
    // A packet is a message of its own: it answers nothing, and edits nothing.
    byId("composer-packet").hidden = Boolean(message);
    byId("composer-send").setAttribute("aria-label", t(this.#mode?.kind === "edit" ? "save" : "send"));
    if (!message || !this.#chat) return;
    const name = message.from === this.#chat.me ? t("you") : this.#chat.nameOf(message.from);
    byId("composer-mode-title").textContent = this.#mode?.kind === "edit" ? t("editing") : t("replyingTo", { name });
    byId("composer-mode-text").textContent = glimpseText(glimpseOf(message));
  }

  /** @param {string} text */
  #put(text) {
    this.#text.value = text;
    this.#fit();
  }

  #fit() {
    const text = this.#text.value;
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 168)}px`;
    const size = text.length > MAX_TEXT_BYTES / 4 ? utf8Length(text) : 0;
    const error = byId("composer-error");
    error.hidden = size <= MAX_TEXT_BYTES;
    error.textContent = error.hidden ? "" : tooLongText(size);
    byId("composer-send").disabled = !text.trim() || !error.hidden || this.#saving;
  }

  #onInput() {
    this.#fit();
    if (!this.#chat || !this.#conv) return;
    if (this.#mode?.kind !== "edit") this.#chat.setDraft(this.#conv, this.#text.value);
    if (this.#text.value.trim()) this.#chat.tellTyping(this.#conv);
  }

  #submit() {
    const text = this.#text.value.trim();
    const conv = this.#conv;
    if (!text || !conv || !this.#chat || this.#text.disabled || this.#saving) return;
    this.#fit();
    if (utf8Length(text) > MAX_TEXT_BYTES) return;
    const mode = this.#mode;
    if (mode?.kind === "edit") {
      this.#save(conv, mode.seq, text);
      return;
    }
    this.#chat.setDraft(conv, "", true);
    this.#put("");
    this.#leaveMode();
    this.#chat.send(conv.id, text, mode?.seq);
    this.focus();
  }

  /** The text stays in the box until the server has taken it. @param {Conversation} conv @param {number} seq @param {string} text */
  async #save(conv, seq, text) {
    const same = text === conv.message(seq)?.body.text;
    this.#saving = true;
    this.#fit();
    await report((async () => {
      if (!same) await this.#chat?.edit(conv, seq, text);
      if (this.#conv === conv && this.#mode?.kind === "edit" && this.#mode.seq === seq) this.#leaveMode();
    })(), { ofMessage: true });
    this.#saving = false;
    this.#fit();
  }
}

/** With the line ends of a text box. @param {string} text */
const inOneForm = (text) => text.replace(/\r\n?/g, "\n");

/** @param {number} size in bytes */
const tooLongText = (size) =>
  t("tooLong", { size: (Math.ceil((size / 1024) * 10) / 10).toFixed(1), max: MAX_TEXT_BYTES / 1024 });
