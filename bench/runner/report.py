# SPDX-License-Identifier: MIT
"""Tables for people, JSON and CSV for everything else."""

import csv
import json
import statistics

from .figures import compare, geometric_mean

MEASURES = ("wall_s", "cpu_s", "peak_rss_kib", "minor_faults")


def column(rounds, name, key):
    return [figures.get(name, {}).get(key) for figures in rounds]


def summarise(workload, names, rounds):
    """Per allocator: median, smallest and largest of each measure and its ratio to glibc."""
    summary = {}
    for name in names:
        mine = {"failures": [f[name]["failed"] for f in rounds if "failed" in f.get(name, {})],
                "idle": workload.idle, "group": workload.group,
                "in_means": workload.in_means}
        for measure in MEASURES:
            values = column(rounds, name, measure)
            known = [value for value in values if value is not None]
            if known:
                mine[measure] = {"median": statistics.median(known), "min": min(known),
                                 "max": max(known)}
                mine[measure]["to_glibc"] = compare(values, column(rounds, "glibc", measure))
        metrics = [f[name]["metrics"] for f in rounds if "metrics" in f.get(name, {})]
        mine["metrics"] = {key: [statistics.median(m[key][0] for m in metrics), value[1]]
                           for key, value in (metrics[0] if metrics else {}).items()}
        summary[name] = mine
    return summary


def ratio_text(measure):
    against = measure.get("to_glibc")
    return f"{against['ratio']:.3f} [{against['low']:.2f} {against['high']:.2f}]" if against else "-"


def verdict_text(name, summary):
    if name == "glibc":
        return "reference"
    against = summary["peak_rss_kib" if summary["idle"] else "wall_s"]["to_glibc"]
    if not against:
        return "no reference"
    if summary["idle"]:
        return "(idle: time not compared)"
    wall, cpu = against["verdict"], summary["cpu_s"]["to_glibc"]["verdict"]
    return wall if wall == cpu else f"{wall}; cpu: {cpu}"


def print_table(workload, names, summary):
    print(f"\n{workload.name}")
    print(f"  {'':<12} {'wall s (min..max)':>24} {'to glibc':>18} {'cpu s':>8} {'cpu':>6} "
          f"{'peak MiB':>9} {'to glibc':>18} {'faults':>8}  verdict on time")
    for name in names:
        mine = summary[name]
        for failure in mine["failures"][:1]:
            print(f"  {name:<12} FAILED ({len(mine['failures'])} runs): {failure}")
        if "wall_s" not in mine:
            continue
        wall, cpu, peak = mine["wall_s"], mine["cpu_s"], mine["peak_rss_kib"]
        cpu_ratio = f"{cpu['to_glibc']['ratio']:.2f}" if cpu.get("to_glibc") else "-"
        spread = f"{wall['median']:.4f} ({wall['min']:.3f}..{wall['max']:.3f})"
        print(f"  {name:<12} {spread:>24} {ratio_text(wall):>18} {cpu['median']:>8.3f} "
              f"{cpu_ratio:>6} {peak['median'] / 1024:>9.1f} {ratio_text(peak):>18} "
              f"{mine['minor_faults']['median']:>8.0f}  {verdict_text(name, mine)}")
    print_metrics(names, summary)


def print_metrics(names, summary):
    for key in next((summary[name]["metrics"] for name in names if summary[name]["metrics"]), {}):
        parts = [f"{name} {summary[name]['metrics'][key][0]:.4g}"
                 for name in names if key in summary[name]["metrics"]]
        unit = next(summary[n]["metrics"][key][1] for n in names if key in summary[n]["metrics"])
        print(f"    {key} [{unit}]: " + ", ".join(parts))


def means(names, summaries):
    """Geometric means of the ratios to glibc, over each group of workloads and over all."""
    def mean(group, name, measure):
        ratios = [mine[measure]["to_glibc"]["ratio"]
                  for mine in (each[name] for each in summaries.values())
                  if mine["in_means"] and group in ("all", mine["group"])
                  and not (mine["idle"] and measure != "peak_rss_kib")
                  and mine.get(measure, {}).get("to_glibc")]
        return {"mean": geometric_mean(ratios), "workloads": len(ratios)}
    return {group: {name: {measure: mean(group, name, measure)
                           for measure in ("wall_s", "cpu_s", "peak_rss_kib")} for name in names}
            for group in ("synthetic", "programs", "all")}


def print_means(names, summaries):
    print("\nGeometric means against glibc (lower is better; not counted: the empty program, and "
          "the time of idle workloads)")
    print(f"  {'':<10} {'':<12} {'wall':>8} {'cpu':>8} {'peak RSS':>9} {'workloads':>10}")
    for group, of_group in means(names, summaries).items():
        for name, mean in of_group.items():
            if mean["peak_rss_kib"]["workloads"]:
                wall, cpu, peak = (f"{mean[key]['mean']:.3f}" if mean[key]["mean"] else "-"
                                   for key in ("wall_s", "cpu_s", "peak_rss_kib"))
                print(f"  {group:<10} {name:<12} {wall:>8} {cpu:>8} {peak:>9} "
                      f"{mean['peak_rss_kib']['workloads']:>10}")
    for name in names:
        failed = [workload for workload, each in summaries.items() if each[name]["failures"]]
        if failed:
            print(f"  {name} failed: {' '.join(failed)}")


def write_json(path, facts, results, summaries, names):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"facts": facts, "means": means(names, summaries), "summary": summaries,
                   "rounds": results}, file, indent=1)
        file.write("\n")


def write_csv(path, facts, results):
    keys = ("status", "wall_s", "user_s", "sys_s", "cpu_s", "peak_rss_kib", "minor_faults",
            "major_faults", "voluntary_switches", "involuntary_switches", "mappings",
            "library_mapped")
    with open(path, "w", encoding="utf-8", newline="") as file:
        for key, value in facts.items():
            file.write(f"# {key}: {json.dumps(value)}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("workload", "round", "allocator", *keys, "metrics", "failed"))
        for workload, rounds in results.items():
            for number, figures in enumerate(rounds, 1):
                for name, mine in figures.items():
                    metrics = ";".join(f"{k}={v[0]:g} {v[1]}"
                                       for k, v in mine.get("metrics", {}).items())
                    table.writerow((workload, number, name, *(mine.get(key) for key in keys),
                                    metrics, mine.get("failed", "")))
