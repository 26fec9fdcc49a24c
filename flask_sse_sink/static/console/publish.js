// The dialog that publishes an event. The token is in this page's memory and in no other place: it
// isn't stored, and stands in no URL and in no code that is copied.

import { byId, copy, make, say } from "./dom.js";
import { compact } from "./jsontext.js";
import { envelopeMembers } from "./rows.js";
import { publishing } from "./snippets.js";

const FIELDS = ["event_type", "entity_id", "source", "event_id"];

export class Publish {
  #dialog = byId("publish");
  #form = byId("publish-form");
  #result = byId("publish-result");
  #url;
  #needsToken;

  /** `url` is where events are sent; `needsToken` says whether the server asks for a token. */
  constructor({ url, needsToken }) {
    this.#url = url;
    this.#needsToken = needsToken;
    byId("publish-token-label").hidden = !needsToken;
    byId("publish-open").addEventListener("click", () => this.open());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("publish-copies").replaceChildren("Copy as ", ...["curl", "JavaScript", "Python"].map((language) =>
      make("button", { type: "button", onclick: () => this.#copy(language) }, language)));
  }

  open() {
    this.#tell("");
    this.#dialog.showModal();
    const token = this.#form.elements.token;
    (this.#needsToken && !token.value ? token : this.#form.elements.event_type).focus();
  }

  /** Fill the form with an event, which gets an id of its own. */
  openWith(row) {
    const inside = envelopeMembers(row);
    const { elements } = this.#form;
    elements.event_type.value = row.type;
    elements.entity_id.value = row.entity;
    elements.source.value = row.source === "default" ? "" : row.source;
    elements.event_id.value = "";
    elements.data.value = compact(inside.get("data") ?? "{}", undefined, " ");
    this.open();
  }

  /** Return the event as JSON; its data as it was written, with all digits. */
  #body() {
    const { elements } = this.#form;
    const data = elements.data.value.trim() || "{}";
    JSON.parse(data);
    const parts = FIELDS.map((name) => [name, elements[name].value])
      .filter(([, value]) => value !== "")
      .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
    return `{${[...parts, `"data":${data}`].join(",")}}`;
  }

  #bodyOrTell() {
    try {
      const body = this.#body();
      this.#form.elements.data.removeAttribute("aria-invalid");
      return body;
    } catch (error) {
      this.#form.elements.data.setAttribute("aria-invalid", "true");
      this.#form.elements.data.focus();
      this.#tell(`The data isn't JSON: ${error.message}`, "bad");
      return null;
    }
  }

  async #send() {
    const body = this.#bodyOrTell();
    if (body === null) return;
    const headers = { "Content-Type": "application/json" };
    const token = this.#form.elements.token.value.trim();
    if (this.#needsToken && token) headers.Authorization = `Bearer ${token}`;
    this.#tell("Sending…");
    try {
      const response = await fetch(this.#url, { method: "POST", headers, body, credentials: "omit", cache: "no-store" });
      const answer = await response.json().catch(() => ({}));
      this.#tell(...told(response, answer));
    } catch (error) {
      // A token that no header can carry fails here, too.
      this.#tell(error.message.includes("header") || error.message.includes("ISO-8859-1")
        ? "The token has a character that no token has. Copy it again."
        : "The server can't be reached. Nothing is known of the event: send it again with the same event id.", "bad");
    }
  }

  #copy(language) {
    const body = this.#bodyOrTell();
    if (body === null) return;
    copy(publishing({ url: this.#url, body, needsToken: this.#needsToken })[language], language);
  }

  #tell(text, kind = "") {
    this.#result.textContent = text;
    this.#result.dataset.kind = kind;
    if (text) say(text);
  }
}

/** Return what the answer to a publisher says, and whether that is good. */
function told(response, answer) {
  if (response.ok) {
    const id = answer.ids?.[0];
    return answer.duplicates
      ? [`Stored before, with the id ${id}: nothing was streamed.`, "good"]
      : [`Stored and streamed, with the id ${id}.`, "good"];
  }
  const faults = (answer.errors ?? []).map(({ loc, msg }) => (loc ? `${loc}: ${msg}` : msg));
  const why = faults.length ? faults.join("; ") : answer.detail;
  return [`${response.status} ${answer.title ?? response.statusText}${why ? `: ${why}` : ""}`, "bad"];
}
