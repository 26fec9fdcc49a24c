// Draws the rows that are in view, the newest first: a few dozen elements, however many rows there
// are. Each row has the same height. The newest stay in view, unless the reader scrolled down.

import { byId, make, setText } from "./dom.js";
import { count, duration, oneLine, size, timeOfDay } from "./format.js";
import { preview } from "./rows.js";

const SPARE_ROWS = 6;
const COLUMNS = ["id", "time", "type", "entity", "source", "data", "size", "latency"];

export class Table {
  #rows;
  #onOpen;
  #grid = byId("grid");
  #body = byId("rows");
  #scroll = byId("scroll");
  #above = byId("above");
  #below = byId("below");
  #newer = byId("newer");
  #drawn = new Map();
  #spare = [];
  #rowHeight = 34;
  #added = 0;
  #unseen = 0;
  #active = null;
  #opened = null;
  #asked = false;

  /** `rows` are the rows to draw; `onOpen` is called with the row that the reader opens. */
  constructor(rows, onOpen) {
    this.#rows = rows;
    this.#onOpen = onOpen;
    this.#scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    this.#newer.addEventListener("click", () => this.#toNewest());
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#grid.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.draw()).observe(this.#scroll);
  }

  /** Draw before the next frame, once however often this is called. */
  draw() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  /** Begin anew with the newest row: the rows are other ones. */
  restart() {
    this.#active = null;
    this.#added = this.#rows.added;
    this.#toNewest();
  }

  focus() { this.#grid.focus({ preventScroll: true }); }

  /** Mark the row that is open; null for none. */
  setOpened(row) {
    this.#opened = row;
    this.draw();
  }

  #toNewest() {
    this.#unseen = 0;
    this.#scroll.scrollTop = 0;
    this.draw();
  }

  #draw() {
    const { shown } = this.#rows;
    const height = parseFloat(getComputedStyle(this.#scroll).getPropertyValue("--row")) || this.#rowHeight;
    this.#rowHeight = height;
    const fresh = this.#rows.added - this.#added;
    this.#added = this.#rows.added;
    let top = this.#scroll.scrollTop;
    const isMoved = fresh > 0 && (top >= height || this.#active !== null);
    if (isMoved) {
      // What the reader looks at stays where it is, while it is kept.
      this.#unseen += fresh;
      top += fresh * height;
    }
    const first = clamp(Math.floor(top / height) - SPARE_ROWS, 0, shown.length);
    const rowsInView = Math.ceil(this.#scroll.clientHeight / height);
    const end = Math.min(shown.length, first + rowsInView + 2 * SPARE_ROWS);
    this.#above.style.height = `${first * height}px`;
    this.#below.style.height = `${(shown.length - end) * height}px`;
    this.#place(first, end);
    if (isMoved) this.#scroll.scrollTop = top;
    else if (this.#scroll.scrollTop < height) this.#unseen = 0;
    this.#unseen = Math.min(this.#unseen, shown.length);
    this.#newer.hidden = this.#unseen === 0;
    setText(this.#newer, `↑ ${count(this.#unseen)} newer`);
    this.#grid.setAttribute("aria-rowcount", shown.length + 1);
    this.#showActive();
  }

  /** Have the elements of these rows, and no others, in the table. */
  #place(first, end) {
    const { shown } = this.#rows;
    const at = (index) => shown[shown.length - 1 - index];
    const wanted = new Set();
    for (let index = first; index < end; index += 1) wanted.add(at(index).number);
    for (const [number, element] of this.#drawn) {
      if (wanted.has(number)) continue;
      this.#drawn.delete(number);
      element.remove();
      if (this.#spare.length < 200) this.#spare.push(element);
    }
    let next = this.#body.firstChild;
    for (let index = first; index < end; index += 1) {
      const row = at(index);
      let element = this.#drawn.get(row.number);
      if (!element) {
        element = this.#fill(this.#spare.pop() ?? newElement(), row);
        this.#drawn.set(row.number, element);
      }
      if (element === next) next = next.nextSibling;
      else this.#body.insertBefore(element, next);
      element.setAttribute("aria-rowindex", index + 2);
      element.setAttribute("aria-selected", row === this.#active || row === this.#opened);
    }
  }

  #fill(element, row) {
    element.id = `row-${row.number}`;
    element.dataset.number = row.number;
    const isMark = row.mark !== undefined;
    element.className = isMark ? `mark ${row.kind}` : "event";
    const cells = [...element.children];
    for (const cell of cells) cell.hidden = isMark && cell !== cells[0];
    if (isMark) {
      setText(cells[0], [timeOfDay(row.time), row.mark].filter((text) => text !== "–").join("  "));
      return element;
    }
    const texts = [
      row.id, timeOfDay(row.time), oneLine(row.type), oneLine(row.entity), oneLine(row.source),
      oneLine(preview(row)), size(row.bytes), row.isReplayed ? "replay" : duration(row.latency),
    ];
    texts.forEach((text, index) => setText(cells[index], text));
    return element;
  }

  #clicked(event) {
    const element = event.target.closest("tr");
    const row = element && this.#byNumber(Number(element.dataset.number));
    if (!row || String(getSelection())) return;
    this.#active = row;
    this.draw();
    if (row.mark === undefined) this.#onOpen(row);
  }

  #pressed(event) {
    const { shown } = this.#rows;
    const page = Math.max(1, Math.floor(this.#scroll.clientHeight / this.#rowHeight) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps && shown.length) {
      event.preventDefault();
      const now = this.#active ? shown.length - 1 - shown.indexOf(this.#active) : -1;
      const wanted = clamp(now + steps[event.key], 0, shown.length - 1);
      this.#active = shown[shown.length - 1 - (now >= shown.length ? 0 : wanted)];
      this.#scrollTo(shown.length - 1 - shown.indexOf(this.#active));
      this.draw();
    } else if ((event.key === "Enter" || event.key === " ") && this.#active) {
      event.preventDefault();
      if (this.#active.mark === undefined) this.#onOpen(this.#active);
    } else if (event.key === "Escape" && this.#active) {
      this.#active = null;
      this.draw();
    }
  }

  #scrollTo(index) {
    const head = this.#grid.tHead.offsetHeight;
    const top = index * this.#rowHeight;
    const view = this.#scroll;
    if (top < view.scrollTop) view.scrollTop = top;
    const bottom = top + this.#rowHeight + head - view.clientHeight;
    if (bottom > view.scrollTop) view.scrollTop = bottom;
  }

  #showActive() {
    const active = this.#active && this.#drawn.get(this.#active.number);
    for (const element of this.#drawn.values()) element.classList.toggle("active", element === active);
    if (active) this.#grid.setAttribute("aria-activedescendant", active.id);
    else this.#grid.removeAttribute("aria-activedescendant");
  }

  #byNumber(number) { return this.#rows.shown.find((row) => row.number === number); }
}

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));

function newElement() {
  return make("tr", { role: "row" }, ...COLUMNS.map((name) => make("td", { class: name, role: "gridcell" })));
}
