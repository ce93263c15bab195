// Workloads that are points of a curve, such as threads=1 to threads=64: what they cost, against the
// number in their names.
//
// SPDX-License-Identifier: MIT
import {axisX, axisY, dot, gridX, gridY, lineY, pointer, ruleX, tip} from "@observablehq/plot";
import {colourOf, symbolOf} from "./appearance.js";
import {figure} from "./canvas.js";
import {allocators, betterWords, figuresOf, report} from "./data.js";
import {element} from "./dom.js";
import {titleWithUnit, withUnit} from "./format.js";
import {draw, line, margins, muted} from "./frame.js";

const fewestPoints = 3; // two are no curve
const pointName = /^(.+)=(\d+(?:\.\d+)?)([^\d\s]*)$/;

// The workloads that have a name before the = and a unit in common: [{title, unit, points}].
function curves() {
  const found = new Map();
  for (const workload of report.workloads) {
    const [, title, number, unit] = workload.name.match(pointName) ?? [];
    if (title === undefined) continue;
    const key = `${title}=${unit}`;
    if (!found.has(key)) found.set(key, {title, unit, points: []});
    found.get(key).points.push({at: Number(number), workload});
  }
  return [...found.values()]
    .map((curve) => ({...curve, points: curve.points.sort((a, b) => a.at - b.at)}))
    .filter(({points}) => new Set(points.map(({at}) => at)).size >= fewestPoints);
}

// What a curve is drawn of: memory, and the metrics that all its points have; without any, time.
function shownOf({points}) {
  const everywhere = figuresOf(points[0].workload).filter(({name}) =>
    points.every(({workload}) => figuresOf(workload).some((each) => each.name === name)),
  );
  const metrics = everywhere.filter(({isMetric}) => isMetric);
  const named = (wanted) => everywhere.filter(({name}) => name === wanted);
  return [...(metrics.length > 0 ? metrics : named("time")), ...named("memory")];
}

// Where values grow by factors, equal factors are equally far apart.
function scaleOf(values) {
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  return lowest > 0 && highest >= 8 * lowest
    ? {type: "log", domain: [lowest / 1.15, highest * 1.15]}
    : {type: "linear", domain: [Math.min(0, lowest), highest * 1.06 || 1]};
}

const shortNumber = new Intl.NumberFormat("en-US", {
  notation: "compact",
  maximumSignificantDigits: 3,
});
const fullNumber = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 4});

// Every third axis label or so, where there are many values to mark.
function ticksOf(values, width) {
  const different = [...new Set(values)];
  const every = Math.ceil(different.length / Math.max(2, width / 64));
  return different.filter((_, index) => index % every === 0);
}

function curve({title, unit, points}, shown, width, height) {
  const values = points.flatMap(({at, workload}) =>
    workload.candidates.flatMap(({name, figures}) => {
      const of = figures?.[shown.name];
      return of ? [{name, at, ...of}] : [];
    }),
  );
  const lines = allocators
    .map((name) => ({name, values: values.filter((each) => each.name === name)}))
    .filter(({values}) => values.length > 0);
  const words = ({median}) => withUnit(fullNumber.format(median), shown.unit);
  const numbers = points.map(({at}) => at);
  const ticks = ticksOf(numbers, width - margins.marginLeft);
  const vertical = scaleOf(values.flatMap(({lowest, highest}) => [lowest, highest]));
  const look = {x: "at", y: "median"};
  return draw(
    `${shown.title} against ${title}. ${lines.map(({name, values}) => `${name}: ${words(values[0])} at ${values[0].at}, ${words(values.at(-1))} at ${values.at(-1).at}`).join("; ")}.`,
    {
      width,
      height,
      ...margins,
      x: scaleOf(numbers),
      y: vertical,
      marks: [
        gridX(ticks, {stroke: line, strokeOpacity: 1}),
        gridY({stroke: line, strokeOpacity: 1, ticks: 5}),
        axisX(ticks, {
          label: unit ? `${title} (${unit})` : title,
          tickSize: 0,
          labelOffset: 38,
          fill: muted,
          text: (value) => shortNumber.format(value),
        }),
        axisY({
          label: titleWithUnit(shown),
          tickSize: 0,
          fill: muted,
          ticks: 5,
          tickFormat: (value) => shortNumber.format(value),
        }),
        ruleX(values, {
          x: "at",
          y1: "lowest",
          y2: "highest",
          stroke: ({name}) => colourOf(name),
          strokeOpacity: 0.45,
          className: "curve-spans",
        }),
        lines.map(({name, values}) =>
          lineY(values, {...look, stroke: colourOf(name), strokeWidth: 1.75, className: "curves"}),
        ),
        dot(values, {
          ...look,
          r: 4,
          symbol: ({name}) => symbolOf(name),
          fill: ({name}) => colourOf(name),
          stroke: "var(--page)",
          strokeWidth: 1,
          className: "curve-points",
        }),
        tip(
          values.map((each) => ({
            ...each,
            words: `${each.name}\n${title} ${withUnit(fullNumber.format(each.at), unit)}\n${words(each)}`,
          })),
          pointer({...look, title: "words", maxRadius: 20}),
        ),
      ],
    },
  );
}

// Two figures in a row for each curve; nothing where there is none.
export function curveFigures() {
  const all = curves().map((each) =>
    element(
      "div",
      {class: "pair"},
      shownOf(each).map((shown) =>
        figure(
          `${shown.title} against ${each.title}`,
          [shown.unit, betterWords(each.points[0].workload, shown)].filter(Boolean).join(", "),
          (width, height) => curve(each, shown, width, height),
        ),
      ),
    ),
  );
  return all.length > 0
    ? [
        ...all,
        element(
          "p",
          {class: "note"},
          "Points: medians. Lines through them: lowest to highest run.",
        ),
      ]
    : [];
}
