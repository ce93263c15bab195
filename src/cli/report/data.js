// What the report is about: the JSON that mete compare puts into the page, and what follows of it.
//
// SPDX-License-Identifier: MIT

export const report = JSON.parse(document.getElementById("data").textContent);

const measuredFigures = [
  {name: "time", title: "Time"},
  {name: "memory", title: "Peak memory"},
  {name: "cpu", title: "CPU time"},
  {name: "user", title: "User time"},
  {name: "system", title: "System time"},
  {name: "faults", title: "Page faults"},
  {name: "switches", title: "Context switches"},
  {name: "mappings", title: "Mappings"},
];

// In the order of their first appearance, so that each looks alike in all workloads.
export const allocators = [
  ...new Set(report.workloads.flatMap(({candidates}) => candidates.map(({name}) => name))),
];

// What the program printed, under names of its own.
function metricsOf(workload) {
  const known = new Set(measuredFigures.map(({name}) => name));
  const names = workload.candidates.flatMap(({figures}) => Object.keys(figures ?? {}));
  return [...new Set(names)]
    .filter((name) => !known.has(name))
    .map((name) => ({name, title: name === "metric" ? "Metric" : name, isMetric: true}));
}

// The figures that at least one candidate has, with their units; time, memory and metrics first.
export function figuresOf(workload) {
  const [time, memory, ...rest] = measuredFigures;
  return [time, memory, ...metricsOf(workload), ...rest].flatMap((figure) => {
    const measured = workload.candidates.find(({figures}) => figures?.[figure.name]);
    return measured ? [{...figure, unit: measured.figures[figure.name].unit}] : [];
  });
}

// What the others are compared with.
export function firstName(workload) {
  return workload.candidates[0].name;
}

export function runsThatCount(candidate) {
  return candidate.runs.filter((run) => !run.failure);
}

// Those of which there is a time and a peak to draw.
export function measuredCandidates(workload) {
  return workload.candidates.filter(({figures}) => figures?.time && figures?.memory);
}

// The run in the middle by time; of two, the faster one.
export function medianRun(candidate) {
  const runs = runsThatCount(candidate).sort((a, b) => a.time - b.time);
  return runs[Math.floor((runs.length - 1) / 2)];
}

export function isClear(ratio) {
  return ratio?.verdict === "lower" || ratio?.verdict === "higher";
}

export function betterWords(workload, {isMetric}) {
  return `${isMetric ? (workload.metric?.better ?? "higher") : "lower"} is better`;
}
