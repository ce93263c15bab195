// What the figures share: how they begin, their axes, and points with names.
//
// SPDX-License-Identifier: MIT
import {axisX, axisY, dot, gridX, gridY, plot, pointer, tip} from "@observablehq/plot";
import {colourOf, symbolOf} from "./appearance.js";
import {placedLabels} from "./labels.js";

export const line = "var(--line)";
export const muted = "var(--muted)";

// Room for the axes of frame().
export const margins = {marginLeft: 52, marginBottom: 44, marginTop: 28, marginRight: 16};

export function draw(label, options) {
  const svg = plot({className: "plot", style: {fontSize: "12px"}, ...options});
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return svg;
}

// Small differences look small: at least a quarter of the largest value is shown, or all from 0
// on where the values are far apart.
export function calmDomain(values) {
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  if (highest === 0) return [0, 1];
  if (lowest < highest * 0.5) return [0, highest * 1.06];
  const span = Math.max((highest - lowest) * 1.4, highest * 0.25);
  const middle = (highest + lowest) / 2;
  return [middle - span / 2, middle + span / 2];
}

export function frame(xLabel, yLabel) {
  return [
    gridX({stroke: line, strokeOpacity: 1, ticks: 5}),
    gridY({stroke: line, strokeOpacity: 1, ticks: 5}),
    axisX({label: xLabel, tickSize: 0, labelOffset: 38, fill: muted, ticks: 5}),
    axisY({label: yLabel, tickSize: 0, fill: muted, ticks: 5}),
  ];
}

// Medians as large points with their names, other points small and faint behind them.
export function namedPoints(medians, others) {
  const look = {
    x: "x",
    y: "y",
    fill: ({name}) => colourOf(name),
    symbol: ({name}) => symbolOf(name),
  };
  return [
    dot(others, {...look, r: 3, fillOpacity: 0.4, stroke: null, className: "runs"}),
    dot(medians, {...look, r: 6, stroke: "var(--page)", strokeWidth: 1.5, className: "medians"}),
    placedLabels(medians, others, {
      x: "x",
      y: "y",
      fill: ({name}) => colourOf(name),
      className: "names",
    }),
    tip([...medians, ...others], pointer({x: "x", y: "y", title: "words", maxRadius: 20})),
  ];
}
