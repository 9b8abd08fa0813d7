/** What may be said of a value that came as JSON. */

/** @typedef {Record<string, any>} JsonObject a value that came as a JSON object: data, of which nothing is taken for granted */

/**
 * @param {unknown} value
 * @returns {value is JsonObject}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Whether a value is an integer that JavaScript has exactly.
 * @param {unknown} value
 * @returns {value is number}
 */
export function isInteger(value) {
  return Number.isSafeInteger(value);
}

/**
 * A value if it is an integer, else 0.
 * @param {unknown} value
 * @returns {number}
 */
export function integer(value) {
  return isInteger(value) ? value : 0;
}

/**
 * Whether two values would be the same JSON.
 * @param {any} one
 * @param {any} other
 * @returns {boolean}
 */
export function same(one, other) {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && same(one[name], other[name]))
  );
}

/**
 * Whether a value has arrays or objects within each other for more than `levels`.
 * @param {any} value
 * @param {number} levels
 * @returns {boolean}
 */
export function isDeeper(value, levels) {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  for (const inner of Array.isArray(value) ? value : Object.values(value)) {
    if (isDeeper(inner, levels - 1)) return true;
  }
  return false;
}
