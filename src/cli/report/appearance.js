// How each allocator looks wherever it is drawn: a colour and a shape, so that neither is needed
// to tell it from the others. The colours are the variables --series-N of the style.
//
// SPDX-License-Identifier: MIT
import {dot, plot} from "@observablehq/plot";
import {allocators} from "./data.js";

const triangleDown = {
  draw(context, size) {
    const height = Math.sqrt(size * Math.sqrt(3));
    const half = height / Math.sqrt(3);
    context.moveTo(-half, -height / 3);
    context.lineTo(half, -height / 3);
    context.lineTo(0, (2 * height) / 3);
    context.closePath();
  },
};

const symbols = [
  "circle",
  "square",
  "triangle",
  "diamond",
  "cross",
  "star",
  "wye",
  "hexagon",
  triangleDown,
  "diamond2",
];

const appearances = new Map(
  allocators.map((name, index) => [
    name,
    {colour: `var(--series-${index % symbols.length})`, symbol: symbols[index % symbols.length]},
  ]),
);

export function colourOf(name) {
  return appearances.get(name).colour;
}

export function symbolOf(name) {
  return appearances.get(name).symbol;
}

function drawnSwatch(name) {
  const svg = plot({
    axis: null,
    width: 14,
    height: 14,
    margin: 7,
    className: "swatch",
    marks: [
      dot([name], {
        r: 5,
        symbol: symbolOf(name),
        fill: colourOf(name),
        stroke: null,
        frameAnchor: "middle",
      }),
    ],
  });
  svg.setAttribute("aria-hidden", "true");
  svg.querySelector("style").remove();
  return svg;
}

const swatches = new Map();

// The shape alone, for legends and tables, where the name stands beside it.
export function swatch(name) {
  if (!swatches.has(name)) swatches.set(name, drawnSwatch(name));
  return swatches.get(name).cloneNode(true);
}
