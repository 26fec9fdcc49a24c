// The rows of the table: events, and marks of what happened to the stream between them. The newest
// 1,000 are kept. While the table is paused, new rows are kept apart.

import { kind, members } from "./jsontext.js";

export const MOST_ROWS = 1000;
// In characters of their text. One event may have a megabyte.
const MOST_TEXT = 16 * 1024 * 1024;
// Where the envelope's data begins. No string has this in it: a quote in a string has a backslash.
const DATA = ',"data":';

const encoder = new TextEncoder();
let last = 0;

/**
 * Return the row of an event. `text` is its envelope, `receivedAt` when it came, and `liveSince`
 * when the stream began: both by the server's clock, in milliseconds. Older events were replayed.
 */
export function eventRow({ id, text, receivedAt, liveSince }) {
  const envelope = parsed(text);
  const time = Date.parse(envelope.created_at ?? envelope.time ?? "");
  const isReplayed = time < liveSince;
  return {
    number: ++last,
    id: String(id || envelope.id || ""),
    text,
    time,
    type: word(envelope.event_type ?? envelope.type),
    entity: word(envelope.entity_id ?? envelope.subject),
    source: word(envelope.source?.name ?? envelope.source),
    bytes: encoder.encode(text).length,
    isReplayed,
    latency: isReplayed ? NaN : Math.max(0, receivedAt - time),
  };
}

/** Return the row of a mark. `kind` is "good", "warning" or "bad", as it is coloured. */
export const markRow = (words, kind = "good", time = Date.now()) => ({
  number: ++last, mark: words, kind, time, text: "",
});

/** Return the beginning of an event's data, as text for one line. */
export function preview(row, most = 240) {
  const begin = row.text.indexOf(DATA);
  if (begin < 0) return "";
  const rest = row.text.slice(begin + DATA.length, begin + DATA.length + 8 * most);
  // In an object or array, the text goes on with the envelope's other members behind its end.
  const end = kind(rest) === "word" ? rest.search(/[,}]/) : endOfValue(rest);
  return rest.slice(0, end < 0 ? most : Math.min(end, most)) + (end < 0 || end > most ? "…" : "");
}

/** Return the members of an event's envelope: the JSON text of each, by its key. */
export const envelopeMembers = (row) => new Map(members(row.text));

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}

const word = (value) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value));

/** Return where the first JSON value of a text ends, -1 if the text ends before it. */
function endOfValue(text) {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]|"/gs)) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    else if (token === '"') return -1;
    if (depth === 0) return index + token.length;
  }
  return -1;
}

class Kept {
  rows = [];
  dropped = 0;
  #text = 0;

  /** Add a row, and return those that are no longer kept. */
  add(row) {
    this.rows.push(row);
    this.#text += row.text.length;
    const out = [];
    while (this.rows.length > MOST_ROWS || (this.#text > MOST_TEXT && this.rows.length > 1)) {
      const oldest = this.rows.shift();
      this.#text -= oldest.text.length;
      this.dropped += 1;
      out.push(oldest);
    }
    return out;
  }
}

export class Rows {
  #kept = new Kept();
  /** What came while the table was paused, null while it isn't. */
  #held = null;
  #needles = [];
  /** The rows that the search lets through, the oldest first. */
  shown = [];
  /** How many rows came at the end of `shown`, ever. */
  added = 0;
  search = "";

  get isPaused() { return this.#held !== null; }
  /** How many rows came while the table is paused. */
  get waiting() { return this.#held ? this.#held.rows.length + this.#held.dropped : 0; }
  get kept() { return this.#kept.rows.length; }

  add(row) {
    if (this.#held) this.#held.add(row);
    else this.#show(row);
  }

  pause() { this.#held ??= new Kept(); }

  resume() {
    const held = this.#held;
    this.#held = null;
    if (!held) return;
    if (held.dropped) {
      this.#show(markRow(`${held.dropped.toLocaleString("en")} rows came while this was paused, and weren't kept`, "warning", NaN));
    }
    held.rows.forEach((row) => this.#show(row));
  }

  clear() {
    this.#kept = new Kept();
    this.shown = [];
    if (this.#held) this.#held = new Kept();
  }

  find(text) {
    this.search = text;
    // A quote in a text has a backslash in JSON.
    const lower = text.toLowerCase();
    this.#needles = text ? [...new Set([lower, JSON.stringify(lower).slice(1, -1)])] : [];
    this.shown = this.#kept.rows.filter((row) => this.#isFound(row));
  }

  /** Return how many events the search lets through. */
  get found() { return this.shown.reduce((sum, row) => sum + (row.mark === undefined ? 1 : 0), 0); }

  #show(row) {
    for (const old of this.#kept.add(row)) {
      if (this.shown[0] === old) this.shown.shift();
    }
    if (this.#isFound(row)) {
      this.shown.push(row);
      this.added += 1;
    }
  }

  #isFound(row) {
    if (!this.#needles.length || row.mark !== undefined) return true;
    const text = row.text.toLowerCase();
    return this.#needles.some((needle) => text.includes(needle));
  }
}
