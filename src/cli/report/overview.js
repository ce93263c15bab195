// What all workloads together say: means, the ratios of each, and the way to its section.
//
// SPDX-License-Identifier: MIT
import {figure} from "./canvas.js";
import {curveFigures} from "./curves.js";
import {allocators, firstName, isClear, report} from "./data.js";
import {element, scrollBox, unbroken} from "./dom.js";
import {ratioText} from "./format.js";
import {means, ratios} from "./overview_plots.js";
import {sortableTable} from "./table.js";
import {legend} from "./workload.js";

function ratiosTable() {
  const others = allocators.filter((name) => name !== firstName(report.workloads[0]));
  const ratioOf = (workload, name, figure) =>
    workload.candidates.find((each) => each.name === name)?.figures?.[figure]?.ratio;
  const column = (name, figure) => ({
    title: `${name}, ${figure}`,
    numeric: true,
    value: (workload) => ratioOf(workload, name, figure)?.value,
    text: (workload) => {
      const ratio = ratioOf(workload, name, figure);
      return ratio
        ? element(
            "span",
            {class: isClear(ratio) ? undefined : "unclear"},
            unbroken(ratioText(ratio)),
          )
        : "";
    },
  });
  const columns = [
    {
      title: "Workload",
      heading: true,
      value: ({name}) => name,
      text: (workload) => element("a", {href: `#${idOf(workload)}`}, workload.name),
    },
    ...["time", "memory"].flatMap((figure) => others.map((name) => column(name, figure))),
  ];
  const rows = [...report.workloads].sort((a, b) =>
    a.name.localeCompare(b.name, "en", {numeric: true}),
  );
  return element(
    "details",
    {},
    element("summary", {}, "The ratios as a table"),
    scrollBox(
      "Ratios of all workloads",
      sortableTable("Select a heading to sort by it", columns, rows),
    ),
  );
}

function hasRatios() {
  return report.workloads.some(({candidates}) =>
    candidates.some(({figures}) => figures?.time?.ratio),
  );
}

function ratioFigures(first) {
  const subtitle = `relative to ${first}, left is better`;
  return [
    element(
      "div",
      {class: "pair"},
      figure("Time of each workload", subtitle, (width) => ratios("time", "Time", width)),
      figure("Peak memory of each workload", subtitle, (width) =>
        ratios("memory", "Peak memory", width),
      ),
    ),
    element(
      "p",
      {class: "note"},
      "Filled: the 95 % interval of the ratio leaves out 1. Hollow: it does not, or there are too few runs.",
    ),
    ratiosTable(),
  ];
}

export function overview() {
  const first = firstName(report.workloads[0]);
  return element(
    "section",
    {id: "overview"},
    element("h2", {}, "All workloads"),
    legend(allocators),
    element(
      "div",
      {class: "pair"},
      report.means.length > 0
        ? figure(
            "Geometric means over all workloads",
            `relative to ${first}, lower left is better`,
            means,
          )
        : "",
      contents(),
    ),
    ...curveFigures(),
    ...(hasRatios() ? ratioFigures(first) : []),
  );
}

// Where the section of a workload is in the page.
export function idOf(workload) {
  return `workload-${report.workloads.indexOf(workload) + 1}`;
}

function contents() {
  return element(
    "nav",
    {class: "contents", id: "contents", "aria-labelledby": "contents-title"},
    element("h3", {id: "contents-title"}, "Contents"),
    element(
      "ol",
      {},
      report.workloads.map((workload) =>
        element("li", {}, element("a", {href: `#${idOf(workload)}`}, workload.name)),
      ),
    ),
  );
}
