// What the module needs of a browser, in the hands of a test: streams, answers, time and locks.
import { mock } from "node:test";

/** The streams that were opened, the newest last. */
export const opened = [];

export class FakeEventSource {
  static CLOSED = 2;
  readyState = 0;
  #listeners = {};

  constructor(url, options) {
    this.url = new URL(url);
    this.query = Object.fromEntries(this.url.searchParams);
    this.options = options;
    opened.push(this);
  }

  addEventListener(type, listener) {
    this.#listeners[type] = listener;
  }

  close() {
    this.readyState = 2;
    this.wasClosed = true;
  }

  // As the browser, this hands out nothing after close().
  send(type, data, id) {
    if (id !== undefined) this.lastEventId = String(id);
    if (!this.wasClosed) this.#listeners[type]?.({ type, data, lastEventId: this.lastEventId ?? "" });
  }

  connected(settings, id) {
    this.readyState = 1;
    this.send("info", "connected", id);
    if (settings) this.send("info", `settings ${JSON.stringify(settings)}`);
  }

  message(id, data = {}) {
    this.send("message", JSON.stringify({ id, event_type: "a", data }), id);
  }

  /** The connection ended: a browser would connect again. */
  end() {
    this.readyState = 0;
    this.onerror();
  }

  /** The answer was no stream. */
  async refuse() {
    this.readyState = 2;
    await this.onerror();
  }
}

/** What the next fetches are answered with; and what was fetched. */
export const answers = [];
export const fetched = [];

export function begin() {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  mock.restoreAll();
  // Without jitter: the longest delay.
  mock.method(Math, "random", () => 1);
  opened.length = answers.length = fetched.length = 0;
  globalThis.EventSource = FakeEventSource;
  globalThis.fetch = async (url, options) => {
    fetched.push([url, options]);
    const next = answers.shift();
    if (next instanceof Error) throw next;
    return next;
  };
}

export const problem = (status, members = {}, headers = {}) =>
  new Response(JSON.stringify({ status, ...members }), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });

/** Lets everything go on that waits for nothing but promises. */
export async function settle() {
  for (let i = 0; i < 50; i++) await null;
}

export async function pass(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

export const newest = () => opened.at(-1);
