// Places for figures: each is drawn as wide as its place, again when that changes, and at a width
// for paper when the page is printed. Text in it keeps its size that way.
//
// SPDX-License-Identifier: MIT
import {element} from "./dom.js";

const screenHeight = 340;
const drawings = new Map(); // place: what draws in it
const observer = new ResizeObserver((entries) => {
  for (const {target, contentRect} of entries)
    redraw(target, Math.floor(contentRect.width), screenHeight);
});

function redraw(place, width, height) {
  const size = `${width} ${height}`;
  if (width === 0 || place.dataset.size === size) return;
  place.dataset.size = size;
  place.replaceChildren(drawings.get(place)(width, height));
}

// `draw(width, height)` returns an SVG element, of another height where its content asks for it;
// `below` is shown under it.
export function figure(title, subtitle, draw, ...below) {
  const place = element("div", {class: "canvas"});
  drawings.set(place, draw);
  observer.observe(place);
  return element(
    "figure",
    {},
    element("figcaption", {}, element("strong", {}, title), element("span", {}, subtitle)),
    place,
    ...below,
  );
}

// On paper there are two in a row, or three of bars.
export function drawForPaper() {
  for (const place of drawings.keys()) redraw(place, place.closest(".row") ? 310 : 470, 220);
}

export function drawForScreen() {
  // All widths before the first change, so that the layout is computed once.
  const widths = [...drawings.keys()].map((place) => [place, place.clientWidth]);
  for (const [place, width] of widths) redraw(place, width, screenHeight);
}
