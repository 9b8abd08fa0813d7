/** The dialog of what this user has set for all conversations: notifications, and what others see of them. */
import { wireClosing } from "./dialogs.js";
import { t } from "./i18n.js";
import { report } from "./toast.js";

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class SettingsDialog {
  #dialog = byId("settings-dialog");
  #notifications;
  /** @type {import("./chat.js").Chat|null} */
  #chat = null;

  /** @param {import("./notifications.js").Notifications} notifications */
  constructor(notifications) {
    this.#notifications = notifications;
    wireClosing(this.#dialog);
    byId("set-notifications").addEventListener("change", async (event) => {
      await notifications.switch(event.target.checked);
      this.render();
    });
    for (const name of ["receipts", "presence"]) {
      byId(`set-${name}`).addEventListener("change", async (event) => {
        event.target.disabled = true;
        await report(/** @type {any} */ (this.#chat).setPrivacy({ [name]: event.target.checked }));
        event.target.disabled = false;
        this.render();
        event.target.focus();
      });
    }
  }

  /** @param {import("./chat.js").Chat} chat */
  open(chat) {
    this.#chat = chat;
    this.render();
    this.#dialog.showModal();
  }

  /** What is set may change on another device. */
  render() {
    if (!this.#chat) return;
    for (const name of /** @type {const} */ (["receipts", "presence"])) {
      const box = byId(`set-${name}`);
      if (!box.disabled) box.checked = this.#chat.privacy[name];
    }
    byId("set-notifications").checked = this.#notifications.areOn;
    byId("set-notifications").disabled = !this.#notifications.areOffered || this.#notifications.areDenied;
    byId("set-notifications-hint").textContent = t(this.#notifications.areDenied ? "notificationsDenied" : "notificationsHint");
  }
}
