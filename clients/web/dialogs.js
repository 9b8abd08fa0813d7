/** The dialogs of conversations: a new one, what a group is, and who has read a message. */
import { avatar, h } from "./dom.js";
import { errorText, t } from "./i18n.js";
import { pagedList } from "./paged-list.js";
import { USER_ID } from "./protocol.js";

/** @typedef {import("./chat.js").Chat} Chat */

const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** Closes a dialog by its buttons and by a press beside it. @param {any} dialog */
export function wireClosing(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  // A press on the backdrop has the dialog itself as its target.
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

export class NewDialog {
  #dialog = byId("new-dialog");
  #user = byId("direct-user");
  #users = byId("group-users");
  #name = byId("group-name");
  /** @type {Chat|null} */
  #chat = null;
  #gid = "";
  #onOpen;

  /** @param {(conv: string) => void} onOpen */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    wireClosing(this.#dialog);
    for (const kind of ["direct", "group"]) {
      byId(`tab-${kind}`).addEventListener("click", () => this.#select(kind));
      byId(`tab-${kind}`).addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        this.#select(kind === "direct" ? "group" : "direct");
        byId(kind === "direct" ? "tab-group" : "tab-direct").focus();
      });
    }
    byId("direct-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#startDirect();
    });
    byId("group-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#createGroup();
    });
    this.#users.addEventListener("input", () => this.#markChips());
  }

  /** @param {Chat} chat @param {{id: string, name: string}[]} people */
  open(chat, people) {
    this.#chat = chat;
    this.#gid = crypto.randomUUID().replaceAll("-", "");
    for (const input of [this.#user, this.#users, this.#name]) input.value = "";
    for (const error of ["direct-error", "group-error"]) byId(error).textContent = "";
    const others = people.filter(({ id }) => id !== chat.me);
    const chip = (id, name, props) =>
      h("button", { type: "button", class: "chip", dataset: { user: id }, ...props }, avatar(id, name, { size: "small" }), h("span", { dir: "auto" }, name));
    byId("direct-people").replaceChildren(...others.map(({ id, name }) => chip(id, name, { onclick: () => this.#finish(chat.directWith(id)) })));
    byId("group-people").replaceChildren(...others.map(({ id, name }) => chip(id, name, { "aria-pressed": "false", onclick: () => this.#toggle(id) })));
    for (const group of ["direct-people", "group-people"]) byId(group).hidden = others.length === 0;
    this.#select("direct");
    this.#dialog.showModal();
    this.#user.focus();
  }

  /** @param {string} kind */
  #select(kind) {
    for (const each of ["direct", "group"]) {
      byId(`tab-${each}`).setAttribute("aria-selected", String(each === kind));
      byId(`tab-${each}`).tabIndex = each === kind ? 0 : -1;
      byId(`${each}-form`).hidden = each !== kind;
    }
  }

  /** @param {string} conv */
  #finish(conv) {
    this.#dialog.close();
    this.#onOpen(conv);
  }

  #startDirect() {
    const user = this.#user.value.trim();
    const error = !USER_ID.test(user) ? t("badUserId", { user }) : user === this.#chat?.me ? t("ownUserId") : "";
    byId("direct-error").textContent = error;
    if (error || !this.#chat) this.#user.focus();
    else this.#finish(this.#chat.directWith(user));
  }

  /** @returns {string[]} */
  #members() {
    return [...new Set(/** @type {string} */ (this.#users.value).split(/[\s,;，、；]+/).filter(Boolean))];
  }

  /** @param {string} id */
  #toggle(id) {
    const members = this.#members();
    this.#users.value = (members.includes(id) ? members.filter((member) => member !== id) : [...members, id]).join(", ");
    this.#markChips();
  }

  #markChips() {
    const members = this.#members();
    for (const chip of byId("group-people").children) chip.setAttribute("aria-pressed", String(members.includes(chip.dataset.user)));
  }

  async #createGroup() {
    const chat = this.#chat;
    if (!chat) return;
    const name = this.#name.value.trim();
    const members = this.#members().filter((user) => user !== chat.me);
    const bad = members.find((user) => !USER_ID.test(user));
    const error = !name ? t("groupNeedsName") : bad ? t("badUserId", { user: bad }) : members.length ? "" : t("groupNeedsMembers");
    byId("group-error").textContent = error;
    if (error) return;
    byId("group-submit").disabled = true;
    try {
      this.#finish(await chat.createGroup(this.#gid, name, members));
    } catch (failure) {
      byId("group-error").textContent = errorText(failure.code);
    } finally {
      byId("group-submit").disabled = false;
    }
  }
}

export class InfoDialog {
  #dialog = byId("info-dialog");
  #body = byId("info-body");
  #opened = 0;

  constructor() {
    wireClosing(this.#dialog);
  }

  /** @param {Chat} chat @param {import("./conversation.js").Conversation} conv */
  async open(chat, conv) {
    const opened = ++this.#opened;
    this.#body.replaceChildren(h("div", { class: "spinner-row" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") })));
    this.#dialog.showModal();
    try {
      const [info, page] = await Promise.all([chat.groupInfo(conv.id), chat.groupMembers(conv.id)]);
      if (opened === this.#opened) this.#show(chat, conv, info, page);
    } catch (error) {
      if (opened === this.#opened) this.#body.replaceChildren(h("p", { class: "form-error", role: "alert" }, errorText(error.code)));
    }
  }

  /** @param {Chat} chat @param {any} conv @param {any} info @param {{members: any[], cursor?: string}} page */
  #show(chat, conv, info, page) {
    const title = chat.titleOf(conv);
    const rows = ({ members, cursor }) => ({ rows: members, cursor });
    const { list, more } = pagedList(rows(page), async (cursor) => rows(await chat.groupMembers(conv.id, cursor)), (member) => memberRow(chat, member));
    const count = typeof info.members === "number" ? info.members : page.members.length;
    this.#body.replaceChildren(
      h("div", { class: "info-head" },
        avatar(conv.id, title, { group: true, size: "large" }),
        h("strong", { dir: "auto" }, title),
        h("span", { class: "muted" }, count === 1 ? t("groupOfOne") : t("groupOf", { count }))),
      typeof info.notice === "string" && info.notice
        ? h("div", { class: "info-notice" }, h("h3", { class: "label" }, t("notice")), h("p", { dir: "auto" }, info.notice))
        : "",
      h("h3", { class: "label" }, t("members")),
      list,
      more);
  }
}

export class ReceiptsDialog {
  #dialog = byId("receipts-dialog");
  #body = byId("receipts-body");
  #opened = 0;

  constructor() {
    wireClosing(this.#dialog);
  }

  /** @param {Chat} chat @param {import("./conversation.js").Conversation} conv @param {number} seq */
  async open(chat, conv, seq) {
    const opened = ++this.#opened;
    this.#body.replaceChildren(h("div", { class: "spinner-row" }, h("span", { class: "spinner", role: "img", "aria-label": t("loading") })));
    this.#dialog.showModal();
    try {
      const lists = /** @type {const} */ (["read", "unread"]);
      const pages = await Promise.all(lists.map((list) => chat.receipts(conv, seq, { list })));
      if (opened !== this.#opened) return;
      const [{ members, delivered, read, private: hidden }] = pages;
      this.#body.replaceChildren(
        h("p", { class: "receipts-count" }, t("receiptsCount", { members, delivered, read })),
        hidden > 0 ? h("p", { class: "muted" }, t("receiptsPrivate", { count: hidden })) : "",
        chat.privacy.receipts ? "" : h("p", { class: "muted" }, t("receiptsOwn")),
        ...lists.flatMap((list, at) => [
          h("h3", { class: "label" }, t(list === "read" ? "receiptsRead" : "receiptsUnread")),
          ...namedList(chat, pages[at], (cursor) => chat.receipts(conv, seq, { list, cursor })),
        ]));
    } catch (error) {
      if (opened === this.#opened) this.#body.replaceChildren(h("p", { class: "form-error", role: "alert" }, errorText(error.code)));
    }
  }
}

/**
 * Names, and a button for the next page of them.
 * @param {Chat} chat
 * @param {{users?: string[], cursor?: string}} page
 * @param {(cursor: string) => Promise<{users?: string[], cursor?: string}>} next
 */
function namedList(chat, page, next) {
  const rows = ({ users = [], cursor }) => ({ rows: users, cursor });
  const { list, more } = pagedList(rows(page), async (cursor) => rows(await next(cursor)), (user) => memberRow(chat, { user }));
  return list.children.length ? [list, more] : [h("p", { class: "muted" }, t("nobody"))];
}

/** @param {Chat} chat @param {{user: string, role?: string}} member */
function memberRow(chat, { user, role }) {
  const name = chat.nameOf(user);
  const roleName = role === "owner" ? t("role_owner") : role === "admin" ? t("role_admin") : "";
  return h("li", { class: "member", dataset: { user } },
    avatar(user, name, { size: "small" }),
    h("span", { class: "member-name" },
      h("span", { dir: "auto" }, user === chat.me ? t("youSuffix", { name }) : name),
      name !== user && h("small", {}, user)),
    roleName && h("span", { class: "role" }, roleName));
}
