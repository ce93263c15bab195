// Reports with known values, as mete compare would make them.
//
// SPDX-License-Identifier: MIT

const mib = 1024 * 1024;
export const hostile = `</script><img src=x onerror="document.title='owned'">`;

// The same numbers each time: a fraction from 0 to 1 that looks random.
function fraction(seed) {
  const value = Math.sin(seed * 127.1 + 311.7) * 43758.5453;
  return value - Math.floor(value);
}

function summaryOf(values, unit) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return {
    median: (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2,
    lowest: sorted[0],
    highest: sorted.at(-1),
    unit,
  };
}

function samplesOf(seconds, peak, lazily, seed) {
  return Array.from({length: 120}, (_, index) => {
    const part = index / 119;
    const resident =
      peak *
      mib *
      Math.min(1, part * 5) *
      (0.92 + 0.08 * Math.sin(index * (0.3 + 0.1 * fraction(seed))));
    return [
      part * seconds,
      Math.round(resident),
      lazily && part > 0.4 ? Math.round(resident * lazily) : 0,
    ];
  });
}

const units = {
  time: "s",
  cpu: "s",
  user: "s",
  system: "s",
  memory: "MiB",
  faults: "",
  switches: "",
  mappings: "",
  metric: "",
};

function runOf(round, what, seed) {
  const noise = 1 + 0.03 * (fraction(seed + round) - 0.5);
  const time = what.time * noise;
  const run = {
    round,
    failure: "",
    time,
    cpu: time * 0.97,
    user: time * 0.8,
    system: time * 0.17,
    memory: what.memory * (1 + 0.02 * (fraction(seed * 3 + round) - 0.5)),
    faults: Math.round(what.memory * 250),
    switches: 12 + round,
    mappings: 40,
    malloc: what.name === "glibc" ? "/usr/lib/libc.so.6" : `/usr/lib/lib${what.name}.so`,
    memory_samples: samplesOf(time, what.memory, what.lazily, seed),
  };
  if (what.metric) run.metric = what.metric / noise;
  for (const [name, value] of Object.entries(what.metrics ?? {})) run[name] = value * noise;
  return run;
}

function failedRun(round, failure) {
  return {round, failure, malloc: "", memory_samples: []};
}

function ratioTo(first, figure, runs) {
  const value = figure.median / first.median;
  const width = runs < 5 ? 0.2 : 0.02;
  const low = value * (1 - width);
  const high = value * (1 + width);
  const verdict =
    runs < 5
      ? "too few runs"
      : high < 1
        ? "lower"
        : low > 1
          ? "higher"
          : "no significant difference";
  return {value, low, high, verdict};
}

function candidateOf(what, rounds, seed, first) {
  const runs = Array.from({length: rounds}, (_, index) =>
    what.failure ? failedRun(index + 1, what.failure) : runOf(index + 1, what, seed),
  );
  if (what.failsInRound)
    runs[what.failsInRound - 1] = failedRun(
      what.failsInRound,
      "killed by signal 11 (Segmentation fault); it printed nothing",
    );
  const counting = runs.filter(({failure}) => !failure);
  const figures = {};
  for (const name of [...Object.keys(units), ...Object.keys(what.metrics ?? {})]) {
    const unit = units[name] ?? "";
    const values = counting.map((run) => run[name]).filter((value) => value !== undefined);
    if (values.length === 0) continue;
    figures[name] = summaryOf(values, unit);
    if (first?.figures[name])
      figures[name].ratio = ratioTo(first.figures[name], figures[name], counting.length);
  }
  const preload =
    what.name === "glibc" ? "env -u LD_PRELOAD" : `env LD_PRELOAD=/usr/lib/lib${what.name}.so`;
  return {
    name: what.name,
    library: what.name === "glibc" ? "" : `/usr/lib/lib${what.name}.so`,
    version: "2.36",
    command: `${preload} server --port 7000`,
    figures,
    runs,
  };
}

function workloadOf(
  name,
  verdict,
  whats,
  {rounds = 5, metric, setup = "", client = "", seed = 1} = {},
) {
  const candidates = [];
  whats.forEach((what, index) =>
    candidates.push(candidateOf(what, rounds, seed * 31 + index * 7, candidates[0])),
  );
  return {
    name,
    verdict,
    program: ["server", "--port", "7000", "an argument"],
    setup,
    client,
    metric,
    candidates,
  };
}

function reportOf(title, verdict, workloads, means = []) {
  return {
    format: "mete-compare 1",
    title,
    verdict,
    command: "mete compare -a glibc,mete -n 5 -o report.html -- server --port 7000",
    machine: {
      date: "2025-03-01 12:00:00 +0000",
      CPU: "An Example Processor 9000 @ 3.00GHz",
      cores: "8",
      governor: "performance",
      memory: "32000 MiB",
      kernel: "6.1.0-18-amd64 x86_64",
      "huge pages": "always [madvise] never",
      load: "0.10 0.20 0.15 1/300 4242",
    },
    memory_samples: ["second", "resident_bytes", "lazily_freed_bytes"],
    means,
    workloads,
  };
}

const glibc = {name: "glibc", time: 1.2, memory: 54, metric: 81000};
const mete = {name: "mete", time: 0.82, memory: 58, metric: 117000};
const rivals = [
  {name: "mimalloc", time: 0.85, memory: 71, metric: 113000},
  {name: "jemalloc", time: 0.97, memory: 61, metric: 99000, lazily: 0.3},
  {name: "tcmalloc", time: 0.9, memory: 66, metric: 108000},
  {name: "tbb", time: 1.02, memory: 83, metric: 95000},
  {name: "snmalloc", time: 0.84, memory: 69, metric: 115000},
  {name: "rpmalloc", time: 0.88, memory: 74, metric: 109000},
];

export function two() {
  return reportOf("server --port 7000", "mete takes 0.68 of glibc's time and 1.07 of its memory.", [
    workloadOf(
      "server",
      "mete takes 0.68 of glibc's time and 1.07 of its memory.",
      [glibc, mete].map(({metric, ...rest}) => rest),
    ),
  ]);
}

export function everything() {
  return reportOf(
    "redis",
    "Of eight allocators mete is the fastest; glibc needs the least memory.",
    [
      workloadOf(
        "redis",
        "mete: time 0.68 of glibc's, memory 1.07.",
        [
          glibc,
          mete,
          ...rivals,
          {name: "broken", failure: "exit status 1; its last words: cannot start"},
        ],
        {
          metric: {pattern: "rate: ([0-9.]+)", better: "higher"},
          setup: "redis-cli flushall",
          client: "redis-benchmark -q -n 100000 -t set,get",
        },
      ),
    ],
  );
}

// What the program prints under names of its own.
export function metrics() {
  return reportOf("latency", "mete is faster at both.", [
    workloadOf(
      "latency",
      "mete is faster at both.",
      [
        {...glibc, metric: undefined, metrics: {"malloc p50": 41, "malloc p99.9": 7862}},
        {...mete, metric: undefined, metrics: {"malloc p50": 24, "malloc p99.9": 441}},
      ],
      {metric: {pattern: "^metric (.+) ([0-9.]+)$", better: "lower"}},
    ),
  ]);
}

// A run of each: no interval, no verdict.
export function oneRun() {
  const report = two();
  report.workloads = [
    workloadOf("server", "Too few runs for a verdict.", [glibc, mete], {rounds: 1}),
  ];
  for (const {figures} of report.workloads[0].candidates.slice(1))
    for (const {ratio} of Object.values(figures)) Object.assign(ratio, {verdict: "too few runs"});
  return report;
}

export function failing() {
  return reportOf("a program that fails", "No verdict: no run on mete counts.", [
    workloadOf("server", "No run on mete counts.", [
      {...glibc, failsInRound: 3},
      {name: "mete", failure: "exit status 3; its last words: out of luck"},
    ]),
    workloadOf("nothing works", "No run counts.", [
      {name: "glibc", failure: "exit status 3; it printed nothing"},
      {name: "mete", failure: "exit status 3; it printed nothing"},
    ]),
  ]);
}

export function hostileNames() {
  const report = reportOf(hostile, `verdict ${hostile}`, [
    workloadOf(hostile, hostile, [glibc, {...mete, name: hostile, failsInRound: 2}], {
      metric: {pattern: hostile, better: "higher"},
      client: hostile,
    }),
  ]);
  report.machine[hostile] = hostile;
  report.workloads[0].candidates[1].runs[1].failure = hostile;
  return report;
}

export function many(count = 45) {
  const workloads = Array.from({length: count}, (_, index) => {
    const scale = 0.5 + fraction(index) * 2;
    const whats = [glibc, mete, ...rivals].map(({name, time, memory, lazily}, which) => ({
      name,
      lazily,
      time: time * scale * (which ? 0.7 + 0.6 * fraction(index * 11 + which) : 1),
      memory: memory * scale * (which ? 0.7 + 0.8 * fraction(index * 17 + which) : 1),
    }));
    return workloadOf(
      `workload-${String(index + 1).padStart(2, "0")}`,
      `Verdict of workload ${index + 1}.`,
      whats,
      {seed: index + 1},
    );
  });
  const mean = (name, figure) =>
    Math.exp(
      workloads.reduce((sum, {candidates}) => {
        const of = candidates.find((each) => each.name === name).figures[figure];
        return sum + Math.log(of.ratio?.value ?? 1);
      }, 0) / count,
    );
  return reportOf(
    `${count} workloads`,
    "Over all workloads mete takes 0.69 of glibc's time and 1.12 of its memory.",
    workloads,
    workloads[0].candidates.map(({name}) => ({
      name,
      time: mean(name, "time"),
      memory: mean(name, "memory"),
    })),
  );
}

// Two curves, the points of one out of order, and workloads that are none.
export function curves() {
  const times = (factor, whats, metrics) =>
    whats.map(({name, time, memory}) => ({
      name,
      time: time * factor,
      memory: memory * Math.sqrt(factor),
      metrics: metrics && {pair: time * factor * 10},
    }));
  const point = (name, factor, metrics) =>
    workloadOf(name, "Nothing to say.", times(factor, [glibc, mete], metrics), {
      seed: factor,
      metric: metrics && {pattern: "^metric (.+) ([0-9.]+)$", better: "lower"},
    });
  return reportOf("cost as it grows", "Cost grows.", [
    ...[16, 1, 2, 4, 8].map((threads) => point(`threads=${threads}`, threads)),
    ...[1, 4, 16].map((size) => point(`size=${size}KiB`, size, true)),
    point("size=1MiB", 20, true),
    point("server", 1),
  ]);
}
