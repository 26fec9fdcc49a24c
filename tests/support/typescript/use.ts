// Is checked by the compiler, and never run.
import { connect, type Missed, type State, type StoredEvent, type Stream } from "flask-sse-sink";

interface Order {
  order: number;
}

const stream: Stream = connect<Order>("/events_stream/", {
  onMessage: (event, frame) => {
    const order: number = event.data.order;
    const entity: string | null = event.entity_id;
    const publisher: string = event.source.name;
    console.log(order, entity, publisher, frame.id, frame.data.length);
    // @ts-expect-error: the id of an event is a number
    const id: string = event.id;
    // @ts-expect-error: there is no such key
    event.occurred_at;
    // @ts-expect-error: the data has no such key
    event.data.amount;
  },
  onState: (state: State, { status, reason, problem, retryIn }) =>
    console.log(state, status, reason, problem?.detail, retryIn),
  onMissed: ({ count, reason }: Missed) => console.log(count, reason === "no_replay"),
  ticket: async () => fetch("/tickets", { method: "POST" }),
  share: "ann",
  eventTypes: ["order.*"],
  entityIds: "user-42",
  lastEventId: 7,
  silence: 0,
});
stream.close();
// @ts-expect-error: only the module changes the state
stream.state = "live";
// @ts-expect-error: there is no such state
const wrong: boolean = stream.state === "open";
// @ts-expect-error: there is no such option
connect("/events_stream/", { onEvent: () => {} });

const events: StoredEvent[] = [];
connect(new URL("http://h/"), { onMessage: (event) => void events.push(event) });
connect("/", { ticket: () => "abc" });
connect("/", { ticket: () => undefined });
