// Code that can be copied: blocks of it, and buttons.

import { byId, copy, make } from "./dom.js";

/** Return a block for each language of `code`, with a button that copies it. */
export function blocks(code) {
  return Object.entries(code).map(([language, text]) => make("section", { class: "code" },
    make("header", {}, make("h3", {}, language),
      make("button", { type: "button", "aria-label": `Copy ${language}`, onclick: () => copy(text, language) }, "Copy")),
    make("pre", { tabindex: "0", "aria-label": language }, make("code", {}, text))));
}

/** Have the dialogs' buttons close them, and a click beside a dialog close it. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }
}

/** Show how to read a stream. */
export function showCode(code) {
  byId("code-blocks").replaceChildren(...blocks(code));
  byId("code").showModal();
}
