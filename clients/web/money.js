/**
 * Money as whole numbers of its smallest unit, a hundredth: read from what somebody typed, and written for reading.
 * Digits are moved, never divided: no amount goes through a fraction.
 */

/** So many digits, hundredths among them: the largest amount times the largest count is still a safe integer. */
const MAX_DIGITS = 11;
const MAX_COUNT_DIGITS = 4;

/** @typedef {"amountMissing"|"amountForm"|"amountDecimals"|"amountZero"|"amountLarge"} Problem what is wrong with an amount: a text's key */

/**
 * An amount as people type it: `12`, `12.3`, `12.34`, `.5`, also in the wide digits of an input method.
 * @param {string} text
 * @returns {{units: number, problem?: undefined}|{units?: undefined, problem: Problem}}
 */
export function parseAmount(text) {
  const typed = text.normalize("NFKC").replaceAll("。", ".").trim();
  if (!typed) return { problem: "amountMissing" };
  const parts = /^(\d*)\.?(\d*)$/.exec(typed);
  if (!parts || typed === ".") return { problem: "amountForm" };
  const [, whole, hundredths] = parts;
  if (hundredths.length > 2) return { problem: "amountDecimals" };
  const digits = (whole + hundredths.padEnd(2, "0")).replace(/^0+/, "");
  if (!digits) return { problem: "amountZero" };
  if (digits.length > MAX_DIGITS) return { problem: "amountLarge" };
  return { units: Number(digits) };
}

/** A whole number from 1, as people type it; null for anything else. @param {string} text @returns {number|null} */
export function parseCount(text) {
  const digits = text.normalize("NFKC").trim();
  return /^[1-9]\d*$/.test(digits) && digits.length <= MAX_COUNT_DIGITS ? Number(digits) : null;
}

/** `1234567` is `12,345.67`. @param {number} units */
export function formatAmount(units) {
  const digits = String(Math.abs(units)).padStart(3, "0");
  const whole = digits.slice(0, -2).replace(/\B(?=(?:\d{3})+$)/g, ",");
  return `${units < 0 ? "\u2212" : ""}${whole}.${digits.slice(-2)}`;
}

/** With a sign in any case: what came and what went. @param {number} units */
export const formatChange = (units) => (units > 0 ? `+${formatAmount(units)}` : formatAmount(units));
