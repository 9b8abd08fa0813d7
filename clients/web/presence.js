/** Whether the other one of the direct conversation on the screen is online: asked for when it is opened, and each minute while it is looked at. */
import { t, timeFrom } from "./i18n.js";

const EVERY_MS = 60_000;

export class PresenceWatch {
  /** @type {string|null} */
  #user = null;
  /** @type {import("./chat.js").Chat|null} */
  #chat = null;
  /** @type {{online: boolean, last_seen: number|null}|null} */
  #known = null;
  #askedAt = 0;
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    setInterval(() => this.#ask(), EVERY_MS);
    document.addEventListener("visibilitychange", () => {
      if (Date.now() - this.#askedAt >= EVERY_MS) this.#ask();
    });
  }

  /** In words; empty where it is not known, or not shown. */
  get text() {
    if (this.#known?.online === true) return t("presenceOnline");
    const seen = this.#known?.last_seen;
    const time = Number.isInteger(seen) ? timeFrom(/** @type {number} */ (seen), Date.now()) : null;
    return time ? t("presenceLast", { time }) : "";
  }

  /** @param {import("./chat.js").Chat} chat @param {string|null} user nobody: null */
  watch(chat, user) {
    this.#chat = chat;
    this.#user = user;
    this.#known = null;
    this.#ask();
  }

  async #ask() {
    const user = this.#user;
    if (!user || !this.#chat || document.visibilityState !== "visible") return;
    this.#askedAt = Date.now();
    try {
      const presence = await this.#chat.presenceOf(user);
      if (user !== this.#user) return;
      this.#known = presence ?? null;
      this.#onChange();
    } catch {
      // Nothing is said of it then.
    }
  }
}
