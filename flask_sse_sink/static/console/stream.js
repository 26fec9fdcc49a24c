// The stream of the sink that is selected: its state in words, its events as rows, and marks of
// what happened to it.

import { connect } from "../../sse-sink.js";
import { count, duration } from "./format.js";
import { eventRow, markRow } from "./rows.js";

const WORDS = {
  connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", offline: "Offline",
  busy: "Busy", expired: "Expired", closed: "Closed",
};
const NOTICES = {
  closing: ["The server ends the stream (closing)", "warning"],
  busy: ["The server has no place for the stream now (busy)", "warning"],
  expired: ["The stream ends because its token does, or was revoked (expired)", "warning"],
};
const REASONS = {
  pruned: "they are no longer kept",
  beyond_replay: "they are further back than the sink replays",
  unknown_id: "the id is newer than the newest event: it is of another log",
  no_replay: "the sink has no replay, so what came meanwhile is lost",
  other_log: "the id is of another log",
};

export class Stream {
  #stream = null;
  #state = "closed";
  #wasLive = false;
  #liveSince = Infinity;
  #lastEventId = "";
  #options;

  /**
   * `onRow` is called with each new row, `onState` with the state, its word, and what is to be
   * said of it; `clockAhead` returns by how many milliseconds the server's clock is ahead.
   */
  constructor(options) { this.#options = options; }

  get isOpen() { return this.#stream !== null; }

  /**
   * Open the stream at a URL. `ticket`, if there is one, asks for a ticket and returns the answer.
   * With `resume`, the stream goes on after the last event that came, if the sink replays.
   */
  open(url, { ticket, resume = false } = {}) {
    this.close();
    this.#wasLive &&= resume;
    this.#liveSince = Date.now();
    let opened = null;
    // A callback of a stream that was closed meanwhile is void.
    const ours = (action) => (...values) => { if (this.#stream === opened) action(...values); };
    opened = this.#stream = connect(url, {
      lastEventId: resume ? this.#lastEventId : "",
      ticket: ticket && (() => this.#ask(ticket, opened)),
      onState: ours((state, detail) => this.#changed(state, detail)),
      onMissed: ours((missed) => this.#options.onRow(markRow(missedWords(missed), "bad"))),
      onFrame: ours((frame) => this.#noticed(frame)),
      onMessage: ours((_, frame) => this.#options.onRow(eventRow({
        id: frame.id,
        text: frame.data,
        receivedAt: this.#onServer(Date.now()),
        liveSince: this.#onServer(this.#liveSince),
      }))),
    });
  }

  /** Close the stream; `why` is said of it. */
  close(why = "", status = 0) {
    if (!this.#stream) return;
    this.#lastEventId = this.#stream.lastEventId;
    this.#stream.close();
    this.#stream = null;
    this.#tell("closed", why, status);
  }

  /** Return a time of the browser's clock as the server's clock had it. */
  #onServer(time) { return time + this.#options.clockAhead(); }

  async #ask(ticket, asker) {
    const answer = await ticket();
    // Another try wouldn't help: the reader has to give another token.
    if ([401, 403].includes(answer.status) && this.#stream === asker) {
      const problem = await answer.clone().json().catch(() => ({}));
      this.#end(reason("closed", { status: answer.status, problem }), answer.status);
    }
    return answer;
  }

  #end(why, status) {
    this.#options.onRow(markRow(["The stream ended", why].filter(Boolean).join(": "), "bad"));
    this.close(why, status);
  }

  #noticed(frame) {
    if (frame.type === "info" && Object.hasOwn(NOTICES, frame.data)) this.#options.onRow(markRow(...NOTICES[frame.data]));
  }

  #changed(state, detail) {
    const why = reason(state, detail);
    if (state === "closed") return this.#end(why, detail.status);
    if (state === "live") {
      this.#options.onRow(markRow(this.#wasLive ? "Connected again" : "Connected"));
      this.#liveSince = Date.now();
      this.#wasLive = true;
    } else if (this.#state === "live") {
      this.#options.onRow(markRow(["The connection ended", why].filter(Boolean).join(": "), "warning"));
    }
    this.#tell(state, why);
  }

  #tell(state, why, status = 0) {
    this.#state = state;
    this.#options.onState(state, WORDS[state] ?? state, why, status);
  }
}

/** Return in words why a stream is in this state, "" where nothing is to be said. */
function reason(state, { status, problem, reason, retryIn }) {
  const why = problem?.title ? `${status} ${problem.title}: ${problem.detail}` : reason;
  const again = state !== "live" && retryIn > 0 ? `trying again in ${duration(retryIn)}` : "";
  return [why, again].filter(Boolean).join("; ");
}

function missedWords({ count: number, first_id: first, last_id: last, reason: why, asked, head }) {
  const many = number == null ? "Events were missed" : `${count(number)} ${number === 1 ? "event was" : "events were"} missed`;
  const ids = first == null ? "" : first === last ? ` (id ${first})` : ` (ids ${first} to ${last})`;
  const words = why ? `: ${REASONS[why] ?? why}` : ": this client was too slow";
  return many + ids + words + (asked == null ? "" : `, asked ${asked}, newest ${head}`);
}
