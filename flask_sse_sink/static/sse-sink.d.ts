/** `reconnecting` and `busy` wait for the next attempt; `closed` is the end. */
export type State =
  | "connecting"
  | "live"
  | "busy"
  | "expired"
  | "reconnecting"
  | "offline"
  | "closed";

/** Why a stream is in its state; what isn't known is missing. */
export interface StateDetail {
  /** The status of the server's refusal. */
  status?: number;
  /** Why, in words: those of the server, if it told. */
  reason?: string;
  /** The server's `application/problem+json`. */
  problem?: {
    title?: string;
    detail?: string;
    status?: number;
    /** Why access was refused, e.g. `expired`. */
    reason?: string;
    [member: string]: unknown;
  };
  /** Milliseconds until the next attempt. */
  retryIn?: number;
}

/** Events that the stream could not bring; null is not known. */
export interface Missed {
  count: number | null;
  first_id: number | null;
  last_id: number | null;
  /** Missing where this client was too slow. */
  reason?: "pruned" | "beyond_replay" | "unknown_id" | "other_log" | "no_replay";
  [member: string]: unknown;
}

/** One frame, as it came. */
export interface Frame {
  type: "message" | "info" | "heartbeat";
  data: string;
  /** The last id that this stream gave, "" before the first. */
  id: string;
  /** The identity of the log that the id is of, "" where there is none. */
  log: string;
}

/** What `ticket` gives: a ticket, a URL with one, or the answer of `POST /tickets`. */
export type Ticket = string | { ticket: string } | { url: string } | Response | null | undefined;

export interface Options<Data = any> {
  /** Is called with each event. */
  onMessage?: (event: StoredEvent<Data>, frame: Frame) => void;
  /** Is called with each change of the state, and with each new attempt. */
  onState?: (state: State, detail: StateDetail) => void;
  /** Is called when events are missing. */
  onMissed?: (missed: Missed) => void;
  /** Is called with every frame, before the others. */
  onFrame?: (frame: Frame) => void;
  /** Is called before each attempt, for what opens a closed sink. */
  ticket?: () => Ticket | Promise<Ticket>;
  /** Whether requests to another origin carry cookies. */
  withCredentials?: boolean;
  /** Whether tabs share a connection; text shares among those with the same text. */
  share?: boolean | string;
  /** Narrow the stream: one value, or several. */
  eventTypes?: string | readonly string[];
  entityIds?: string | readonly string[];
  sources?: string | readonly string[];
  /** Where to go on, on a sink with replay. */
  lastEventId?: string | number;
  /** The longest first delay before another attempt, in milliseconds; by default the sink's. */
  retryDelay?: number;
  /** The longest delay, in milliseconds; by default 30 000. */
  maxRetryDelay?: number;
  /** The longest silence, in milliseconds; by default twice the sink's heartbeat timeout. 0: any. */
  silence?: number;
}

export interface Stream {
  readonly state: State;
  /** The id of the last event that this page has, "" where it has none. */
  readonly lastEventId: string;
  /** Ends the stream. No callback is called after this. */
  close(): void;
}

/** Reads a sink until `close()` is called, or until the server refuses for good. */
export function connect<Data = any>(url: string | URL, options?: Options<Data>): Stream;

// From here: made by tools/declarations.py

/** Who publishes: the log's id for it and the name it goes by. */
export interface Source {
  id: number;
  name: string;
}

/** A stored event. The order of the fields is the order of the envelope's keys. */
export interface StoredEvent<Data = any> {
  id: number;
  /** the producer's id, or one that was made for it */
  event_id: string;
  event_type: string;
  /** whom or what the event is about */
  entity_id: string | null;
  created_at: string;
  /** any JSON */
  data: Data;
  source: Source;
  meta: Record<string, unknown>;
}
