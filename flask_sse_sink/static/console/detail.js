// Shows one event: its members, its data as a tree, and what can be copied.

import { byId, copy, make } from "./dom.js";
import { dateAndTime, duration, size } from "./format.js";
import { envelopeMembers } from "./rows.js";
import { tree } from "./tree.js";

// Members that the panel shows in a way of its own, in our envelope and in a CloudEvent.
const SHOWN = new Set([
  "id", "event_id", "event_type", "entity_id", "created_at", "data", "source", "meta",
  "specversion", "type", "subject", "time", "data_base64",
]);

export class Detail {
  #panel = byId("detail");
  #onClose;
  #onPublish;

  /** `onClose` is called when it was closed, `onPublish` with the row that is to be published. */
  constructor({ onClose, onPublish }) {
    this.#onClose = onClose;
    this.#onPublish = onPublish;
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  /** Show an event; what contains `search` is marked in it. */
  open(row, search) {
    const inside = envelopeMembers(row);
    const heading = make("h2", { id: "detail-name", tabindex: "-1" }, row.type || "Event");
    const close = make("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => this.close());
    const list = make("dl");
    const line = (name, text) => text && list.append(make("dt", {}, name), make("dd", {}, text));
    line("Id", row.id);
    line("Event id", asText(inside.get(inside.has("specversion") ? "id" : "event_id")));
    line("Entity", row.entity);
    line("Source", row.source);
    line("Stored", dateAndTime(row.time));
    line("Latency", row.isReplayed ? "replayed" : duration(row.latency));
    line("Size", size(row.bytes));
    for (const [key, text] of inside) if (!SHOWN.has(key)) line(key, asText(text));
    const parts = ["data", "data_base64", "meta"]
      .filter((key) => inside.has(key) && (key !== "meta" || inside.get(key) !== "{}"));
    this.#panel.replaceChildren(
      make("header", {}, heading, close),
      list,
      ...parts.flatMap((key) => [
        make("h3", {}, key === "meta" ? "Meta" : "Data"),
        make("div", { class: "tree" }, tree(inside.get(key), search)),
      ]),
      make("footer", {},
        button("Copy JSON", () => copy(row.text, "the event as JSON")),
        ...(inside.has("data") ? [button("Copy data", () => copy(inside.get("data"), "the data as JSON"))] : []),
        button("Publish a copy…", () => this.#onPublish(row))),
    );
    this.#panel.hidden = false;
    this.#panel.scrollTop = 0;
    heading.focus({ preventScroll: true });
  }

  close() {
    if (this.#panel.hidden) return;
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    this.#onClose();
  }
}

/** Return JSON as it is shown in one line: a string without its quotes. */
const asText = (json = "") => (json.startsWith('"') ? JSON.parse(json) : json);

const button = (text, onclick) => make("button", { type: "button", onclick }, text);
