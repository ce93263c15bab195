// The figures of one workload: each function draws one at a given width, and returns the SVG
// element.
//
// SPDX-License-Identifier: MIT
import {areaY, barX, dot, lineY, pointer, ruleY, text, tickX, tip} from "@observablehq/plot";
import {colourOf, symbolOf} from "./appearance.js";
import {isClear, measuredCandidates, medianRun, runsThatCount} from "./data.js";
import {formatterFor, ratioText, withUnit} from "./format.js";
import {calmDomain, draw, frame, margins, muted, namedPoints} from "./frame.js";

const mib = 1024 * 1024;

export function timeAndMemory(workload, width, height) {
  const candidates = measuredCandidates(workload);
  const time = formatterFor(
    "time",
    candidates.map(({figures}) => figures.time.median),
  );
  const memory = formatterFor(
    "memory",
    candidates.map(({figures}) => figures.memory.median),
  );
  const point = (name, x, y, what) => ({
    name,
    x,
    y,
    words: `${what}\n${time(x)} s\n${memory(y)} MiB`,
  });
  const medians = candidates.map(({name, figures}) =>
    point(name, figures.time.median, figures.memory.median, `${name}, median`),
  );
  const runs = candidates.flatMap((candidate) =>
    runsThatCount(candidate)
      .filter((run) => run.time !== undefined && run.memory !== undefined)
      .map((run) =>
        point(candidate.name, run.time, run.memory, `${candidate.name}, round ${run.round}`),
      ),
  );
  const all = [...medians, ...runs];
  return draw(
    `Time against peak memory. ${medians.map(({name, x, y}) => `${name}: ${time(x)} s, ${memory(y)} MiB`).join("; ")}.`,
    {
      width,
      height,
      ...margins,
      x: {domain: calmDomain(all.map(({x}) => x))},
      y: {domain: calmDomain(all.map(({y}) => y))},
      marks: [...frame("Time (s)", "Peak memory (MiB)"), ...namedPoints(medians, runs)],
    },
  );
}

const rowHeight = 44;
const ratioWidth = 132; // of "0.056 (0.055–0.058)" in bold

// One figure: a bar to each median, whiskers from the lowest to the highest run, and above it the
// name, the value and the ratio.
export function bars(workload, figure, width) {
  const rows = workload.candidates.map(({name, figures}) => ({name, of: figures?.[figure.name]}));
  const measured = rows.filter(({of}) => of);
  const format = formatterFor(
    figure.name,
    measured.map(({of}) => of.median),
  );
  const words = ({of}) => withUnit(format(of.median), figure.unit);
  const bar = {y: "name", insetTop: 24, insetBottom: 6};
  const above = {y: "name", dy: -9};
  const nameWidth = (width - ratioWidth - 118) / 12;
  const ratio = {
    ...above,
    text: ({of}) => ratioText(of.ratio),
    frameAnchor: "right",
    textAnchor: "end",
    fontVariant: "tabular-nums",
    className: "ratios",
  };
  const compared = measured.filter(({of}) => of.ratio);
  return draw(
    `${figure.title}. ${rows.map(({name, of}) => `${name}: ${of ? words({of}) : "no run counts"}`).join("; ")}.`,
    {
      width,
      height: rows.length * rowHeight,
      margin: 0,
      x: {
        domain: [
          Math.min(0, ...measured.map(({of}) => of.lowest)),
          Math.max(0, ...measured.map(({of}) => of.highest)) * 1.02 || 1,
        ],
        axis: null,
      },
      y: {type: "band", domain: rows.map(({name}) => name), padding: 0, axis: null},
      marks: [
        barX(measured, {
          ...bar,
          x: ({of}) => of.median,
          fill: ({name}) => colourOf(name),
          fillOpacity: 0.65,
          className: "bars",
        }),
        ruleY(measured, {
          ...above,
          dy: 9,
          x1: ({of}) => of.lowest,
          x2: ({of}) => of.highest,
          strokeWidth: 1.5,
          className: "whiskers",
        }),
        tickX(measured, {
          ...bar,
          insetTop: 27,
          insetBottom: 9,
          x: ({of}) => of.lowest,
          className: "lowest",
        }),
        tickX(measured, {
          ...bar,
          insetTop: 27,
          insetBottom: 9,
          x: ({of}) => of.highest,
          className: "highest",
        }),
        dot(rows, {
          ...above,
          frameAnchor: "left",
          dx: 6,
          r: 5,
          fill: ({name}) => colourOf(name),
          stroke: null,
          symbol: ({name}) => symbolOf(name),
          className: "symbols",
        }),
        text(rows, {
          ...above,
          text: "name",
          frameAnchor: "left",
          dx: 18,
          textAnchor: "start",
          fontWeight: 600,
          lineWidth: nameWidth,
          textOverflow: "ellipsis",
          className: "names",
        }),
        text(
          rows.filter(({of}) => !of),
          {
            ...above,
            text: () => "no run counts",
            frameAnchor: "right",
            textAnchor: "end",
            fill: muted,
            className: "failures",
          },
        ),
        text(measured, {
          ...above,
          text: words,
          frameAnchor: "right",
          textAnchor: "end",
          dx: -(ratioWidth + 8),
          fontVariant: "tabular-nums",
          className: "values",
        }),
        text(
          compared.filter(({of}) => isClear(of.ratio)),
          {...ratio, fontWeight: 600},
        ),
        text(
          compared.filter(({of}) => !isClear(of.ratio)),
          {...ratio, fill: muted},
        ),
      ],
    },
  );
}

// What is drawn of the course of memory: the samples of each candidate's median run.
export function courses(workload) {
  return measuredCandidates(workload).flatMap((candidate) => {
    const run = medianRun(candidate);
    const samples = (run?.memory_samples ?? []).map(([second, resident, lazy]) => ({
      second,
      resident: resident / mib,
      without: (resident - lazy) / mib,
    }));
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
      width,
      height,
      ...margins,
      x: {domain: [0, Math.max(...ends.map(({second}) => second)) || 1]},
      y: {domain: [0, highest * 1.06 || 1]},
      marks: [
        ...frame("Time (s)", "Resident memory (MiB)"),
        lines
          .filter(({lazily}) => lazily)
          .map(({name, samples}) => [
            areaY(samples, {
              x: "second",
              y1: "without",
              y2: "resident",
              fill: colourOf(name),
              fillOpacity: 0.16,
              className: "lazily-freed",
            }),
            lineY(samples, {
              x: "second",
              y: "without",
              stroke: colourOf(name),
              strokeWidth: 1.25,
              strokeDasharray: "3 3",
              className: "without-lazily-freed",
            }),
          ]),
        lines.map(({name, samples}) =>
          lineY(samples, {
            x: "second",
            y: "resident",
            stroke: colourOf(name),
            strokeWidth: 1.75,
            strokeLinejoin: "round",
            className: "lines",
          }),
        ),
        lines.map(({name, samples}, index) =>
          dot(marked(samples, index, lines.length), {
            x: "second",
            y: "resident",
            r: 4,
            symbol: symbolOf(name),
            fill: colourOf(name),
            stroke: "var(--page)",
            strokeWidth: 1,
            className: "symbols",
          }),
        ),
        tip(
          lines.flatMap(({name, samples}) =>
            samples.map((sample) => ({
              ...sample,
              words: `${name}\n${sample.second.toFixed(2)} s\n${sample.resident.toFixed(1)} MiB`,
            })),
          ),
          pointer({x: "second", y: "resident", title: "words", maxRadius: 20}),
        ),
      ],
    },
  );
}
