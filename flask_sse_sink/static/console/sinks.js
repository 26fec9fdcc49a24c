// The list of sinks: which one is selected, and the numbers of those that are open to everybody.

import { byId, make, setText } from "./dom.js";
import { count, plural, rate } from "./format.js";

const EVERY_MS = 2000;

export class Sinks {
  #base;
  #sinks;
  #onNumbers;
  #before = null;

  /**
   * `sinks` are those of the page, `base` is the URL of `/`. `onSelect` is called with a sink that
   * the reader selects, `onNumbers` with the answer of each look at the numbers, null if there is
   * none.
   */
  constructor({ base, sinks, onSelect, onNumbers }) {
    this.#base = base;
    this.#sinks = sinks;
    this.#onNumbers = onNumbers;
    byId("sinks").addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      onSelect(sinks.find((sink) => sink.name === link.dataset.sink));
    });
    // They are relative to the page's URL, which is another one once a sink was selected.
    for (const link of document.querySelectorAll(".brand, #sinks a, link[rel=icon]")) link.href = link.href;
    this.#look();
    setInterval(() => this.#look(), EVERY_MS);
    document.addEventListener("visibilitychange", () => this.#look());
  }

  /** Show which sink is selected. */
  select(sink) {
    for (const link of this.#links()) {
      if (link.dataset.sink === sink?.name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  #links() { return [...byId("sinks").querySelectorAll("a")]; }

  #isLooking = false;

  async #look() {
    if (document.hidden || this.#isLooking) return;
    this.#isLooking = true;
    let answer = null;
    const asked = Date.now();
    try {
      const response = await fetch(new URL("console/sinks.json", this.#base), { cache: "no-store" });
      if (response.ok) answer = await response.json();
    } catch {
      // The server is away; the state of the stream says so.
    } finally {
      this.#isLooking = false;
    }
    // The server's clock, as of half-way between question and answer.
    const clockAhead = answer && answer.now * 1000 - (asked + Date.now()) / 2;
    this.#show(answer);
    this.#onNumbers(answer, clockAhead);
  }

  #show(answer) {
    for (const link of this.#links()) {
      const sink = this.#sinks.find(({ name }) => name === link.dataset.sink);
      if (sink.closed) continue;
      const place = link.querySelector(".numbers");
      const numbers = answer?.sinks[sink.name];
      const parts = numbers ? this.#words(sink, numbers, answer.now) : [];
      place.replaceChildren(...parts.flatMap((part, index) => (index ? [" · ", part] : [part])));
    }
    this.#before = answer;
  }

  #words(sink, numbers, now) {
    if (!sink.stream) {
      const { unconfirmed = 0, leased = 0, dead = 0 } = numbers;
      return [
        `${count(unconfirmed)} unconfirmed`, `${count(leased)} leased`,
        ...(dead ? [make("span", { class: "warning" }, plural(dead, "dead letter"))] : []),
      ];
    }
    const { clients = 0, deliveries = 0, missed = 0 } = numbers;
    const before = this.#before?.sinks[sink.name]?.deliveries;
    const seconds = now - (this.#before?.now ?? now);
    // The counts begin anew if the server was started again.
    const sent = before <= deliveries && seconds > 0.5 ? (deliveries - before) / seconds : 0;
    return [
      plural(clients, "client"), `${rate(sent)} sent/s`,
      missed ? make("span", { class: "warning" }, `${count(missed)} missed`) : "0 missed",
    ];
  }
}

/** Show a pulled sink: its numbers and routes. */
export function showPulled(sink, numbers) {
  setText(byId("pulled-name"), sink.name);
  const shown = sink.closed ? {} : (numbers ?? {});
  byId("pulled-numbers").replaceChildren(
    ...["unconfirmed", "leased", "dead"].filter((name) => name in shown).map((name) => make("div", {},
      make("dt", {}, name === "dead" ? "dead letters" : name), make("dd", {}, count(shown[name])))),
  );
  byId("pulled-routes").replaceChildren(
    ...sink.routes.map((route) => make("tr", {},
      make("td", {}, make("code", {}, route.method)), make("td", {}, make("code", {}, route.url)),
      make("td", {}, route.about ?? ""))),
  );
}
