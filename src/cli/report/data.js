// What the report is about: the JSON that mete compare puts into the page, and what follows from it.
//
// SPDX-License-Identifier: MIT

export const report = JSON.parse(document.getElementById("data").textContent);

export const figures = [
  {name: "time", title: "Time"},
  {name: "memory", title: "Peak memory"},
  {name: "metric", title: "Metric"},
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

// The figures that at least one candidate has, with their units.
export function figuresOf(workload) {
  return figures.flatMap((figure) => {
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

export function betterWords(workload, figureName) {
  return `${figureName === "metric" ? workload.metric?.better ?? "higher" : "lower"} is better`;
}
