/** The browser's own notifications: of what others say while nobody looks at the page. */
import { t } from "./i18n.js";
import { isGroup } from "./protocol.js";
import { summary } from "./texts.js";

const STORAGE_KEY = "im.notifications";
const LONGEST = 200;

export class Notifications {
  #onOpen;

  /** @param {(conv: string) => void} onOpen called when one is pressed */
  constructor(onOpen) {
    this.#onOpen = onOpen;
  }

  get areOffered() {
    return "Notification" in globalThis;
  }

  get areDenied() {
    return this.areOffered && Notification.permission === "denied";
  }

  get areOn() {
    return this.areOffered && Notification.permission === "granted" && stored() === "on";
  }

  /** Only where the user pressed something: the browser asks them. @param {boolean} on */
  async switch(on) {
    if (on && this.areOffered && Notification.permission === "default") await Notification.requestPermission();
    try {
      localStorage.setItem(STORAGE_KEY, on && this.areOffered && Notification.permission === "granted" ? "on" : "off");
    } catch {
      // Storage is forbidden: there are none.
    }
  }

  /**
   * @param {import("./chat.js").Chat} chat
   * @param {import("./conversation.js").Conversation} conv
   * @param {import("./protocol.js").Entry} entry what somebody else said
   */
  tell(chat, conv, { from, kind, body }) {
    if (!this.areOn || document.visibilityState === "visible" || conv.row?.muted) return;
    const said = summary(kind, body);
    const text = isGroup(conv.id) ? t("namePrefix", { name: chat.nameOf(from), text: said }) : said;
    const shown = new Notification(chat.titleOf(conv), { body: text.slice(0, LONGEST), tag: conv.id });
    shown.onclick = () => {
      globalThis.focus();
      this.#onOpen(conv.id);
      shown.close();
    };
  }
}

function stored() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}
