// How values are shown: times, sizes, latencies.

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false,
});
const day = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "long",
});
const number = new Intl.NumberFormat("en");

const isDate = (ms) => Math.abs(ms) <= 8.64e15;

/** Return the time of day in the reader's zone; `ms` since the epoch, NaN where it isn't known. */
export const timeOfDay = (ms) => (isDate(ms) ? clock.format(ms) : "–");

/** Return date and time in the reader's zone. */
export const dateAndTime = (ms) => (isDate(ms) ? day.format(ms) : "not known");

/** Return a whole number, with separators. */
export const count = (value) => number.format(value);

/** Return "1 event", "2 events". */
export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

/** Return a number of bytes, in the unit that suits it. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** Return a duration. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** Return how many of something there are a second. */
export const rate = (value) => count(value >= 10 ? Math.round(value) : Math.round(value * 10) / 10);

/** Return text as it is shown in one line, and no longer than that. */
export function oneLine(text, most = 300) {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return short.replace(/[\s\u2028\u2029]+/g, " ");
}
