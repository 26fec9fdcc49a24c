// Code that reads a stream, and code that publishes an event: for the shell, JavaScript, Python.
// Whatever an event holds stays text in it. A secret is never written: a variable stands for it.

import { compact, encode, survives } from "./jsontext.js";

// What has no bytes in UTF-8.
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
// Pasted as they are, control characters could end the paste and begin a command of their own.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

const octal = (byte) => `\\${byte.toString(8).padStart(3, "0")}`;
const bytes = (char) => [...new TextEncoder().encode(char)].map(octal).join("");

/** Return a text as one word of a shell's command. */
export function shell(text) {
  const sound = text.replace(LONE, "\ufffd");
  if (sound.search(CONTROL) < 0) return `'${sound.replaceAll("'", "'\\''")}'`;
  return `$'${sound.replace(/[\\']/g, "\\$&").replace(CONTROL, bytes)}'`;
}

// It may be pasted into a page, where "</script>" would end the script.
const safeInPages = (code) => code.replaceAll("<", "\\u003c");

/** Return a string as a literal of JavaScript. */
export const javascript = (text) => safeInPages(encode(text));

/** Return the JSON of a value as an expression of JavaScript whose value is the JSON. */
function javascriptBody(text) {
  return survives(text) ? `JSON.stringify(${safeInPages(compact(text, undefined, " "))})` : javascript(text);
}

/** Return a string as a literal of Python. */
export const python = (text) => encode(text);

const WORDS = { true: "True", false: "False", null: "None" };
const pythonValue = (text) => compact(text, (word) => WORDS[word] ?? word, " ");

/** Return how to read the stream at a URL, in each language; `sink` names it if it is closed. */
export function reading({ url, root, closedSink }) {
  const token = closedSink ? ' \\\n  -H "Authorization: Bearer $SSE_SINK_TOKEN"' : "";
  return {
    curl: `curl -N ${shell(url)}${token}`,
    JavaScript: lines(
      `import { connect } from ${javascript(new URL("sse-sink.js", root).href)};`,
      "",
      `const stream = connect(${javascript(url)}, {`,
      "  onMessage: (event) => console.log(event),",
      "  onState: (state, detail) => console.log(state, detail),",
      ...(closedSink ? ticketOption(closedSink, root) : []),
      "});",
    ),
    Python: lines(
      "# pip install httpx httpx-sse",
      ...(closedSink ? ["import os", ""] : []),
      "import httpx",
      "from httpx_sse import connect_sse",
      "",
      `url = ${python(url)}`,
      ...pythonHeaders(closedSink && "SSE_SINK_TOKEN"),
      `with httpx.Client(timeout=None${closedSink ? ", headers=headers" : ""}) as client:`,
      '    with connect_sse(client, "GET", url) as stream:',
      "        for event in stream.iter_sse():",
      "            print(event.event, event.id, event.data)",
    ),
  };
}

/** Return how to publish an event, whose JSON `body` is. `needsToken`: the server asks for one. */
export function publishing({ url, body, needsToken }) {
  const token = needsToken ? ' \\\n  -H "Authorization: Bearer $INGEST_TOKEN"' : "";
  return {
    curl:
      `curl ${shell(url)}${token} \\\n  -H 'Content-Type: application/json' \\\n` +
      `  --data-raw ${shell(compact(body))}`,
    JavaScript: lines(
      `const answer = await fetch(${javascript(url)}, {`,
      '  method: "POST",',
      "  headers: {",
      '    "Content-Type": "application/json",',
      ...(needsToken ? ["    Authorization: `Bearer ${process.env.INGEST_TOKEN}`,"] : []),
      "  },",
      `  body: ${javascriptBody(body)},`,
      "});",
      "console.log(answer.status, await answer.json());",
    ),
    Python: lines(
      "# pip install httpx",
      ...(needsToken ? ["import os", ""] : []),
      "import httpx",
      "",
      `event = ${pythonValue(body)}`,
      ...pythonHeaders(needsToken && "INGEST_TOKEN"),
      `answer = httpx.post(${python(url)}, json=event${needsToken ? ", headers=headers" : ""})`,
      "print(answer.status_code, answer.json())",
    ),
  };
}

/** Return how to extract a batch of a pulled sink. */
export function extracting({ url, closed }) {
  const token = closed ? ' \\\n  -H "Authorization: Bearer $SSE_SINK_TOKEN"' : "";
  return { curl: `curl ${shell(url)}${token}` };
}

const lines = (...all) => all.join("\n") + "\n";

/** Return how a stream asks for tickets; the token is the page's to know. */
const ticketOption = (sink, root) => [
  "  ticket: () =>",
  `    fetch(${javascript(new URL("tickets", root).href)}, {`,
  '      method: "POST",',
  '      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },',
  `      body: JSON.stringify({ sink: ${javascript(sink)} }),`,
  "    }),",
];

const pythonHeaders = (variable) =>
  variable ? [`headers = {"Authorization": "Bearer " + os.environ["${variable}"]}`] : [];
