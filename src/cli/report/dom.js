// Makes elements. Text from the data becomes text nodes and attributes, never markup: names and
// what programs print are anybody's.
//
// SPDX-License-Identifier: MIT

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== ""));
  return made;
}

// Text that breaks between its words only: an interval is one word.
export function unbroken(text) {
  return text
    .split(" ")
    .flatMap((word) => [element("span", {class: "word"}, word), " "])
    .slice(0, -1);
}

// A table that is wider than the page scrolls in this box, by keyboard too.
export function scrollBox(label, child) {
  return element(
    "div",
    {class: "scroll", role: "region", "aria-label": label, tabindex: "0"},
    child,
  );
}

// A command to copy.
export function command(text) {
  const code = element("code", {}, text);
  const button = element(
    "button",
    {
      type: "button",
      class: "copy",
      "aria-live": "polite",
      click: async () => {
        button.textContent = (await copied(text, code)) ? "Copied" : "Selected: press Ctrl+C";
        setTimeout(() => (button.textContent = "Copy"), 3000);
      },
    },
    "Copy",
  );
  return element("div", {class: "command"}, element("pre", {tabindex: "0"}, code), button);
}

// Browsers that keep the clipboard from files on disk still let the user copy what is selected.
async function copied(text, code) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return false;
  }
}
