/** A list that the server gives in pages: its rows, and the button for the next of them. */
import { h } from "./dom.js";
import { t } from "./i18n.js";

/**
 * @template Row
 * @typedef {{rows: Row[], cursor?: string}} RowsPage
 */

/**
 * @template Row
 * @param {RowsPage<Row>} first
 * @param {(cursor: string) => Promise<RowsPage<Row>>} next
 * @param {(row: Row) => HTMLElement} make
 * @param {string} [className]
 */
export function pagedList(first, next, make, className = "members") {
  const list = h("ul", { class: className });
  const more = /** @type {HTMLButtonElement} */ (h("button", { type: "button", class: "button", hidden: true }, t("more")));
  let cursor = "";
  const take = (page) => {
    list.append(...page.rows.map(make));
    cursor = page.cursor ?? "";
    more.hidden = !cursor;
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      take(await next(cursor));
    } catch {
      // The button stays: press it again.
    } finally {
      more.disabled = false;
    }
  });
  take(first);
  return { list, more };
}
