// Counts the events of each second, and draws them as a line over the last two minutes.

import { byId, setText } from "./dom.js";
import { rate as shownRate } from "./format.js";

const SECONDS = 120;
const HEIGHT = 32;

export class Rate {
  #counts = new Array(SECONDS).fill(0);
  #now = 0;
  #line = document.querySelector("#rate-line .line");
  #area = document.querySelector("#rate-line .area");

  constructor() {
    this.#draw();
    setInterval(() => this.#endSecond(), 1000);
  }

  count() { this.#now += 1; }

  restart() {
    this.#counts.fill(0);
    this.#now = 0;
    this.#draw();
  }

  #endSecond() {
    this.#counts.shift();
    this.#counts.push(this.#now);
    this.#now = 0;
    this.#draw();
  }

  #draw() {
    const most = Math.max(...this.#counts);
    const y = (value) => (HEIGHT - 1.5 - (value / Math.max(most, 1)) * (HEIGHT - 4)).toFixed(1);
    const points = this.#counts.map((value, index) => `${index} ${y(value)}`).join("L");
    this.#line.setAttribute("d", `M${points}`);
    this.#area.setAttribute("d", `M${points}L${SECONDS - 1} ${HEIGHT}L0 ${HEIGHT}Z`);
    const lately = this.#counts.slice(-3).reduce((sum, value) => sum + value, 0) / 3;
    setText(byId("rate-now"), shownRate(lately));
    setText(byId("rate-most"), most ? `at most ${shownRate(most)}` : "");
  }
}
