// The forms above the table: filters and replay, and the token of a closed sink.

import { byId, setText } from "./dom.js";

const FILTERS = ["event_type", "entity_id", "source"];
const LAST_IDS = ["last_event_id", "lastEventId", "lastEventID", "Last-Event-ID"];

/** What the reader narrows the stream to, and where it begins. */
export class Filters {
  #form = byId("filters");
  /** What the page's URL asked for, by the fields' names. */
  #given = new Map();

  /** `onApply` is called when the reader wants these filters. */
  constructor(onApply) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      onApply();
    });
    // On a narrow screen the events come first.
    const fold = byId("fold");
    const narrow = matchMedia("(max-width: 760px)");
    const adapt = () => { fold.open = !narrow.matches; };
    narrow.addEventListener("change", adapt);
    adapt();
  }

  /** Show what the URL of the page asks for. */
  show(query, sink) {
    const { elements } = this.#form;
    for (const name of FILTERS) {
      const values = query.getAll(name).filter(Boolean);
      elements[name].value = values.join(",");
      this.#given.set(name, { values, shown: elements[name].value });
    }
    const id = LAST_IDS.map((name) => query.get(name)).find(Boolean);
    const { from } = elements;
    from.value = id ?? query.get("since") ?? "";
    // Of a closed sink it isn't known whether it replays.
    from.disabled = sink.replay === false;
    from.placeholder = from.disabled ? "no replay here" : "id, earliest, 10m";
  }

  /** Return the query that the form stands for. */
  query() {
    const { elements } = this.#form;
    const query = new URLSearchParams();
    for (const name of FILTERS) {
      const value = elements[name].value.trim();
      const { shown, values } = this.#given.get(name);
      // Repeated values are taken whole, with their commas.
      if (value && value === shown) values.forEach((each) => query.append(name, each));
      else if (value) query.set(name, value);
    }
    const from = elements.from.disabled ? "" : elements.from.value.trim();
    if (from) query.set(/^(\d+|earliest)$/.test(from) ? "last_event_id" : "since", from);
    return query.toString();
  }
}

/** The form that asks for the token of a closed sink. */
export function closedStreamNotice({ onToken, onCookie }) {
  const form = byId("token-form");
  const field = byId("token");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const token = field.value.trim();
    // It stays in the page's memory alone.
    field.value = "";
    if (token) onToken(token);
  });
  byId("use-cookie").addEventListener("click", onCookie);
  return {
    hide() { form.hidden = true; },
    show(hasTickets, why) {
      form.hidden = false;
      setText(byId("token-why"), why
        ? `The server refused: ${why}`
        : "This sink is closed. Paste a token that may read it.");
      byId("token-field").hidden = !hasTickets;
      byId("token-none").hidden = hasTickets;
    },
  };
}
