// Prints every event of the stream that is named on the command line, as a line of JSON.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
const show = (event) =>
  console.log(JSON.stringify([event.type, event.data, event.lastEventId]));
for (const type of ["info", "message"]) source.addEventListener(type, show);
// While it waits to connect again, nothing else keeps the process.
setInterval(() => {}, 1 << 30);
