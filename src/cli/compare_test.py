#!/usr/bin/env python3
"""Tests `mete compare` from outside, on a program whose behaviour is known.

    compare_test.py --mete build/bin/mete [--cc gcc] [test names...]

SPDX-License-Identifier: MIT
"""
import csv
import json
import os
import signal
import subprocess
import time
import unittest

import run_test_support as support
from run_test_support import build, write

BEHAVE = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int is(char **argv, const char *what) { return strcmp(argv[1], what) == 0; }
int main(int argc, char **argv) {
  if (is(argv, "sleep")) usleep(atof(argv[2]) * 1e6);
  if (is(argv, "burn")) for (volatile long i = atol(argv[2]) * 1000000; i > 0; --i) { }
  if (is(argv, "allocate")) {
    size_t bytes = (size_t)atol(argv[2]) << 20;
    memset(malloc(bytes), 1, bytes);
    usleep(100000);
  }
  if (is(argv, "print")) { puts(argv[2]); puts("and more"); }
  if (is(argv, "exit")) return atoi(argv[2]);
  if (is(argv, "crash")) { puts("about to crash"); fflush(stdout); raise(SIGSEGV); }
  if (is(argv, "crash-preloaded") && getenv("LD_PRELOAD")) raise(SIGABRT);
  if (is(argv, "flood")) for (int i = 0; i < 300000; ++i) puts("0123456789012345678901234567890");
  if (is(argv, "stubborn")) { signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); sleep(600); }
  if (is(argv, "log")) {
    FILE *log = fopen(argv[2], "a");
    fputs(getenv("LD_PRELOAD") ? "preloaded\n" : "plain\n", log);
    fclose(log);
  }
  return 0;
}
"""


def compare(*arguments, options=(), **more):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("LD_PRELOAD", "METE_OPTIONS")}
    return subprocess.run([support.METE, "compare", *options, "--", *arguments], text=True,
                          capture_output=True, timeout=120, env=environment, **more)


def running(*words):
    """The processes whose command line holds all words."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:
                line = file.read()
        except OSError:
            continue
        if all(word in line for word in words) and support.METE not in line:
            found.append(process)
    return found


class CompareTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.behave = build("behave", BEHAVE)
        cls.json = os.path.join(support.FOLDER, "out.json")

    def measure(self, *arguments, runs=3, warmup=0, allocators="glibc,mete", options=(), status=0):
        """The candidates of the JSON file, by name."""
        result = compare(*arguments, options=["-a", allocators, "-n", str(runs), "--warmup",
                                              str(warmup), "--json", self.json, *options])
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        with open(self.json, encoding="utf-8") as file:
            return {each["name"]: each for each in json.load(file)["candidates"]}, result

    def check_refused(self, result, status, *words):
        """One line on standard error that names everything in `words`, and nothing was run."""
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        self.assertRegex(result.stderr, r"\Amete compare: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)


class Figures(CompareTest):
    def test_time(self):
        candidates, _ = self.measure(self.behave, "sleep", "0.3")
        for each in candidates.values():
            for run in each["runs"]:
                self.assertTrue(0.3 <= run["time"] < 1, run["time"])
                self.assertLess(run["cpu"], 0.2)
        ratio = candidates["mete"]["figures"]["time"]["ratio"]
        self.assertTrue(0.7 < ratio["value"] < 1.4, ratio)
        self.assertEqual(ratio["verdict"], "too few runs")

    def test_a_clear_difference(self):
        slow = "test -n \"$LD_PRELOAD\" && sleep 0.2; exit 0"
        candidates, result = self.measure("sh", "-c", slow, runs=5)
        ratio = candidates["mete"]["figures"]["time"]["ratio"]
        self.assertEqual(ratio["verdict"], "higher")
        self.assertTrue(1 < ratio["low"] <= ratio["value"] <= ratio["high"], ratio)
        self.assertRegex(result.stdout, r"(?m)^mete .* [0-9.]+\* ")

    def test_processor_time(self):
        candidates, _ = self.measure(self.behave, "burn", "200", runs=1)
        run = candidates["glibc"]["runs"][0]
        self.assertGreater(run["user"], 0.02)
        self.assertLess(run["user"], run["time"] + 0.05)

    def test_memory_and_its_course(self):
        candidates, _ = self.measure(self.behave, "allocate", "64", runs=1)
        for each in candidates.values():
            run = each["runs"][0]
            self.assertTrue(64 <= run["memory"] < 70, run["memory"])
            self.assertGreaterEqual(run["faults"], (64 << 20) // os.sysconf("SC_PAGESIZE"))
            self.assertTrue(64 <= max(size for _, size, _ in run["memory_samples"]) / (1 << 20) < 70)
            seconds = [second for second, _, _ in run["memory_samples"]]
            self.assertEqual(seconds, sorted(seconds))

    def test_small_programs_are_not_as_large_as_the_command(self):
        candidates, _ = self.measure(self.behave, "exit", "0", runs=1)
        self.assertLess(candidates["glibc"]["runs"][0]["memory"], 2.5)

    def test_memory_of_a_child_counts(self):
        candidates, _ = self.measure("sh", "-c", f"{self.behave} allocate 64; true", runs=1)
        self.assertGreaterEqual(candidates["mete"]["runs"][0]["memory"], 64)

    def test_metric(self):
        candidates, result = self.measure(self.behave, "print", "warm 1, rate: 42.5/s",
                                          options=["--metric", r"rate: ([0-9.]+)/s"])
        self.assertEqual([run["metric"] for run in candidates["mete"]["runs"]], [42.5] * 3)
        self.assertRegex(result.stdout, r"mete .* 42\.5\n")

    def test_much_output_does_not_stop_it(self):
        candidates, _ = self.measure(self.behave, "flood", runs=1)
        self.assertEqual(candidates["mete"]["runs"][0]["failure"], "")

    def test_candidates_take_turns_and_warm_up(self):
        log = write("log", "")
        candidates, _ = self.measure(self.behave, "log", log, runs=2, warmup=1)
        with open(log, encoding="utf-8") as file:
            self.assertEqual(file.read().split(), ["plain", "preloaded"] * 3)
        self.assertEqual([run["round"] for run in candidates["mete"]["runs"]], [1, 2])

    def test_csv(self):
        path = os.path.join(support.FOLDER, "out.csv")
        self.measure(self.behave, "exit", "0", runs=2, options=["--csv", path])
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([(row["allocator"], row["round"]) for row in rows],
                         [("glibc", "1"), ("glibc", "2"), ("mete", "1"), ("mete", "2")])
        self.assertTrue(all(float(row["memory"]) > 0 for row in rows))


class Proof(CompareTest):
    def test_the_library_was_there(self):
        candidates, _ = self.measure(self.behave, "exit", "0", runs=1)
        self.assertEqual(candidates["mete"]["runs"][0]["allocators"], [support.LIBRARY])
        self.assertEqual(candidates["glibc"]["runs"][0]["allocators"], [])

    def test_a_library_that_is_not_loaded_is_a_failure(self):
        static = build("static", BEHAVE, "-static")
        candidates, result = self.measure(static, "exit", "0", runs=1, status=1)
        self.assertIn("was not loaded", candidates["mete"]["runs"][0]["failure"])
        self.assertEqual(candidates["glibc"]["runs"][0]["failure"], "")
        self.assertRegex(result.stdout, r"(?m)^mete +failed$")

    def test_a_program_that_brings_its_allocator(self):
        other = build("libjemalloc.so.2", support.STAND_IN, "-shared", "-fPIC")
        program = build("brings_one", BEHAVE, "-Wl,--no-as-needed", other)
        candidates, _ = self.measure(program, "exit", "0", runs=1, status=1)
        self.assertIn("brings an allocator of its own", candidates["glibc"]["runs"][0]["failure"])
        self.assertEqual(candidates["mete"]["runs"][0]["failure"], "")


class Failures(CompareTest):
    def test_a_crash_is_a_row_and_the_rest_goes_on(self):
        candidates, result = self.measure(self.behave, "crash-preloaded", runs=2, status=1)
        self.assertEqual([run["failure"] for run in candidates["glibc"]["runs"]], ["", ""])
        self.assertIn("killed by signal 6", candidates["mete"]["runs"][1]["failure"])
        self.assertIn("2 of 2 runs failed", result.stdout)

    def test_the_last_words_are_shown(self):
        _, result = self.measure(self.behave, "crash", runs=1, status=1)
        self.assertIn("signal 11", result.stdout)
        self.assertIn("about to crash", result.stdout)

    def test_an_exit_status_is_a_failure(self):
        candidates, _ = self.measure(self.behave, "exit", "3", runs=1, status=1)
        self.assertIn("exit status 3", candidates["glibc"]["runs"][0]["failure"])

    def test_a_metric_that_is_not_printed_is_a_failure(self):
        candidates, _ = self.measure(self.behave, "print", "nothing", runs=1, status=1,
                                     options=["--metric", "rate ([0-9]+)"])
        self.assertIn("--metric", candidates["mete"]["runs"][0]["failure"])

    def test_timeout_ends_the_stubborn_and_what_they_started(self):
        begin = time.monotonic()
        candidates, _ = self.measure("sh", "-c", f"{self.behave} stubborn & {self.behave} stubborn",
                                     runs=1, status=1, options=["--timeout", "0.3"])
        self.assertLess(time.monotonic() - begin, 20)
        self.assertIn("--timeout", candidates["mete"]["runs"][0]["failure"])
        self.assertEqual(running(self.behave, "stubborn"), [])

    def test_nothing_is_left_running(self):
        self.measure("sh", "-c", f"{self.behave} stubborn & exit 0", runs=1)
        self.assertEqual(running(self.behave, "stubborn"), [])

    def test_an_interrupt_shows_what_there_is(self):
        with subprocess.Popen([support.METE, "compare", "-a", "glibc", "-n", "1000", "--warmup",
                               "0", "--", self.behave, "sleep", "0.2"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertIn("interrupted", error)
        self.assertRegex(output, r"(?m)^glibc +0\.2")
        self.assertEqual(running(self.behave, "sleep"), [])


class Conditions(CompareTest):
    def test_fail_if(self):
        for condition, status in (("mete.time > 100 * glibc.time", 0), ("mete.time < 100", 1),
                                  ("glibc.memory>=1", 1)):
            _, result = self.measure(self.behave, "exit", "0", runs=1, status=status,
                                     options=["--fail-if", condition])
            self.assertEqual(condition in result.stderr, status == 1)


class BadInput(CompareTest):
    def refuse(self, status, *words, options=(), program=None):
        result = compare(*(program or [self.behave, "exit", "0"]), options=options)
        self.check_refused(result, status, *words)

    def test_each_is_one_line(self):
        self.refuse(127, "no-such-program", program=["no-such-program"])
        self.refuse(126, "/etc/passwd", program=["/etc/passwd"])
        self.refuse(2, "nomalloc", "jemalloc", options=["-a", "nomalloc"])
        self.refuse(2, "/no/such.so", options=["-a", "/no/such.so"])
        self.refuse(2, "not a shared library", options=["-a", "/etc/passwd"])
        self.refuse(2, "twice", options=["-a", "glibc,glibc"])
        self.refuse(2, "regular expression", options=["-a", "glibc", "--metric", "rate ("])
        self.refuse(2, "groups", options=["-a", "glibc", "--metric", "rate [0-9]+"])
        self.refuse(2, "mete.speed", options=["-a", "glibc,mete", "--fail-if", "mete.speed > 1"])
        self.refuse(2, "/no/folder/x", options=["-a", "glibc", "--json", "/no/folder/x"])
        self.refuse(2, "--runs", options=["-n", "0"])
        self.refuse(2, "--timeout", options=["--timeout", "-1"])
        self.refuse(2, "mete compare --help", options=["--no-such-option"])

    def test_no_program(self):
        result = subprocess.run([support.METE, "compare"], capture_output=True, text=True)
        self.check_refused(result, 2, "no program named")

    def test_help(self):
        result = subprocess.run([support.METE, "compare", "--help"], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("Example: mete compare", result.stdout)
        for line in result.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)


if __name__ == "__main__":
    support.main()
