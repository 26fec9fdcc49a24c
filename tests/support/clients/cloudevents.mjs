// Sends an event in both modes to the URL that is named on the command line. Then reads a
// CloudEvent from each line of standard input, and prints it as a line of JSON.
import { createInterface } from "node:readline";
import { CloudEvent, HTTP } from "cloudevents";

const event = (id, subject) =>
  new CloudEvent({
    id,
    type: "com.example.npm",
    source: "https://npm.example/a?b=c#d",
    subject,
    time: "2018-04-05T17:31:00.123Z",
    datacontenttype: "application/json",
    dataschema: "https://npm.example/schema",
    ext: "a b",
    data: { n: [1, "ü"] },
  });

const post = async ({ headers, body }) => {
  const answer = await fetch(process.argv[2], { method: "POST", headers, body });
  console.log(answer.status);
};

// In binary mode it sends text as it is: no header can carry what isn't Latin-1.
await post(HTTP.binary(event("binary", 'a "b" 100 %')));
await post(HTTP.structured(event("structured", 'Grüße "€" 100 % \u{1F600}')));
for await (const body of createInterface({ input: process.stdin })) {
  const headers = { "content-type": "application/cloudevents+json" };
  console.log(JSON.stringify(HTTP.toEvent({ headers, body })));
}
