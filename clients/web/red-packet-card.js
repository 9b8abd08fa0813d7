/** A red packet as a message: what stands in the conversation in the place of a bubble. */
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { isGroup } from "./protocol.js";
import { greetingText, kindText, statusOf } from "./red-packet-texts.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./protocol.js").Entry} Entry */

/**
 * @typedef {object} Card what a card is made of
 * @property {string} packet
 * @property {string} greeting
 * @property {string} kind in words
 * @property {string} status in words
 * @property {boolean} done
 */

/** @param {Chat} chat @param {Entry} entry @returns {Card|null} null for what is no red packet */
export function cardOf(chat, { conv, kind, from, body }) {
  if (kind !== "redpacket" || typeof body?.packet !== "string") return null;
  const packet = { kind: String(body.kind), from, ...(typeof body.to === "string" ? { to: body.to } : {}) };
  const { done, text } = statusOf(chat, packet, chat.redPackets.of(body.packet));
  return { packet: body.packet, greeting: greetingText(body.greeting), kind: kindText(packet, isGroup(conv)), status: text, done };
}

/**
 * @param {Card} card
 * @param {string} name who sent it
 * @param {HTMLElement} meta
 * @param {() => void} open
 */
export function cardNode({ packet, greeting, kind, status, done }, name, meta, open) {
  return h("div", { class: done ? "packet-card packet-card-done" : "packet-card" },
    h("button", {
      type: "button", class: "packet-card-main", "aria-label": t("packetLabel", { kind, name, greeting, status }), "aria-haspopup": "dialog",
      dataset: { focus: "packet", packet }, onclick: open,
    },
    envelope(),
    h("span", { class: "packet-card-text" },
      h("span", { class: "packet-greeting", dir: "auto" }, greeting),
      h("span", { class: "packet-status" }, status))),
    h("div", { class: "packet-card-foot" }, h("span", {}, kind), meta));
}

/** The picture of a packet. Its colours are the style sheet's. */
export function envelope() {
  const ns = "http://www.w3.org/2000/svg";
  const make = (tag, attributes) => {
    const node = document.createElementNS(ns, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const svg = make("svg", { viewBox: "0 0 40 48", class: "envelope", "aria-hidden": "true" });
  svg.append(
    make("rect", { x: "1", y: "1", width: "38", height: "46", rx: "6", class: "envelope-body" }),
    make("path", { d: "M1 15V7a6 6 0 0 1 6-6h26a6 6 0 0 1 6 6v8Q20 29 1 15Z", class: "envelope-flap" }),
    make("circle", { cx: "20", cy: "22", r: "7", class: "envelope-coin" }),
    make("path", { d: "m20 18.6 1.1 2.2 2.4.4-1.7 1.7.4 2.4-2.2-1.1-2.2 1.1.4-2.4-1.7-1.7 2.4-.4Z", class: "envelope-star" }));
  return svg;
}
