// Prints the data of each message of the stream at argv[2], one a line, until argv[3] have come.
import { EventSource } from "eventsource";

let left = Number(process.argv[3]);
const stream = new EventSource(process.argv[2]);
stream.addEventListener("info", (event) => console.error(event.data));
stream.addEventListener("message", (event) => {
  console.log(event.data);
  left -= 1;
  if (left === 0) {
    stream.close();
    process.exit(0);
  }
});
