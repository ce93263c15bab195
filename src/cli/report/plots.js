// The figures: each function draws one at a given width, and returns the SVG element.
//
// SPDX-License-Identifier: MIT
import {areaY, axisX, axisY, barX, dot, gridX, gridY, lineY, plot, pointer, ruleX, ruleY, text, tickX, tip} from "@observablehq/plot";
import {colourOf, symbolOf} from "./appearance.js";
import {firstName, isClear, measuredCandidates, medianRun, report, runsThatCount} from "./data.js";
import {formatterFor, ratioText, withUnit} from "./format.js";
import {placedLabels} from "./labels.js";

const mib = 1024 * 1024;
const line = "var(--line)";
const muted = "var(--muted)";

function draw(label, options) {
  const svg = plot({className: "plot", style: {fontSize: "12px"}, ...options});
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return svg;
}

// Small differences look small: at least a quarter of the largest value is shown, or all from 0
// on where the values are far apart.
function calmDomain(values) {
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  if (highest === 0) return [0, 1];
  if (lowest < highest * 0.5) return [0, highest * 1.06];
  const span = Math.max((highest - lowest) * 1.4, highest * 0.25);
  const middle = (highest + lowest) / 2;
  return [middle - span / 2, middle + span / 2];
}

function frame(xLabel, yLabel) {
  return [
    gridX({stroke: line, strokeOpacity: 1, ticks: 5}),
    gridY({stroke: line, strokeOpacity: 1, ticks: 5}),
    axisX({label: xLabel, tickSize: 0, labelOffset: 38, fill: muted, ticks: 5}),
    axisY({label: yLabel, tickSize: 0, fill: muted, ticks: 5}),
  ];
}

// Medians as large points with their names, other points small and faint behind them.
function namedPoints(medians, others) {
  const look = {x: "x", y: "y", fill: ({name}) => colourOf(name), symbol: ({name}) => symbolOf(name)};
  return [
    dot(others, {...look, r: 3, fillOpacity: 0.4, stroke: null, className: "runs"}),
    dot(medians, {...look, r: 6, stroke: "var(--page)", strokeWidth: 1.5, className: "medians"}),
    placedLabels(medians, others, {x: "x", y: "y", fill: ({name}) => colourOf(name), className: "names"}),
    tip([...medians, ...others], pointer({x: "x", y: "y", title: "words", maxRadius: 20})),
  ];
}

export function timeAndMemory(workload, width, height) {
  const candidates = measuredCandidates(workload);
  const time = formatterFor("time", candidates.map(({figures}) => figures.time.median));
  const memory = formatterFor("memory", candidates.map(({figures}) => figures.memory.median));
  const point = (name, x, y, what) => ({name, x, y, words: `${what}\n${time(x)} s\n${memory(y)} MiB`});
  const medians = candidates.map(({name, figures}) =>
    point(name, figures.time.median, figures.memory.median, `${name}, median`));
  const runs = candidates.flatMap((candidate) =>
    runsThatCount(candidate)
      .filter((run) => run.time !== undefined && run.memory !== undefined)
      .map((run) => point(candidate.name, run.time, run.memory, `${candidate.name}, round ${run.round}`)));
  const all = [...medians, ...runs];
  return draw(
    `Time against peak memory. ${medians.map(({name, x, y}) => `${name}: ${time(x)} s, ${memory(y)} MiB`).join("; ")}.`,
    {
      width, height, marginLeft: 52, marginBottom: 44, marginTop: 28, marginRight: 16,
      x: {domain: calmDomain(all.map(({x}) => x))},
      y: {domain: calmDomain(all.map(({y}) => y))},
      marks: [...frame("Time (s)", "Peak memory (MiB)"), ...namedPoints(medians, runs)],
    });
}

// The geometric means of all workloads.
export function means(width, height) {
  const points = report.means.map(({name, time, memory}) => ({name, x: time, y: memory,
    words: `${name}\ntime ${time.toFixed(2)}\nmemory ${memory.toFixed(2)}`}));
  const first = firstName(report.workloads[0]);
  return draw(
    `Geometric means over all workloads, relative to ${first}. ${points.map(({name, x, y}) => `${name}: time ${x.toFixed(2)}, memory ${y.toFixed(2)}`).join("; ")}.`,
    {
      width, height, marginLeft: 52, marginBottom: 44, marginTop: 28, marginRight: 16,
      x: {domain: calmDomain([1, ...points.map(({x}) => x)])},
      y: {domain: calmDomain([1, ...points.map(({y}) => y)])},
      marks: [...frame("Time, relative", "Peak memory, relative"),
        ruleX([1], {stroke: muted}), ruleY([1], {stroke: muted}), ...namedPoints(points, [])],
    });
}

const niceRatios = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100];

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
        ? [{name, workload: workload.name, ratio, words: `${workload.name}\n${name}: ${ratioText(ratio)}\n${ratio.verdict}`}]
        : [];
    }));
  const values = points.map(({ratio}) => ratio.value);
  const domain = [Math.min(0.8, ...values) / 1.08, Math.max(1.25, ...values) * 1.08];
  const names = report.workloads.map(({name}) => name);
  const marginLeft = Math.min(width * 0.36, 24 + 7 * Math.max(...names.map(({length}) => length)));
  const ticks = ratioTicks(domain, width - marginLeft);
  const look = {x: ({ratio}) => ratio.value, y: "workload", symbol: ({name}) => symbolOf(name), r: 4};
  return draw(`${title} in each workload, relative to ${firstName(report.workloads[0])}; the table below has the numbers.`, {
    width, height: names.length * 20 + 56, marginLeft, marginRight: 16, marginTop: 28, marginBottom: 28,
    x: {type: "log", domain},
    y: {type: "band", domain: names, padding: 0},
    marks: [
      gridX(ticks, {stroke: line, strokeOpacity: 1}),
      gridY({stroke: line, strokeOpacity: 0.6, strokeDasharray: "1 3"}),
      ruleX([1], {stroke: muted, strokeWidth: 1.5}),
      axisX(ticks, {anchor: "top", label: null, tickSize: 0, fill: muted, text: String}),
      axisX(ticks, {label: null, tickSize: 0, fill: muted, text: String}),
      axisY({label: null, tickSize: 0, lineWidth: (marginLeft - 12) / 12, textOverflow: "ellipsis"}),
      dot(points.filter(({ratio}) => !isClear(ratio)), {...look, stroke: ({name}) => colourOf(name),
        fill: "var(--page)", className: "unclear-ratios"}),
      dot(points.filter(({ratio}) => isClear(ratio)), {...look, fill: ({name}) => colourOf(name),
        stroke: null, className: "clear-ratios"}),
      tip(points, pointer({x: ({ratio}) => ratio.value, y: "workload", title: "words", maxRadius: 16})),
    ],
  });
}

const rowHeight = 44;

// One figure: a bar to each median, whiskers from the lowest to the highest run, and above it the
// name, the value and the ratio.
export function bars(workload, figure, width) {
  const rows = workload.candidates.map(({name, figures}) => ({name, of: figures?.[figure.name]}));
  const measured = rows.filter(({of}) => of);
  const format = formatterFor(figure.name, measured.map(({of}) => of.median));
  const words = ({of}) => withUnit(format(of.median), figure.unit);
  const bar = {y: "name", insetTop: 24, insetBottom: 6};
  const above = {y: "name", dy: -9};
  const nameWidth = (width - 232) / 12;
  const ratio = {...above, text: ({of}) => ratioText(of.ratio), frameAnchor: "right",
    textAnchor: "end", fontVariant: "tabular-nums", className: "ratios"};
  const compared = measured.filter(({of}) => of.ratio);
  return draw(
    `${figure.title}. ${rows.map(({name, of}) => `${name}: ${of ? words({of}) : "no run counts"}`).join("; ")}.`,
    {
      width, height: rows.length * rowHeight, margin: 0,
      x: {domain: [Math.min(0, ...measured.map(({of}) => of.lowest)), Math.max(0, ...measured.map(({of}) => of.highest)) * 1.02 || 1], axis: null},
      y: {type: "band", domain: rows.map(({name}) => name), padding: 0, axis: null},
      marks: [
        barX(measured, {...bar, x: ({of}) => of.median, fill: ({name}) => colourOf(name), fillOpacity: 0.65, className: "bars"}),
        ruleY(measured, {...above, dy: 9, x1: ({of}) => of.lowest, x2: ({of}) => of.highest, strokeWidth: 1.5, className: "whiskers"}),
        tickX(measured, {...bar, insetTop: 27, insetBottom: 9, x: ({of}) => of.lowest, className: "lowest"}),
        tickX(measured, {...bar, insetTop: 27, insetBottom: 9, x: ({of}) => of.highest, className: "highest"}),
        dot(rows, {...above, frameAnchor: "left", dx: 6, r: 5, fill: ({name}) => colourOf(name), stroke: null, symbol: ({name}) => symbolOf(name), className: "symbols"}),
        text(rows, {...above, text: "name", frameAnchor: "left", dx: 18, textAnchor: "start", fontWeight: 600, lineWidth: nameWidth, textOverflow: "ellipsis", className: "names"}),
        text(rows.filter(({of}) => !of), {...above, text: () => "no run counts", frameAnchor: "right", textAnchor: "end", fill: muted, className: "failures"}),
        text(measured, {...above, text: words, frameAnchor: "right", textAnchor: "end", dx: -122, fontVariant: "tabular-nums", className: "values"}),
        text(compared.filter(({of}) => isClear(of.ratio)), {...ratio, fontWeight: 600}),
        text(compared.filter(({of}) => !isClear(of.ratio)), {...ratio, fill: muted}),
      ],
    });
}

// What is drawn of the course of memory: the samples of each candidate's median run.
export function courses(workload) {
  return measuredCandidates(workload).flatMap((candidate) => {
    const run = medianRun(candidate);
    const samples = (run?.memory_samples ?? []).map(([second, resident, lazy]) =>
      ({second, resident: resident / mib, without: (resident - lazy) / mib}));
    const lazily = samples.some(({resident, without}) => without < resident);
    return samples.length > 0 ? [{name: candidate.name, round: run.round, samples, lazily}] : [];
  });
}

// A few points of a line, which carry its shape; elsewhere for each line, so that lines which run
// together stay apart.
function marked(samples, index, count) {
  const end = samples.at(-1).second;
  const start = samples[0].second;
  const steps = 6;
  return Array.from({length: steps}, (_, step) => {
    const second = start + ((step + (index + 0.5) / count) / steps) * (end - start);
    return samples.find((sample) => sample.second >= second);
  });
}

export function memoryCourse(workload, width, height) {
  const lines = courses(workload);
  const ends = lines.map(({name, samples}) => ({name, ...samples.at(-1)}));
  const highest = Math.max(...lines.flatMap(({samples}) => samples.map(({resident}) => resident)));
  return draw(
    `Resident memory over time. Peaks of the samples: ${lines.map(({name, samples}) => `${name} ${Math.max(...samples.map(({resident}) => resident)).toFixed(1)} MiB`).join("; ")}.`,
    {
      width, height, marginLeft: 52, marginBottom: 44, marginTop: 28, marginRight: 16,
      x: {domain: [0, Math.max(...ends.map(({second}) => second)) || 1]},
      y: {domain: [0, highest * 1.06 || 1]},
      marks: [
        ...frame("Time (s)", "Resident memory (MiB)"),
        lines.filter(({lazily}) => lazily).map(({name, samples}) => [
          areaY(samples, {x: "second", y1: "without", y2: "resident", fill: colourOf(name), fillOpacity: 0.16, className: "lazily-freed"}),
          lineY(samples, {x: "second", y: "without", stroke: colourOf(name), strokeWidth: 1.25, strokeDasharray: "3 3", className: "without-lazily-freed"}),
        ]),
        lines.map(({name, samples}) =>
          lineY(samples, {x: "second", y: "resident", stroke: colourOf(name), strokeWidth: 1.75, strokeLinejoin: "round", className: "lines"})),
        lines.map(({name, samples}, index) =>
          dot(marked(samples, index, lines.length), {x: "second", y: "resident", r: 4, symbol: symbolOf(name), fill: colourOf(name), stroke: "var(--page)", strokeWidth: 1, className: "symbols"})),
        tip(lines.flatMap(({name, samples}) => samples.map((sample) => ({...sample, words: `${name}\n${sample.second.toFixed(2)} s\n${sample.resident.toFixed(1)} MiB`}))),
          pointer({x: "second", y: "resident", title: "words", maxRadius: 20})),
      ],
    });
}
