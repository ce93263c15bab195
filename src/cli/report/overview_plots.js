// The figures of all workloads: each function draws one at a given width, and returns the SVG
// element.
//
// SPDX-License-Identifier: MIT
import {axisX, axisY, dot, gridX, gridY, pointer, ruleX, ruleY, tip} from "@observablehq/plot";
import {colourOf, symbolOf} from "./appearance.js";
import {firstName, isClear, report} from "./data.js";
import {ratioText} from "./format.js";
import {calmDomain, draw, frame, line, margins, muted, namedPoints} from "./frame.js";

// The geometric means of all workloads.
export function means(width, height) {
  const first = firstName(report.workloads[0]);
  const points = [{name: first, time: 1, memory: 1}, ...report.means]
    .filter(({time, memory}) => time !== undefined && memory !== undefined)
    .map(({name, time, memory}) => ({
      name,
      x: time,
      y: memory,
      words: `${name}\ntime ${time.toFixed(2)}\nmemory ${memory.toFixed(2)}`,
    }));
  return draw(
    `Geometric means over all workloads, relative to ${first}. ${points.map(({name, x, y}) => `${name}: time ${x.toFixed(2)}, memory ${y.toFixed(2)}`).join("; ")}.`,
    {
      width,
      height,
      ...margins,
      x: {domain: calmDomain(points.map(({x}) => x))},
      y: {domain: calmDomain(points.map(({y}) => y))},
      marks: [
        ...frame("Time, relative", "Peak memory, relative"),
        ruleX([1], {stroke: muted}),
        ruleY([1], {stroke: muted}),
        ...namedPoints(points, []),
      ],
    },
  );
}

const niceRatios = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100,
];

function ratioTicks([low, high], width) {
  const inside = niceRatios.filter((each) => each >= low && each <= high);
  const every = Math.ceil(inside.length / (width / 44));
  const middle = inside.indexOf(1);
  return inside.filter((_, index) => (index - middle) % every === 0);
}

// The ratios of one figure in all workloads, a row for each.
export function ratios(figureName, title, width) {
  const points = report.workloads.flatMap((workload) =>
    workload.candidates.slice(1).flatMap(({name, figures}) => {
      const ratio = figures?.[figureName]?.ratio;
      return ratio && ratio.value > 0
        ? [
            {
              name,
              workload: workload.name,
              ratio,
              words: `${workload.name}\n${name}: ${ratioText(ratio)}\n${ratio.verdict}`,
            },
          ]
        : [];
    }),
  );
  const values = points.map(({ratio}) => ratio.value);
  const domain = [Math.min(0.8, ...values) / 1.08, Math.max(1.25, ...values) * 1.08];
  const names = report.workloads.map(({name}) => name);
  const marginLeft = Math.min(width * 0.36, 24 + 7 * Math.max(...names.map(({length}) => length)));
  const ticks = ratioTicks(domain, width - marginLeft);
  const look = {
    x: ({ratio}) => ratio.value,
    y: "workload",
    symbol: ({name}) => symbolOf(name),
    r: 4,
  };
  return draw(
    `${title} in each workload, relative to ${firstName(report.workloads[0])}; the table below has the numbers.`,
    {
      width,
      height: names.length * 20 + 56,
      marginLeft,
      marginRight: 16,
      marginTop: 28,
      marginBottom: 28,
      x: {type: "log", domain},
      y: {type: "band", domain: names, padding: 0},
      marks: [
        gridX(ticks, {stroke: line, strokeOpacity: 1}),
        gridY({stroke: line, strokeOpacity: 0.6, strokeDasharray: "1 3"}),
        ruleX([1], {stroke: muted, strokeWidth: 1.5}),
        axisX(ticks, {anchor: "top", label: null, tickSize: 0, fill: muted, text: String}),
        axisX(ticks, {label: null, tickSize: 0, fill: muted, text: String}),
        axisY({
          label: null,
          tickSize: 0,
          lineWidth: (marginLeft - 12) / 12,
          textOverflow: "ellipsis",
        }),
        dot(
          points.filter(({ratio}) => !isClear(ratio)),
          {
            ...look,
            stroke: ({name}) => colourOf(name),
            fill: "var(--page)",
            className: "unclear-ratios",
          },
        ),
        dot(
          points.filter(({ratio}) => isClear(ratio)),
          {...look, fill: ({name}) => colourOf(name), stroke: null, className: "clear-ratios"},
        ),
        tip(
          points,
          pointer({x: ({ratio}) => ratio.value, y: "workload", title: "words", maxRadius: 16}),
        ),
      ],
    },
  );
}
