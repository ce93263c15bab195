"""The demo: real programs on the system allocator and on mete, in turn, and one table.

Each round runs every program once on every allocator, so that whatever else the machine does
strikes all of them alike; the table shows medians. A run counts only with proof, given by the
process itself, of where its malloc came from: without it the demo fails.

SPDX-License-Identifier: MIT
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import demo_cpython
import demo_redis
from demo_run import DemoError, allocators_for


def parse_arguments():
    parser = argparse.ArgumentParser(prog="script/demo", description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, at least 3 (default: 3)")
    parser.add_argument("--quick", action="store_true",
                        help="a tenth of the work: shows that it runs, the numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.rounds < 3:
        parser.error("--rounds: a median needs at least 3 rounds")
    return arguments


def machine():
    """What a reader has to know about the machine that the numbers come from."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def run_rounds(cases, rounds):
    """Runs all cases, interleaved; returns {case name: {allocator: [run, ...]}}."""
    runs = {case.name: {allocator.name: [] for allocator in case.allocators} for case in cases}
    total = rounds * sum(len(case.allocators) for case in cases)
    done = 0
    for number in range(1, rounds + 1):
        for case in cases:
            for allocator in case.allocators:
                done += 1
                label = f"[{done:2}/{total}] round {number}: {case.name} on {allocator.name}"
                if sys.stdout.isatty():
                    print(f"{label} ...", end="\r", flush=True)
                run = case.run(allocator)
                runs[case.name][allocator.name].append(run)
                print(f"{label:<62} {run['seconds']:6.2f} s {run['peak_mib']:7.1f} MiB",
                      flush=True)
    return runs


def expect_same_results(runs):
    """The allocator must not change what a program computes."""
    for case, by_allocator in runs.items():
        results = {run["result"] for each in by_allocator.values() for run in each}
        if len(results) != 1:
            raise DemoError(f"{case}: different results on different allocators: {results}")


def verdict(ratio, mine, base):
    """Says "faster" only when every round was faster than every round of the other."""
    if max(mine) < min(base):
        return f"{(1 - ratio) * 100:.0f} % less"
    if min(mine) > max(base):
        return f"{(ratio - 1) * 100:.0f} % more"
    return "no clear difference"


def table(runs):
    """The result: medians, and ratios to the system allocator (less is better)."""
    heading = ("program", "allocator", "time s", "CPU s", "op/s", "peak MiB",
               "time", "CPU", "peak", "CPU time, verdict")
    rows = [heading]
    for case, by_allocator in runs.items():
        base = next(iter(by_allocator.values()))
        for allocator, mine in by_allocator.items():
            def median(key, of):
                return statistics.median(run[key] for run in of)

            def ratio(key, mine=mine, base=base):
                return median(key, mine) / median(key, base)

            words = "" if mine is base else verdict(
                ratio("cpu_seconds"), [run["cpu_seconds"] for run in mine],
                [run["cpu_seconds"] for run in base])
            rows.append((
                case if mine is base else "", allocator,
                f"{median('seconds', mine):.2f}", f"{median('cpu_seconds', mine):.2f}",
                f"{median('operations_per_second', mine):,.0f}",
                f"{median('peak_mib', mine):.1f}",
                f"{ratio('seconds'):.2f}", f"{ratio('cpu_seconds'):.2f}",
                f"{ratio('peak_mib'):.2f}", words))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = []
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if column in (0, 1, 9) else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        if index > 0 and row[0]:
            lines.append("  ".join("-" * width for width in widths))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def proofs(runs):
    """One line for each library that served a malloc, as the processes themselves said."""
    counts = {}
    for by_allocator in runs.values():
        for allocator, each in by_allocator.items():
            for run in each:
                key = (allocator, os.path.realpath(run["malloc_from"]), run["mete_version"])
                counts[key] = counts.get(key, 0) + 1
    return [f"  {count:2} runs on {allocator}: malloc is in {path}"
            + (f", mete_version() is {version}" if version else "")
            for (allocator, path, version), count in counts.items()]


def stop(signal_number, _frame):
    """Any of the signals that end a command unwinds the stack, so that servers are stopped."""
    raise SystemExit(128 + signal_number)


def run_demo(arguments, folder):
    command = os.path.join(arguments.build, "bin", "mete")
    library = os.path.join(arguments.build, "lib", "libmete.so")
    for path in (command, library):
        if not os.path.exists(path):
            raise DemoError(f"the build made no {path}")
    scale = 0.1 if arguments.quick else 1.0
    witness = os.path.join(arguments.build, "redis_witness.so")
    cases = [demo_redis.Case(folder, witness, scale, allocators_for(command, library)),
             demo_cpython.Case("CPython", {}, scale, allocators_for(command, library)),
             # CPython has an allocator of its own for small blocks; this is CPython without it.
             demo_cpython.Case("CPython, PYTHONMALLOC=malloc", {"PYTHONMALLOC": "malloc"}, scale,
                               allocators_for(command, library))]
    about = machine()
    print(f"demo: {about['processor']}, {about['cpus']} CPUs, Linux {about['kernel']}, "
          f"{about['libc']}, {about['date']}, load {about['load']:.1f}")
    print("demo: " + ", ".join(case.version for case in cases[:2]), flush=True)
    runs = run_rounds(cases, arguments.rounds)
    expect_same_results(runs)
    print(f"\nMedians of {arguments.rounds} rounds; the ratios are to the first allocator of each "
          "program, less is better.\n"
          "An operation is a Redis request, or a parsed file, JSON document or large table.\n")
    print(table(runs))
    print("\nProof, given by the running processes:")
    print("\n".join(proofs(runs)))
    results = os.path.join(arguments.build, "demo.json")
    with open(results, "w", encoding="utf-8") as file:
        json.dump({"machine": about, "versions": [case.version for case in cases[:2]],
                   "runs": runs}, file, indent=1)
    print(f"\nEvery run, with its proof: {results}")


def main():
    arguments = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # A socket's path has little room: a short name, in a short folder.
    temporary = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    folder = tempfile.mkdtemp(prefix="mete-demo-", dir=temporary)
    try:
        run_demo(arguments, folder)
    except (DemoError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"demo: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
