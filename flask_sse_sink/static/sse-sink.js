// Reads a stream of flask-sse-sink: docs/javascript.md. Times are in milliseconds.

/** Reads a sink until `close()`, or until the server refuses for good. */
export function connect(url, options = {}) {
  const address = new URL(url, globalThis.location?.href);
  for (const [name, option] of [
    ["event_type", "eventTypes"],
    ["entity_id", "entityIds"],
    ["source", "sources"],
  ]) {
    const values = [options[option] ?? []].flat();
    // A single value would be split at its commas.
    if (values.length === 1) values.push(values[0]);
    for (const value of values) address.searchParams.append(name, value);
  }
  // `log` is the identity of the log that the id belongs to.
  const page = { id: String(options.lastEventId ?? ""), log: "", state: "connecting", lives: 0 };

  page.takeFrame = (frame) => {
    const { type, data, id, log } = frame;
    if (page.state === "closed") return;
    // A tab that takes over may have to begin further back than this one is.
    if (type === "message" && log && log === page.log && compare(id, page.id) <= 0) return;
    page.id = id || page.id;
    page.log = log;
    call(options.onFrame, frame);
    if (type === "message") call(options.onMessage, parse(data), frame);
    const [word, values] = split(frame);
    if (word === "missed") call(options.onMissed, values);
  };

  page.takeState = (state, detail = {}) => {
    if (page.state === "closed") return;
    page.state = state;
    if (state === "live") page.lives++;
    if (state === "closed") close();
    call(options.onState, state, detail);
  };

  const canShare = globalThis.navigator?.locks && globalThis.BroadcastChannel;
  const close = (options.share && canShare ? readShared : read)(address, options, page);
  // The page has this object before the first call.
  queueMicrotask(() => page.takeState(page.state));
  return {
    close() {
      page.state = "closed";
      close();
    },
    get state() {
      return page.state;
    },
    get lastEventId() {
      return page.id;
    },
  };
}

/** Opens one EventSource after the other; returns what ends this. */
function read(address, options, target) {
  const { withCredentials = false, silence, maxRetryDelay = 30_000 } = options;
  let { id, log, lives } = target;
  let attempt = 0; // what belongs to an earlier one is void
  let source, state, waiting, watch, heardAt, limit, silences;
  let streamLog, hasId, ending; // of the stream that is open
  let failures = 0;
  let wasRefused = false;
  let retry = 3_000;
  const closing = new AbortController();

  const say = (word, detail) => target.takeState((state = word), detail);
  const pass = (frame) => target.takeFrame({ ...frame, log });

  function stop() {
    attempt++;
    source?.close();
    clearTimeout(waiting);
    clearInterval(watch);
    waiting = limit = 0;
  }

  async function open() {
    stop();
    const mine = attempt;
    const url = new URL(address);
    const set = (name, value) => value && url.searchParams.set(name, value);
    try {
      set("ticket", await readTicket(options.ticket));
    } catch (error) {
      if (mine === attempt) refuse({ reason: `no ticket: ${error}`, ...error?.refusal });
    }
    if (mine !== attempt) return;
    set("info", "settings"); // asks for the notice of this name
    set("last_event_id", id);
    set("log", id && log);
    streamLog = undefined;
    hasId = false;
    ending = "reconnecting";
    source = new EventSource(url, { withCredentials });
    heardAt = Date.now();
    limit = 30_000;
    silences = 0;
    watch = setInterval(listen, 2_000);
    for (const type of ["message", "info", "heartbeat"])
      source.addEventListener(type, (event) => mine === attempt && take(event));
    source.onerror = async () => {
      if (mine !== attempt) return;
      // The stream ended, or nobody answered.
      if (source.readyState !== EventSource.CLOSED) return comeBack(ending);
      // The answer was no stream. An EventSource doesn't tell why, so ask again.
      const refusal = await ask(url, withCredentials);
      if (mine === attempt) refuse(refusal);
    };
  }

  function take({ type, data, lastEventId }) {
    const frame = { type, data, id: lastEventId };
    const [word, values] = split(frame);
    heardAt = Date.now();
    if (lastEventId) {
      id = lastEventId;
      hasId = true;
    }
    if (word === "settings") streamLog = values.log ?? "";
    // An id belongs to the log of the stream that gave it.
    if (hasId) log = streamLog ?? log;
    pass(frame);
    if (word === "settings") use(values);
    if (word === "connected") {
      failures = 0;
      wasRefused = false;
      lives++;
      limit = silence;
      say("live");
    }
    if (word === "busy" || word === "expired") say((ending = word));
  }

  function use(settings) {
    retry = settings.retry * 1_000 || retry;
    limit = silence ?? settings.heartbeat_timeout * 2_000 + 3_000;
    if (settings.log || lives < 2) return;
    // Without replay, nobody knows what was missed.
    const data = 'missed {"count":null,"first_id":null,"last_id":null,"reason":"no_replay"}';
    pass({ type: "info", data, id: "" });
  }

  /** Takes the connection for dead once nothing came for too long. */
  function listen() {
    if (!limit || Date.now() - heardAt < limit) silences = 0;
    // After a sleep, what came meanwhile may not have been handed out yet.
    else if (silences++) comeBack("reconnecting", { reason: "nothing came for too long" });
  }

  function refuse({ isStream, retryAfter, ...detail }) {
    const { status = 0 } = detail;
    if (status === 401 && options.ticket && !wasRefused) {
      wasRefused = true;
      comeBack("expired", detail);
    } else if (status === 503 || status === 429) comeBack("busy", detail, retryAfter);
    else if (
      isStream ||
      (status === 200 && lives) || // e.g. the page of a hotel's network
      [0, 408, 425].includes(status) ||
      status >= 500
    )
      comeBack("reconnecting", detail, retryAfter);
    else say("closed", detail);
  }

  /** Connects again after a random time, which is longer after each failure. */
  function comeBack(word, detail, least = 0) {
    stop();
    const most = Math.max(options.retryDelay ?? retry, 100) * 2 ** failures++;
    const retryIn = least + Math.random() * Math.min(most, maxRetryDelay);
    waiting = setTimeout(open, retryIn);
    say(globalThis.navigator?.onLine === false ? "offline" : word, { ...detail, retryIn });
  }

  function wake({ type }) {
    if (type === "offline") waiting ? say(type) : comeBack(type);
    else if (type !== "online" && document.visibilityState === "hidden") return;
    // A busy server said when to come back. A connection of the old network may hang.
    else if (waiting ? state !== "busy" : type === "online" && log) open();
    else listen();
  }

  for (const type of ["online", "offline", "visibilitychange"])
    globalThis.addEventListener?.(type, wake, { signal: closing.signal });
  open();
  return () => {
    stop();
    closing.abort();
  };
}

/** Has the tab that holds a lock read for all tabs. */
function readShared(address, options, page) {
  const name = `sse-sink ${options.share} ${!!options.withCredentials} ${address}`;
  const channel = new BroadcastChannel(name);
  const leaving = new AbortController();
  const { signal } = leaving;
  const positions = []; // of the other tabs
  let close, detail;

  const post = (news) => signal.aborted || channel.postMessage(news);
  const tell = (news) => {
    post(news);
    hear({ data: news });
  };

  function hear({ data: { frame, state, position, welcome, isNew, isTakingOver, ...more } }) {
    const { id, log } = page;
    if (isNew && close) post({ welcome: { id, log }, state: page.state, detail });
    if (isTakingOver) post({ position: { id, log } });
    if (position) positions.push(position);
    if (welcome && !id) Object.assign(page, welcome);
    if (frame) page.takeFrame(frame);
    if (state && !(welcome && state === page.state)) page.takeState(state, (detail = more.detail));
  }

  async function lead() {
    const { pending } = await navigator.locks.query().catch(() => ({}));
    if (pending?.some((lock) => lock.name === name)) {
      post({ isTakingOver: true });
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    if (signal.aborted) return;
    // Begins where the tab is that has got least.
    const [{ id, log }] = [page, ...positions]
      .filter((each) => each.id && each.log === (page.log || each.log))
      .sort((a, b) => compare(a.id, b.id))
      .concat(page);
    const lives = page.lives || positions.length;
    const takeFrame = (frame) => tell({ frame });
    const takeState = (state, detail) => tell({ state, detail });
    if (lives) takeState("reconnecting");
    close = read(address, options, { id, log, lives, takeFrame, takeState });
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }

  channel.onmessage = hear;
  post({ isNew: true });
  // A page without an origin has no locks, and reads for itself.
  navigator.locks.request(name, { signal }, lead).catch(() => signal.aborted || lead());
  return () => {
    leaving.abort();
    close?.();
    channel.close();
  };
}

/** Returns a ticket from text, a URL, or an answer with one of the two. */
async function readTicket(callback) {
  let given = await callback?.();
  if (given?.json) {
    if (!given.ok) throw { refusal: await readRefusal(given) };
    given = await given.json();
  }
  given = given?.ticket ?? given?.url ?? given;
  return /[/?]/.test(given) ? new URL(given, "http://x").searchParams.get("ticket") : given;
}

const ask = (url, withCredentials) =>
  fetch(url, {
    headers: { Accept: "application/problem+json, text/event-stream" },
    cache: "no-store",
    credentials: withCredentials ? "include" : "same-origin",
    signal: AbortSignal.timeout(10_000),
  }).then(readRefusal, (error) => ({ reason: `${error}` }));

async function readRefusal(answer) {
  const { status, headers } = answer;
  const type = headers.get("Content-Type") ?? "";
  const problem = type.includes("json") ? await answer.json().catch(String) : undefined;
  if (!problem) answer.body?.cancel();
  return {
    status,
    problem,
    reason: problem?.detail ?? `${status} ${type}`,
    retryAfter: Math.min(headers.get("Retry-After") * 1_000 || 0, 600_000),
    isStream: status === 200 && type.startsWith("text/event-stream"),
  };
}

/** Returns an `info` frame's word and values. */
function split({ type, data }) {
  if (type !== "info") return [];
  const [word] = data.split(" ");
  return [word, parse(data.slice(word.length))];
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Compares ids, which may be too large for a number. */
function compare(a, b) {
  return a.length - b.length || (a < b ? -1 : +(a > b));
}

/** Calls a callback; what it throws is reported, and ends nothing here. */
const call = (callback, ...values) => void new Promise(() => callback?.(...values));
