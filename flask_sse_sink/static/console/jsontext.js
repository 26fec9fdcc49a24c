// JSON as text. A number that JavaScript can't hold keeps its digits, a key may stand twice, and no
// depth is too deep: nothing here builds the value, or calls itself.

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/gs;
const DEPTHS = { "{": 1, "[": 1, "}": -1, "]": -1 };

// Control characters, and what some programs take for a line's end.
const UNSAFE = /[\u007f-\u009f\u2028\u2029]/g;
const escaped = (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Return a value as JSON on one line, without any control character. */
export const encode = (value) => JSON.stringify(value).replace(UNSAFE, escaped);

/** Return the string that a token stands for. */
export const decodeString = (token) => JSON.parse(token);

/** Return "object", "array", "string", or "word" for numbers, true, false and null. */
export function kind(text) {
  return { "{": "object", "[": "array", '"': "string" }[text[0]] ?? "word";
}

/**
 * Return JSON on one line; `word` may change numbers, true, false and null, `gap` stands behind
 * commas and colons.
 */
export function compact(text, word = (token) => token, gap = "") {
  const parts = [];
  for (const [token] of text.matchAll(TOKEN)) {
    if (token[0] === '"') parts.push(encode(decodeString(token)));
    else if (token === "," || token === ":") parts.push(token + gap);
    else parts.push(token in DEPTHS ? token : word(token));
  }
  return parts.join("");
}

/** Return whether JavaScript's values hold all that is in the text. */
export function survives(text) {
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '"__proto__"') return false;
    if (/^-?\d/.test(token) && !sameNumber(token)) return false;
  }
  return true;
}

function sameNumber(token) {
  const value = Number(token);
  if (!Number.isFinite(value)) return false;
  return /^-?\d+$/.test(token) ? String(value) === token : token.replace(/\D/g, "").length <= 17;
}

/**
 * Return the members of an object or array, as `[key, text of the value]` pairs; the keys of an
 * array are its indexes. The text must be valid JSON.
 */
export function members(text) {
  const found = [];
  const isObject = text[0] === "{";
  let depth = 0;
  let key = null;
  let begin = -1;
  for (const match of text.matchAll(TOKEN)) {
    const [token] = match;
    const end = match.index + token.length;
    const change = DEPTHS[token] ?? 0;
    if (change > 0) depth += 1;
    if (depth === 1 && (token === "," || (change < 0))) {
      if (begin >= 0) found.push([isObject ? key : found.length, text.slice(begin, match.index).trimEnd()]);
      begin = -1;
      key = null;
    } else if (depth === 1 && isObject && key === null && token[0] === '"') {
      key = decodeString(token);
    } else if (begin < 0 && match.index > 0 && !(depth === 1 && token === ":")) {
      begin = match.index;
    }
    if (change < 0) depth -= 1;
    if (depth === 0 && end > 1) break;
  }
  return found;
}
