/** The first page: choose a user, or bring an address and a token. */
import { avatar, h } from "./dom.js";
import { t } from "./i18n.js";
import { identityOf, subjectOf } from "./identity.js";

/** @typedef {import("./identity.js").Config} Config */
/** @typedef {import("./identity.js").Identity} Identity */

const byId = (id) => /** @type {any} */ (document.getElementById(id));

export class SignInView {
  /** @type {() => string} made again when the language changes */
  #error = () => "";

  /** @param {(identity: Identity) => void} onSignIn */
  constructor(onSignIn) {
    this.onSignIn = onSignIn;
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** @param {Config} config */
  show(config) {
    byId("signin").hidden = false;
    byId("signin-people").hidden = config.users.length === 0;
    byId("signin-token").open = config.users.length === 0;
    byId("token-url").value ||= config.websocket ?? "";
    byId("signin-users").replaceChildren(...config.users.map(({ id, name }) =>
      h("button", { type: "button", class: "user-card", dataset: { user: id }, onclick: () => this.#choose(config, id) },
        avatar(id, name), h("span", { class: "user-card-name" }, h("strong", { dir: "auto" }, name), h("small", {}, id)))));
    this.localize();
  }

  hide() {
    byId("signin").hidden = true;
    byId("token-text").value = "";
    this.fail(() => "");
  }

  /** @param {() => string} error */
  fail(error) {
    this.#error = error;
    this.localize();
  }

  localize() {
    byId("signin-error").textContent = this.#error();
  }

  /** @param {Config} config @param {string} id */
  #choose(config, id) {
    const identity = identityOf(config, id);
    if (identity) this.onSignIn(identity);
    else this.fail(() => t("unknownUser", { user: id }));
  }

  #submit() {
    const websocket = byId("token-url").value.trim();
    const token = byId("token-text").value.trim();
    const user = subjectOf(token);
    if (!/^wss?:\/\//i.test(websocket) || !URL.canParse(websocket)) this.fail(() => t("badUrl"));
    else if (!isAllowed(new URL(websocket))) this.fail(() => t("openUrl"));
    else if (!user) this.fail(() => t("badToken"));
    else this.onSignIn({ user, websocket, token });
  }
}

/** The page's policy has plain connections to this computer only. @param {URL} url */
const isAllowed = ({ protocol, hostname }) => protocol === "wss:" || hostname === "localhost" || hostname === "127.0.0.1";
