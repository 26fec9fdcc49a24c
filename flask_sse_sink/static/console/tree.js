// Draws JSON as a tree whose parts can be folded. Only what is open is made. The text stays as it
// was sent: numbers keep their digits.

import { make } from "./dom.js";
import { count, plural } from "./format.js";
import { decodeString, kind, members } from "./jsontext.js";

const OPEN_DEPTH = 2;
// What the search finds is opened no deeper than that: each level reads the text again.
const MOST_DEPTH = 12;
const MOST_MEMBERS = 100;
const MOST_STRING = 2000;

/** Return the tree of a value; what contains `search` is open, and marked. */
export function tree(text, search = "") {
  return node(null, text.trim(), search.toLowerCase(), 0);
}

function node(key, text, search, depth) {
  const type = kind(text);
  if (type !== "object" && type !== "array") return make("div", { class: "leaf" }, ...named(key, search), leaf(text, type, search));
  const inside = members(text);
  const [open, close] = type === "object" ? "{}" : "[]";
  if (!inside.length) return make("div", { class: "leaf" }, ...named(key, search), make("span", { class: "sign" }, open + close));
  const size = type === "object" ? plural(inside.length, "member") : plural(inside.length, "item");
  const body = make("div", { class: "members" });
  const details = make(
    "details", {},
    make("summary", {}, ...named(key, search), make("span", { class: "sign" }, open), make("span", { class: "folded" }, `${size} ${close}`)),
    body,
  );
  const fill = () => { if (!body.firstChild) addMembers(body, inside, 0, search, depth + 1); };
  details.addEventListener("toggle", () => { if (details.open) fill(); });
  const isFound = search && depth < MOST_DEPTH && text.toLowerCase().includes(search);
  if (depth < OPEN_DEPTH || isFound) {
    fill();
    details.open = true;
  }
  return details;
}

function addMembers(body, inside, from, search, depth) {
  const end = Math.min(inside.length, from + MOST_MEMBERS);
  for (const [key, text] of inside.slice(from, end)) body.append(node(key, text, search, depth));
  if (end === inside.length) return;
  const more = make("button", { type: "button", class: "more" }, `${count(inside.length - end)} more`);
  more.addEventListener("click", () => {
    more.remove();
    addMembers(body, inside, end, search, depth);
    body.children[end]?.querySelector("summary")?.focus();
  });
  body.append(more);
}

const named = (key, search) =>
  key === null ? [] : [make("span", { class: "key" }, ...marked(String(key), search)), make("span", { class: "sign" }, ": ")];

function leaf(text, type, search) {
  if (type === "word") return make("span", { class: "word" }, ...marked(text, search));
  const string = decodeString(text);
  const shown = make("span", { class: "string" }, ...marked(string.slice(0, MOST_STRING), search));
  if (string.length <= MOST_STRING) return shown;
  const more = make("button", { type: "button", class: "more" }, `${count(string.length - MOST_STRING)} more characters`);
  more.addEventListener("click", () => shown.replaceChildren(...marked(string, search)));
  shown.append(more);
  return shown;
}

/** Return a text as nodes, with what the search finds in it marked. */
function marked(text, search) {
  if (!search) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  // In some languages the lower-case text is longer: then nothing is marked.
  if (lower.length !== text.length) return [text];
  let from = 0;
  for (let at = lower.indexOf(search); at >= 0; at = lower.indexOf(search, from)) {
    parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + search.length)));
    from = at + search.length;
  }
  return [...parts, text.slice(from)];
}
