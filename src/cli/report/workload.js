// The section of one workload: figures, then everything that they show as tables, then how to
// measure it again.
//
// SPDX-License-Identifier: MIT
import {swatch} from "./appearance.js";
import {figure} from "./canvas.js";
import {
  betterWords,
  figuresOf,
  firstName,
  isClear,
  measuredCandidates,
  report,
  runsThatCount,
} from "./data.js";
import {command, element, scrollBox, unbroken} from "./dom.js";
import {counted, formatterFor, ratioText, shellText, titleWithUnit} from "./format.js";
import {bars, courses, memoryCourse, timeAndMemory} from "./plots.js";
import {sortableTable} from "./table.js";

const rowsShownAtOnce = 24;

export function named(name) {
  return element("span", {class: "named"}, swatch(name), name);
}

export function legend(names) {
  return element(
    "ul",
    {class: "legend", "aria-label": "Allocators"},
    names.map((name) => element("li", {}, named(name))),
  );
}

function courseFigure(workload) {
  const drawn = courses(workload);
  const title = "Resident memory over time";
  if (drawn.length === 0)
    return element(
      "figure",
      {},
      element("figcaption", {}, element("strong", {}, title)),
      element("p", {class: "empty"}, "The runs were too short for samples of their memory."),
    );
  const rounds = drawn.map(({name, round}) => `${name}\u00a0${round}`).join(", ");
  const lazily = drawn.some(({lazily}) => lazily)
    ? " Dashed: without what was given back but not yet taken by the kernel (MADV_FREE)."
    : "";
  return figure(
    title,
    "of each allocator's median run by time",
    (width, height) => memoryCourse(workload, width, height),
    element("p", {class: "note"}, `Rounds shown: ${rounds}.${lazily}`),
  );
}

function barFigures(workload) {
  return figuresOf(workload)
    .filter(({name, isMetric}) => ["time", "memory"].includes(name) || isMetric)
    .map((each) =>
      figure(
        each.title,
        [each.unit, betterWords(workload, each)].filter(Boolean).join(", "),
        (width) => bars(workload, each, width),
      ),
    );
}

function figuresTable(workload) {
  const shown = figuresOf(workload);
  const formats = new Map(
    shown.map(({name}) => [
      name,
      formatterFor(
        name,
        workload.candidates.flatMap(({figures}) => figures?.[name]?.median ?? []),
      ),
    ]),
  );
  const cell = (of, name) => {
    if (!of) return element("td", {class: "number"}, "");
    const [lowest, highest] = [of.lowest, of.highest].map(formats.get(name));
    return element(
      "td",
      {class: "number"},
      formats.get(name)(of.median),
      lowest === highest ? "" : element("small", {}, `${lowest}\u2013${highest}`),
      of.ratio
        ? element(
            "small",
            {class: isClear(of.ratio) ? "clear" : undefined},
            unbroken(ratioText(of.ratio)),
          )
        : "",
      of.ratio ? element("small", {}, of.ratio.verdict) : "",
    );
  };
  const row = ({name, figures}) =>
    element(
      "tr",
      {},
      element("th", {scope: "row"}, named(name)),
      figures?.time
        ? shown.map((each) => cell(figures[each.name], each.name))
        : element("td", {colspan: shown.length}, "no run counts"),
    );
  return scrollBox(
    `Medians of ${workload.name}`,
    element(
      "table",
      {class: "figures"},
      element(
        "caption",
        {},
        `Medians, lowest to highest run, ratio to ${firstName(workload)} with its 95 % interval`,
      ),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("th", {scope: "col"}, "Allocator"),
          shown.map((each) => element("th", {scope: "col", class: "number"}, titleWithUnit(each))),
        ),
      ),
      element("tbody", {}, workload.candidates.map(row)),
    ),
  );
}

function runsTable(workload) {
  const rows = workload.candidates
    .flatMap(({name, runs}) => runs.map((run) => ({name, ...run})))
    .sort((a, b) => a.round - b.round);
  const shown = figuresOf(workload);
  const columns = [
    {title: "Round", numeric: true, value: ({round}) => round},
    {title: "Allocator", heading: true, value: ({name}) => name, text: ({name}) => named(name)},
    ...shown.map((each, index) => {
      const value = (run) => run[each.name];
      const format = formatterFor(
        each.name,
        rows.map(value).filter((number) => number !== undefined),
      );
      return {
        title: titleWithUnit(each),
        numeric: true,
        replaceable: index === 0,
        value,
        text: (run) => format(value(run)),
      };
    }),
    {
      title: "Allocators mapped at the end",
      replaceable: shown.length === 0,
      value: ({allocators}) => (allocators ?? []).join(" "),
    },
  ];
  const failed = rows.filter(({failure}) => failure).length;
  const title =
    failed > 0
      ? `All ${counted(rows.length, "run")}, of which ${failed} failed`
      : `All ${counted(rows.length, "run")}`;
  return element(
    "details",
    {open: rows.length <= rowsShownAtOnce && report.workloads.length === 1},
    element("summary", {}, title),
    scrollBox(
      `Runs of ${workload.name}`,
      sortableTable("Select a heading to sort by it", columns, rows, ({failure}) =>
        failure ? `failed: ${failure}` : "",
      ),
    ),
  );
}

function commands(workload) {
  return element(
    "details",
    {open: report.workloads.length === 1},
    element("summary", {}, "Commands to repeat it"),
    [
      ["Setup", workload.setup],
      ["Client", workload.client],
    ]
      .filter(([, text]) => text)
      .map(([title, text]) => [element("h3", {}, title), command(text)]),
    workload.candidates
      .filter(({command}) => command)
      .map((candidate) => [element("h3", {}, named(candidate.name)), command(candidate.command)]),
  );
}

function facts(workload) {
  const {metric, candidates} = workload;
  const counts = candidates.map((each) => runsThatCount(each).length);
  const fewest = Math.min(...counts);
  const most = Math.max(...counts);
  const entries = [
    ["Program", element("code", {}, shellText(workload.program))],
    ["Runs that count", fewest === most ? `${most} of each` : `${fewest} to ${most} of each`],
  ];
  if (metric)
    entries.push(["Metric", [element("code", {}, metric.pattern), `, ${metric.better} is better`]]);
  return element(
    "dl",
    {class: "facts"},
    entries.map(([title, content]) =>
      element("div", {}, element("dt", {}, title), element("dd", {}, content)),
    ),
  );
}

export function workloadBody(workload) {
  const measured = measuredCandidates(workload).length > 0;
  return [
    facts(workload),
    legend(workload.candidates.map(({name}) => name)),
    measured
      ? element(
          "div",
          {class: "pair"},
          figure(
            "Time against memory",
            "lower left is better",
            (width, height) => timeAndMemory(workload, width, height),
            element("p", {class: "note"}, "Large: medians. Small: single runs."),
          ),
          courseFigure(workload),
        )
      : element("p", {class: "empty"}, "No run counts, so there is nothing to draw."),
    measured ? element("div", {class: "row"}, barFigures(workload)) : "",
    measured
      ? element(
          "p",
          {class: "note"},
          `Bars: medians. Whiskers: lowest to highest run. Right: ratio to ${firstName(workload)} with its 95 % interval, bold where that leaves out 1.`,
        )
      : "",
    measured ? figuresTable(workload) : "",
    runsTable(workload),
    commands(workload),
  ];
}
