// The whole page, from top to bottom.
//
// With many workloads a section is filled when it comes near the view, so that the page is there
// at once; before it is printed, all are.
//
// SPDX-License-Identifier: MIT
import {drawForPaper, drawForScreen} from "./canvas.js";
import {firstName, report} from "./data.js";
import {command, element, scrollBox} from "./dom.js";
import {idOf, overview} from "./overview.js";
import {startTheme} from "./theme.js";
import {named, workloadBody} from "./workload.js";

const several = report.workloads.length > 1;
const factsInOneLine = ["date", "CPU", "cores", "memory", "kernel"];

function summary() {
  const line = factsInOneLine
    .filter((name) => report.machine[name])
    .map((name) => (name === "cores" ? `${report.machine[name]} cores` : report.machine[name]));
  return element(
    "section",
    {class: "summary"},
    element("h1", {}, report.title),
    element("p", {class: "verdict", id: "verdict"}, report.verdict),
    element(
      "p",
      {class: "machine"},
      line.join(" \u00b7 "),
      " ",
      element("a", {href: "#details"}, "Details"),
    ),
  );
}

const unfilled = new Map(); // section: its workload

function fill(section) {
  const workload = unfilled.get(section);
  if (!workload) return;
  unfilled.delete(section);
  section.append(...workloadBody(workload).filter(Boolean));
  if (several)
    section.append(
      element("p", {class: "back"}, element("a", {href: "#contents"}, "Back to the contents")),
    );
  section.classList.remove("unfilled");
}

function workloadSection(workload) {
  const section = element(
    "section",
    {class: "workload unfilled", id: idOf(workload)},
    element("h2", {}, !several && workload.name === report.title ? "Measurements" : workload.name),
    workload.verdict === report.verdict ? "" : element("p", {class: "verdict"}, workload.verdict),
  );
  unfilled.set(section, workload);
  return section;
}

function fillWhenNear() {
  const near = new IntersectionObserver(
    (entries) => {
      for (const {isIntersecting, target} of entries)
        if (isIntersecting) {
          near.unobserve(target);
          fill(target);
        }
    },
    {rootMargin: "1000px 0px"},
  );
  for (const section of unfilled.keys()) near.observe(section);
}

function rows(entries) {
  return element(
    "tbody",
    {},
    entries.map(([name, ...values]) =>
      element(
        "tr",
        {},
        element("th", {scope: "row"}, name),
        values.map((value) => element("td", {}, value)),
      ),
    ),
  );
}

function details() {
  const unique = new Map();
  for (const {candidates} of report.workloads)
    for (const each of candidates) if (!unique.has(each.name)) unique.set(each.name, each);
  return element(
    "section",
    {id: "details"},
    element("h2", {}, "Machine and allocators"),
    scrollBox(
      "Allocators",
      element(
        "table",
        {class: "plain"},
        element("caption", {}, "Allocators"),
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            ["Name", "Version", "Library"].map((title) => element("th", {scope: "col"}, title)),
          ),
        ),
        rows(
          [...unique.values()].map(({name, version, library}) => [
            named(name),
            version || "unknown",
            library ? element("code", {}, library) : "the C library\u2019s malloc",
          ]),
        ),
      ),
    ),
    scrollBox(
      "Machine",
      element(
        "table",
        {class: "plain"},
        element("caption", {}, "Machine"),
        rows(Object.entries(report.machine)),
      ),
    ),
    report.command ? [element("h3", {}, "To repeat everything"), command(report.command)] : "",
  );
}

function howToRead() {
  const entries = [
    [
      "In turn",
      "Each round runs every allocator once, so that what disturbs the machine for a while disturbs all of them.",
    ],
    [
      "Median",
      "The value in the middle of the runs that count. A failed run does not count, and is listed with its reason.",
    ],
    [
      "Ratio",
      `The median divided by that of ${firstName(report.workloads[0])}, which is measured beside it. Below 1 is less.`,
    ],
    [
      "95 % interval",
      "Where the ratio lies, by bootstrap over the rounds. \u201cNo significant difference\u201d: the interval contains 1.",
    ],
    [
      "Too few runs",
      "With fewer than five runs there is no verdict: three lie on one side by chance every fourth time.",
    ],
    ["Peak memory", "The most that was resident at once, as the kernel counts it."],
  ];
  return element(
    "section",
    {id: "reading"},
    element("h2", {}, "How to read this"),
    element(
      "dl",
      {class: "reading"},
      entries.map(([term, words]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, words)),
      ),
    ),
  );
}

// On paper everything is shown; on the screen it is then as before.
function followPrinting() {
  let closed = [];
  const before = () => {
    for (const section of [...unfilled.keys()]) fill(section);
    closed.push(...document.querySelectorAll("main details:not([open])"));
    for (const each of closed) each.open = true;
    drawForPaper();
  };
  const after = () => {
    for (const each of closed) each.open = false;
    closed = [];
    drawForScreen();
  };
  addEventListener("beforeprint", before);
  addEventListener("afterprint", after);
  matchMedia("print").addEventListener("change", ({matches}) => (matches ? before() : after()));
}

document.title = `${report.title} \u2013 mete compare`;
startTheme(document.getElementById("theme"));
document
  .getElementById("content")
  .append(
    summary(),
    several ? overview() : "",
    ...report.workloads.map(workloadSection),
    details(),
    howToRead(),
  );
followPrinting();
if (several) fillWhenNear();
else for (const section of [...unfilled.keys()]) fill(section);
