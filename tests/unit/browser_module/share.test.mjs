import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { connect } from "../../../flask_sse_sink/static/sse-sink.js";
import { begin, newest, opened, pass, settle } from "./fakes.mjs";

const REPLAY = { heartbeat_timeout: 30, retry: 3, log: "L1" };

/** The channels by their names, and those of them that get nothing for now. */
let channels;
let deaf;

class FakeChannel {
  constructor(name) {
    this.name = name;
    channels.push(this);
  }

  postMessage(data) {
    const text = structuredClone(data);
    for (const each of channels)
      if (each !== this && each.name === this.name && !deaf.has(each))
        queueMicrotask(() => channels.includes(each) && each.onmessage({ data: text }));
  }

  close() {
    channels.splice(channels.indexOf(this), 1);
  }
}

/** Gives a lock to one after the other. */
class FakeLocks {
  waiting = [];
  held = new Map();

  async request(name, { signal }, callback) {
    if (this.held.has(name))
      await new Promise((resolve, reject) => {
        const entry = { name, resolve };
        this.waiting.push(entry);
        signal.addEventListener("abort", () => {
          this.waiting = this.waiting.filter((each) => each !== entry);
          reject(signal.reason);
        });
      });
    this.held.set(name, true);
    await callback();
    this.held.delete(name);
    const next = this.waiting.findIndex((each) => each.name === name);
    if (next >= 0) this.waiting.splice(next, 1)[0].resolve();
  }

  async query() {
    return { held: [], pending: this.waiting };
  }
}

const ofNode = Object.getOwnPropertyDescriptor(globalThis, "navigator");

function lend(locks) {
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
}

beforeEach(() => {
  begin();
  channels = [];
  deaf = new Set();
  globalThis.BroadcastChannel = FakeChannel;
  lend(new FakeLocks());
});

afterEach(() => {
  delete globalThis.navigator;
  if (ofNode) Object.defineProperty(globalThis, "navigator", ofNode);
});

/** Opens a stream as another tab would; returns it with what it was told. */
async function tab(options = {}, url = "http://h/live/") {
  const ids = [];
  const states = [];
  const missed = [];
  const stream = connect(url, {
    share: true,
    onMessage: ({ id }) => ids.push(id),
    onState: (state) => states.push(state),
    onMissed: ({ reason }) => missed.push(reason),
    ...options,
  });
  const channel = channels.at(-1);
  await settle();
  return { stream, channel, ids, states, missed };
}

async function send(id) {
  newest().message(id);
  await settle();
}

test("tabs have one connection, and a later one is told how it is", async () => {
  const first = await tab();
  newest().connected(REPLAY, 4);
  await send(5);
  const second = await tab();
  assert.equal(opened.length, 1);
  assert.deepEqual(second.states, ["connecting", "live"]);
  assert.equal(second.stream.lastEventId, "5");
  await send(6);
  assert.deepEqual([first.ids, second.ids], [[5, 6], [6]]);
});

test("what isn't the same isn't shared", async () => {
  await tab();
  await tab({}, "http://h/other/");
  await tab({ eventTypes: "a" });
  await tab({ share: "ann" });
  await tab({ withCredentials: true });
  assert.equal(opened.length, 5);
});

test("another tab takes over and goes on where it was", async () => {
  const first = await tab();
  const second = await tab();
  newest().connected(REPLAY, 4);
  await send(5);
  first.stream.close();
  await settle();
  assert.equal(opened.length, 2);
  assert.deepEqual([newest().query.last_event_id, newest().query.log], ["5", "L1"]);
  newest().connected(REPLAY);
  await send(6);
  assert.deepEqual(second.ids, [5, 6]);
  assert.deepEqual(second.states, ["connecting", "live", "reconnecting", "live"]);
});

test("a takeover begins where the tab is that has got least, and no tab gets a repeat", async () => {
  const first = await tab();
  const second = await tab();
  const third = await tab();
  newest().connected(REPLAY, 4);
  await send(9);
  deaf.add(third.channel);
  await send(10);
  await send(11);
  deaf.clear();
  assert.deepEqual([second.ids, third.ids], [[9, 10, 11], [9]]);
  first.stream.close();
  await settle();
  await pass(200);
  // Not 11, nor 10, which comes before 9 as text.
  assert.equal(newest().query.last_event_id, "9");
  newest().connected(REPLAY);
  for (const id of [10, 11, 12]) await send(id);
  assert.deepEqual([second.ids, third.ids], [[9, 10, 11, 12], [9, 10, 11, 12]]);
});

test("a tab that came as the connection was lost leaves the others nothing out", async () => {
  const first = await tab();
  newest().connected(REPLAY, 4);
  await send(5);
  deaf.add(first.channel);
  const late = await tab();
  const second = await tab({ lastEventId: 3 });
  assert.equal(late.stream.lastEventId, "");
  first.stream.close();
  await settle();
  await pass(200);
  assert.equal(newest().query.last_event_id, "3");
  second.stream.close();
});

test("after a takeover of a sink without replay, the tabs are told", async () => {
  const first = await tab();
  const second = await tab();
  newest().connected({ ...REPLAY, log: null });
  await send(5);
  first.stream.close();
  await settle();
  newest().connected({ ...REPLAY, log: null });
  await settle();
  assert.deepEqual([first.missed, second.missed], [[], ["no_replay"]]);
});

test("a tab that leaves while it waits for the lock never reads", async () => {
  const first = await tab();
  const second = await tab();
  second.stream.close();
  first.stream.close();
  await settle();
  await pass(10_000);
  assert.equal(opened.length, 1);
  assert.ok(opened[0].wasClosed);
  assert.equal(channels.length, 0);
});

test("a page without an origin, to which locks are refused, reads for itself", async () => {
  const refuse = async () => {
    throw new DOMException("no", "SecurityError");
  };
  lend({ request: refuse, query: refuse });
  const { stream } = await tab();
  newest().connected(REPLAY, 1);
  assert.equal(stream.state, "live");
  stream.close();
  assert.ok(newest().wasClosed);
});

test("details that a ticket's error brings can be sent to other tabs", async () => {
  const reasons = [];
  const ticket = () => Promise.reject(Object.assign(new Error("x"), { config: () => {} }));
  await tab({ ticket });
  await tab({ onState: (state, { reason }) => reasons.push([state, reason]) });
  await pass(3_000);
  assert.deepEqual(reasons.at(-1), ["reconnecting", "no ticket: Error: x"]);
});
