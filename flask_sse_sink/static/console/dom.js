// Makes elements. Text is only ever set as text: nothing here, and nothing else in the console,
// makes markup from a string.

/** Return the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Return an element with these attributes and children: nodes, or texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Set an element's text, unless it is that already. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let spoken = Promise.resolve();

/** Have screen readers say a sentence, when they have said what they are saying. */
export function say(text) {
  const region = byId("spoken");
  // A region whose text stays the same isn't said again.
  region.textContent = "";
  spoken = spoken.then(() => new Promise((done) => setTimeout(done, 100))).then(() => {
    region.textContent = text;
  });
}

let hiding;

/** Show a short note for a moment, and say it. */
export function note(text) {
  const toast = byId("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, 2500);
  say(text);
}

/** Copy a text, and say so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP there is no clipboard, but for what is selected.
    const field = make("textarea", { class: "unseen", "aria-label": "to be copied" });
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    const focused = document.activeElement;
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    if (!copied) return note(`This browser doesn't let pages copy. Select the text instead.`);
  }
  note(`Copied ${what}`);
}
