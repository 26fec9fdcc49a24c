import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { connect } from "../../../flask_sse_sink/static/sse-sink.js";
import { answers, begin, fetched, newest, opened, pass, problem, settle } from "./fakes.mjs";

const URL_ = "http://h/live/";
const REPLAY = { heartbeat_timeout: 30, retry: 3, log: "L1" };
const LIVE_ONLY = { heartbeat_timeout: 30, retry: 3, log: null };

let told;
let stream;

beforeEach(() => begin());

async function start(options = {}, url = URL_) {
  told = [];
  stream = connect(url, {
    onMessage: (event) => told.push(event.id),
    onMissed: (missed) => told.push(["missed", missed.reason]),
    onState: (state, detail) => told.push(detail.status ? `${state} ${detail.status}` : state),
    ...options,
  });
  await settle();
}

test("a stream is connecting, then live, and hands out its events", async () => {
  await start();
  assert.equal(stream.state, "connecting");
  newest().connected(REPLAY, 4);
  assert.equal(stream.state, "live");
  assert.equal(stream.lastEventId, "4");
  newest().message(5);
  newest().message(6);
  assert.deepEqual(told, ["connecting", "live", 5, 6]);
  assert.equal(stream.lastEventId, "6");
});

test("the url keeps its query, and is narrowed", async () => {
  await start(
    { eventTypes: ["a.*", "b"], entityIds: "x,y", sources: [] },
    "http://h/live/?since=1h#part",
  );
  const { searchParams } = newest().url;
  assert.equal(searchParams.get("since"), "1h");
  assert.deepEqual(searchParams.getAll("event_type"), ["a.*", "b"]);
  // Given twice, so that the server doesn't split it at its comma.
  assert.deepEqual(searchParams.getAll("entity_id"), ["x,y", "x,y"]);
  assert.equal(searchParams.has("source"), false);
  assert.equal(searchParams.get("info"), "settings");
});

test("a stream that ended goes on after the last id, in its log", async () => {
  await start();
  newest().connected(REPLAY, 4);
  newest().message(5);
  newest().end();
  assert.equal(stream.state, "reconnecting");
  assert.ok(opened[0].wasClosed);
  await pass(2_999);
  assert.equal(opened.length, 1);
  await pass(1);
  assert.equal(opened.length, 2);
  assert.equal(newest().query.last_event_id, "5");
  assert.equal(newest().query.log, "L1");
  newest().connected(REPLAY);
  newest().message(6);
  assert.deepEqual(told, ["connecting", "live", 5, "reconnecting", "live", 6]);
});

test("ids of info and heartbeat frames count", async () => {
  await start();
  newest().connected(REPLAY, 4);
  newest().send("heartbeat", "ping", 9);
  assert.equal(stream.lastEventId, "9");
  newest().send("info", 'missed {"count":null,"reason":"pruned"}', 12);
  assert.equal(stream.lastEventId, "12");
  newest().end();
  await pass(3_000);
  assert.equal(newest().query.last_event_id, "12");
});

test("an id is named with the log that gave it, and not with the log that comes next", async () => {
  await start();
  newest().connected(REPLAY, 4);
  newest().end();
  await pass(3_000);
  newest().connected({ ...REPLAY, log: "L2" });
  newest().end();
  await pass(3_000);
  assert.deepEqual([newest().query.last_event_id, newest().query.log], ["4", "L1"]);
  newest().connected({ ...REPLAY, log: "L2" });
  newest().send("info", 'missed {"count":null,"reason":"other_log"}', 0);
  newest().message(1);
  newest().end();
  await pass(3_000);
  assert.deepEqual([newest().query.last_event_id, newest().query.log], ["1", "L2"]);
  assert.deepEqual(told.filter(Array.isArray), [["missed", "other_log"]]);
  assert.ok(told.includes(1));
});

test("an id that a caller kept is sent with the first request", async () => {
  await start({ lastEventId: 0 });
  assert.equal(newest().query.last_event_id, "0");
  assert.equal(newest().query.log, undefined);
});

test("a sink without replay tells the page that it may have missed something", async () => {
  await start();
  newest().connected(LIVE_ONLY);
  newest().message(1);
  newest().end();
  await pass(3_000);
  newest().connected(LIVE_ONLY);
  assert.deepEqual(told, ["connecting", "live", 1, "reconnecting", "live", ["missed", "no_replay"]]);
});

test("the delays grow, up to a limit, and begin anew once the stream is live", async () => {
  const delays = [];
  await start({ retryDelay: 1_000, maxRetryDelay: 5_000, onState: (_, { retryIn }) => retryIn && delays.push(retryIn) });
  for (let i = 0; i < 5; i++) {
    newest().end();
    await pass(5_000);
  }
  newest().connected(REPLAY);
  newest().end();
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 5_000, 5_000, 1_000]);
});

test("a delay is never so short that a client spins", async () => {
  await start({ retryDelay: 0 });
  newest().end();
  await pass(99);
  assert.equal(opened.length, 1);
  await pass(1);
  assert.equal(opened.length, 2);
});

for (const status of [500, 502, 504, 408])
  test(`a ${status} is tried again`, async () => {
    await start();
    answers.push(new Response("<h1>", { status, headers: { "Content-Type": "text/html" } }));
    await newest().refuse();
    await pass(3_000);
    assert.equal(opened.length, 2);
    assert.deepEqual(told, ["connecting", `reconnecting ${status}`]);
  });

for (const status of [503, 429])
  test(`a ${status} is busy, for as long as the server says`, async () => {
    await start();
    answers.push(problem(status, { detail: "all streams are taken" }, { "Retry-After": "20" }));
    await newest().refuse();
    assert.equal(stream.state, "busy");
    await pass(22_999);
    assert.equal(opened.length, 1);
    await pass(1);
    assert.equal(opened.length, 2);
  });

for (const wait of ["99999999999", "soon", "-5", "Wed, 25 Nov 2026 16:00:00 GMT"])
  test(`a server that says to come back at ${wait} is asked within some minutes`, async () => {
    await start();
    answers.push(problem(503, {}, { "Retry-After": wait }));
    await newest().refuse();
    await pass(603_000);
    assert.equal(opened.length, 2);
  });

for (const status of [204, 400, 401, 403, 404, 405, 410])
  test(`a ${status} is the end, and the reason is the server's`, async () => {
    let reason;
    await start({ onState: (_, detail) => (reason = detail.reason) });
    answers.push(
      status === 204 ? new Response(null, { status }) : problem(status, { detail: "because" }),
    );
    await newest().refuse();
    assert.equal(stream.state, "closed");
    assert.equal(reason, status === 204 ? "204 " : "because");
    await pass(3_600_000);
    assert.equal(opened.length, 1);
  });

test("a page that isn't a stream is the end at first, and is tried again later", async () => {
  const html = () => new Response("<h1>", { headers: { "Content-Type": "text/html" } });
  await start();
  answers.push(html());
  await newest().refuse();
  assert.equal(stream.state, "closed");
  await start();
  newest().connected(REPLAY);
  newest().end();
  await pass(3_000);
  answers.push(html());
  await newest().refuse();
  assert.equal(stream.state, "reconnecting");
});

test("a stream whose refusal can't be read is tried again", async () => {
  await start();
  answers.push(new TypeError("Failed to fetch"));
  await newest().refuse();
  assert.equal(stream.state, "reconnecting");
  answers.push(new Response("{", { status: 502, headers: { "Content-Type": "application/json" } }));
  await pass(3_000);
  await newest().refuse();
  assert.equal(told.at(-1), "reconnecting 502");
});

test("a server that can stream by the time it is asked is connected to again", async () => {
  let wasCancelled = false;
  const body = new ReadableStream({ cancel: () => (wasCancelled = true) });
  await start();
  answers.push(new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } }));
  await newest().refuse();
  assert.equal(stream.state, "reconnecting");
  // Otherwise that stream would stay open.
  assert.ok(wasCancelled);
});

test("asking why is no request of an EventSource", async () => {
  await start({ withCredentials: true });
  assert.equal(newest().options.withCredentials, true);
  answers.push(problem(404));
  await newest().refuse();
  const [, { headers, credentials, cache }] = fetched[0];
  assert.notEqual(headers.Accept, "text/event-stream");
  assert.equal(credentials, "include");
  assert.equal(cache, "no-store");
});

test("every attempt has a ticket of its own", async () => {
  let number = 0;
  await start({ ticket: async () => `t${++number}` });
  assert.equal(newest().query.ticket, "t1");
  newest().connected(REPLAY, 1);
  newest().send("info", "expired");
  assert.equal(stream.state, "expired");
  newest().end();
  assert.equal(stream.state, "expired");
  await pass(3_000);
  assert.equal(newest().query.ticket, "t2");
  assert.equal(newest().query.last_event_id, "1");
});

for (const [what, given, expected] of [
  ["text", () => "abc.def-_", "abc.def-_"],
  ["a URL", () => "/live/?ticket=abc", "abc"],
  ["the server's answer", () => Response.json({ ticket: "abc", url: "/x?ticket=no" }), "abc"],
  ["its JSON", () => ({ ticket: "abc" }), "abc"],
  ["nothing", () => undefined, undefined],
])
  test(`a ticket may be ${what}`, async () => {
    await start({ ticket: given });
    assert.equal(newest().query.ticket, expected);
  });

test("a refused ticket is replaced once, then the stream ends", async () => {
  await start({ ticket: () => "t" });
  for (const state of ["expired 401", "closed 401"]) {
    answers.push(problem(401, { reason: "expired" }));
    await newest().refuse();
    assert.equal(told.at(-1), state);
    await pass(30_000);
  }
  assert.equal(opened.length, 2);
});

test("a ticket that can't be had is tried again, unless it is refused", async () => {
  const gives = [
    () => Promise.reject(new Error("no network")),
    () => {
      throw null;
    },
    () => new Response("", { status: 502 }),
    () => problem(401, { detail: "log in" }),
    () => problem(401, { detail: "log in" }),
  ];
  const reasons = [];
  await start({ ticket: () => gives.shift()(), onState: (state, { reason }) => reasons.push([state, reason]) });
  await pass(30_000);
  await pass(30_000);
  await pass(30_000);
  await pass(30_000);
  assert.deepEqual(reasons, [
    ["connecting", undefined],
    ["reconnecting", "no ticket: Error: no network"],
    ["reconnecting", "no ticket: null"],
    ["reconnecting", "502 text/plain;charset=UTF-8"],
    ["expired", "log in"],
    ["closed", "log in"],
  ]);
  assert.equal(opened.length, 0);
});

test("a stream that is closed while it waits for its ticket stays closed", async () => {
  let give;
  await start({ ticket: () => new Promise((resolve) => (give = resolve)) });
  stream.close();
  give("t");
  await pass(60_000);
  assert.equal(opened.length, 0);
  assert.deepEqual(told, ["connecting"]);
});

test("a busy server, and one that closes, say so", async () => {
  await start();
  newest().send("info", "busy");
  assert.equal(stream.state, "busy");
  newest().end();
  assert.equal(stream.state, "busy");
  await pass(3_000);
  newest().connected(REPLAY);
  newest().send("info", "closing");
  newest().end();
  assert.equal(stream.state, "reconnecting");
});

test("a connection that fell silent is replaced", async () => {
  await start();
  newest().connected(REPLAY, 7);
  for (let i = 0; i < 5; i++) {
    await pass(30_000);
    newest().send("heartbeat", "ping", 7);
  }
  assert.equal(opened.length, 1);
  assert.equal(stream.state, "live");
  await pass(67_000);
  assert.equal(stream.state, "reconnecting");
  assert.ok(opened[0].wasClosed);
  await pass(3_000);
  assert.equal(newest().query.last_event_id, "7");
});

test("a page that slept hears first what came meanwhile", async () => {
  await start();
  newest().connected(REPLAY, 7);
  const later = Date.now() + 600_000;
  mock.method(Date, "now", () => later);
  // The first timer after the sleep runs before the frame that waited.
  await pass(2_000);
  newest().send("heartbeat", "ping", 8);
  await pass(10_000);
  assert.equal(stream.state, "live");
});

test("a server that takes connections and says nothing is left", async () => {
  await start();
  await pass(34_000);
  assert.equal(stream.state, "reconnecting");
  await pass(3_000);
  assert.equal(opened.length, 2);
});

test("a stream without settings is never taken for silent", async () => {
  await start();
  newest().connected();
  await pass(3_600_000);
  assert.equal(opened.length, 1);
});

test("the page may say how long silence may be, or that it doesn't matter", async () => {
  await start({ silence: 5_000 });
  newest().connected(REPLAY);
  await pass(10_000);
  assert.equal(stream.state, "reconnecting");
  stream.close();
  await start({ silence: 0 });
  const count = opened.length;
  newest().connected(REPLAY);
  await pass(3_600_000);
  assert.equal(opened.length, count);
});

test("after close() nothing is called and nothing is open", async () => {
  await start();
  newest().connected(REPLAY, 1);
  stream.close();
  stream.close();
  assert.equal(stream.state, "closed");
  assert.ok(newest().wasClosed);
  newest().message(2);
  await pass(3_600_000);
  assert.deepEqual(told, ["connecting", "live"]);
  assert.equal(opened.length, 1);
});

for (const where of ["onState", "onMessage", "onFrame"])
  test(`a page may close its stream in ${where}`, async () => {
    await start({ [where]: () => stream.close() });
    newest()?.connected(REPLAY, 1);
    newest()?.message(2);
    await pass(3_600_000);
    assert.equal(stream.state, "closed");
    assert.ok(opened.length <= 1);
    assert.ok(opened.every((each) => each.wasClosed));
  });

test("what a callback raises ends nothing", async () => {
  const errors = [];
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (error) => errors.push(error.message));
  let count = 0;
  await start({
    onMessage: () => {
      count++;
      throw new Error("of the page");
    },
    onState: () => {
      throw new Error("of the page");
    },
  });
  newest().connected(REPLAY, 1);
  newest().message(2);
  newest().end();
  await pass(3_000);
  newest().connected(REPLAY);
  newest().message(3);
  assert.equal(count, 2);
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(errors.length >= 5 && errors.every((message) => message === "of the page"));
});

test("data that isn't JSON is handed out as it is", async () => {
  const got = [];
  await start({ onMessage: (event, frame) => got.push([event, frame.id]) });
  newest().connected(REPLAY);
  newest().send("message", "plain words", "x");
  assert.deepEqual(got, [["plain words", "x"]]);
});

test("every frame is handed out to onFrame", async () => {
  const frames = [];
  await start({ onFrame: ({ type, data, id, log }) => frames.push([type, data, id, log]) });
  newest().connected(REPLAY, 1);
  newest().send("heartbeat", "ping", 2);
  assert.deepEqual(frames, [
    ["info", "connected", "1", ""],
    ["info", `settings ${JSON.stringify(REPLAY)}`, "1", "L1"],
    ["heartbeat", "ping", "2", "L1"],
  ]);
});

test("the data of an event is read once", async () => {
  const parse = mock.method(JSON, "parse");
  await start();
  newest().connected(REPLAY);
  const before = parse.mock.callCount();
  newest().message(1);
  newest().send("heartbeat", "ping", 2);
  assert.equal(parse.mock.callCount(), before + 1);
});

test("share is ignored where there are no locks", async () => {
  await start({ share: true });
  assert.equal(opened.length, 1);
});
