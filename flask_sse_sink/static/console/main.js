// The console: puts its parts together. docs/console.md has a list of them.

import { blocks, prepareDialogs, showCode } from "./code.js";
import { Detail } from "./detail.js";
import { byId, say, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { Publish } from "./publish.js";
import { Rate } from "./rate.js";
import { Rows } from "./rows.js";
import { showPulled, Sinks } from "./sinks.js";
import { extracting, reading } from "./snippets.js";
import { Stream } from "./stream.js";
import { Table } from "./table.js";
import { closedStreamNotice, Filters } from "./forms.js";

const page = JSON.parse(document.body.dataset.page);
/** The URL of `/`, whatever prefix a proxy has before it. */
const base = new URL(page.root, location.href).href;
const at = (path) => new URL(path.replace(/^\//, ""), base).href;

let selected = null;
let shownUrl = location.href;
let numbers = null;
let clockAhead = page.now * 1000 - Date.now();
/** The tokens that the reader gave, by their sinks: in this page's memory alone. */
const tokens = new Map();

const rows = new Rows();
const rate = new Rate();
const table = new Table(rows, open);
const publish = new Publish({ url: at(page.ingest), needsToken: page.publish_needs_token });
const detail = new Detail({
  onClose: () => { table.setOpened(null); table.focus(); },
  onPublish: (row) => publish.openWith(row),
});
const filters = new Filters(() => { clear(); connect(); });
const notice = closedStreamNotice({
  onToken: (token) => { tokens.set(selected.name, token); connect(); },
  onCookie: () => { tokens.set(selected.name, null); connect(); },
});
const stream = new Stream({ onRow: addRow, onState: showState, clockAhead: () => clockAhead });
const sinks = new Sinks({
  base,
  sinks: page.sinks,
  onSelect: (sink) => {
    history.pushState(null, "", at(sink.url));
    shownUrl = location.href;
    select(sink);
  },
  onNumbers: (answer, ahead) => {
    numbers = answer;
    if (answer) clockAhead = ahead;
    if (selected && !selected.stream) showPulled(selected, answer?.sinks[selected.name]);
  },
});

/** Select the sink that the page's URL names, else the first that is a stream. */
function selectFromUrl() {
  [shownUrl] = location.href.split("#");
  const path = shownUrl.split("?")[0].replace(/\/$/, "");
  const ofUrl = page.sinks.find((sink) => at(sink.url).replace(/\/$/, "") === path);
  const open = page.sinks.filter((sink) => sink.stream && !sink.closed);
  select(ofUrl ?? open[0] ?? page.sinks[0]);
}

function select(sink) {
  stream.close();
  detail.close();
  selected = sink;
  sinks.select(sink);
  byId("stream").hidden = !sink.stream;
  byId("pulled").hidden = sink.stream;
  document.title = `${sink.name} · flask-sse-sink`;
  clear();
  if (!sink.stream) {
    showPulled(sink, numbers?.sinks[sink.name]);
    byId("pulled-code").replaceChildren(...blocks(extracting({ url: at(sink.routes[0].url), closed: sink.closed })));
    return;
  }
  setText(byId("sink-name"), sink.name);
  filters.show(new URLSearchParams(location.search), sink);
  connect();
}

/** Open the stream of the selected sink, with the filters as they are now, or go on with it. */
function connect(resume = false) {
  const { name, closed, url } = selected;
  rate.restart();
  notice.hide();
  if (closed && !tokens.has(name)) {
    stream.close();
    notice.show(page.tickets, "");
    showState("closed", "Closed", "this sink needs a token", 0);
    return;
  }
  const token = tokens.get(name);
  const shown = new URL(at(url));
  shown.search = filters.query();
  history.replaceState(null, "", shown);
  shownUrl = shown.href;
  stream.open(shown.href, { ticket: token && (() => askTicket(name, token)), resume });
}

const askTicket = (sink, token) => fetch(at("tickets"), {
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
  body: JSON.stringify({ sink }),
  credentials: "omit",
  cache: "no-store",
});

function showState(state, word, why, status) {
  const element = byId("state");
  const isSaid = element.dataset.state !== state;
  element.dataset.state = state;
  setText(byId("state-word"), word);
  setText(byId("state-detail"), why);
  const isOn = state !== "closed";
  setText(byId("reconnect"), isOn ? "Disconnect" : "Connect");
  showEmpty();
  if (isSaid) say(`${selected.name}: ${word} ${why}`);
  if (state === "closed" && selected.closed && (status === 401 || status === 403)) {
    tokens.delete(selected.name);
    notice.show(page.tickets, why);
  }
}

function addRow(row) {
  if (row.mark === undefined && !row.isReplayed) rate.count();
  rows.add(row);
  table.draw();
  scheduleCounts();
}

function open(row) {
  table.setOpened(row);
  detail.open(row, rows.search);
}

function clear() {
  rows.clear();
  table.restart();
  scheduleCounts();
}

let areCountsScheduled = false;

/** Show how many rows there are, four times a second at most. */
function scheduleCounts() {
  if (areCountsScheduled) return;
  areCountsScheduled = true;
  setTimeout(() => {
    areCountsScheduled = false;
    const pause = byId("pause");
    setText(pause, rows.isPaused ? `Resume (${count(rows.waiting)})` : "Pause");
    setText(byId("found"), rows.search ? `${plural(rows.found, "event")} found` : "");
    showEmpty();
  }, 250);
}

function showEmpty() {
  const isEmpty = rows.shown.length === 0;
  byId("empty").hidden = !isEmpty;
  if (!isEmpty) return;
  const state = byId("state").dataset.state;
  setText(byId("empty"), state === "live" ? "Waiting for events." : "No events.");
}

function togglePause() {
  if (rows.isPaused) rows.resume();
  else rows.pause();
  say(rows.isPaused ? "Paused" : "Resumed");
  table.draw();
  scheduleCounts();
}

let searching;

function search() {
  clearTimeout(searching);
  searching = setTimeout(() => {
    rows.find(byId("search").value.trim());
    table.restart();
    scheduleCounts();
  }, 120);
}

function toggleConnection() {
  if (stream.isOpen) stream.close("you ended it");
  else connect(true);
}

byId("pause").addEventListener("click", togglePause);
byId("clear").addEventListener("click", () => { detail.close(); clear(); });
byId("search").addEventListener("input", search);
byId("reconnect").addEventListener("click", toggleConnection);
byId("code-open").addEventListener("click", () => {
  const url = new URL(at(selected.url));
  url.search = filters.query();
  showCode(reading({ url: url.href, root: base, closedSink: selected.closed && selected.name }));
});
byId("grid").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "p") togglePause();
  else if (event.key === "/") { event.preventDefault(); byId("search").focus(); }
});
// A link to a part of this page is no other sink.
addEventListener("popstate", () => { if (location.href.split("#")[0] !== shownUrl) selectFromUrl(); });
// A page that is hidden may be kept for later; its stream would hold a place on the server.
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => { if (event.persisted && selected?.stream) connect(true); });

prepareDialogs();
if (page.sinks.length) selectFromUrl();
