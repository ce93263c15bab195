#!/usr/bin/env python3
"""Tests `mete compare` from outside, on a program whose behaviour is known.

    compare_test.py --mete build/bin/mete [--cc gcc] [test names...]

SPDX-License-Identifier: MIT
"""
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

import run_test_support as support
from run_test_support import build, write

BEHAVE = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
static void serve(int port, int late_us, int life_s) {
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(server, (struct sockaddr *)&where, sizeof where)) { perror("bind"); exit(1); }
  usleep(late_us); /* bound, not yet ready */
  listen(server, 5);
  alarm(life_s);
  puts("now listening"); fflush(stdout);
  for (;;) { int guest = accept(server, NULL, NULL); write(guest, "answer 7\n", 9); close(guest); }
}
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
  if (is(argv, "serve")) serve(atoi(argv[2]), 200000, 0);
  if (is(argv, "serve-late")) serve(atoi(argv[2]), 3000000, 0);
  if (is(argv, "serve-stubborn")) { signal(SIGTERM, SIG_IGN); serve(atoi(argv[2]), 200000, 0); }
  if (is(argv, "serve-then-crash")) serve(atoi(argv[2]), 200000, 3);
  if (is(argv, "daemon") && fork() == 0) { setsid(); if (fork() == 0) sleep(600); }
  if (is(argv, "preloaded-says-else")) puts(getenv("LD_PRELOAD") ? "41" : "42");
  if (is(argv, "echo")) { char line[100]; while (fgets(line, sizeof line, stdin)) fputs(line, stdout); }
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
            workload, = json.load(file)["workloads"]
        return {each["name"]: each for each in workload["candidates"]}, result

    def check_refused(self, result, status, *words):
        """One line on standard error that names everything in `words`, and nothing was run."""
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        self.assertRegex(result.stderr, r"\Amete compare: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)


class Figures(CompareTest):
    def test_time(self):
        candidates, _ = self.measure(self.behave, "sleep", "1")
        for each in candidates.values():
            for run in each["runs"]:
                self.assertTrue(1 <= run["time"] < 3, run["time"])
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

    def test_several_metrics(self):
        candidates, result = self.measure(self.behave, "print", "p50=1 p99=7 p50=2", runs=1,
                                          options=["--metric", r"(p[0-9]+)=([0-9]+)"])
        run = candidates["mete"]["runs"][0]
        self.assertEqual((run["p50"], run["p99"]), (2, 7))
        self.assertRegex(result.stdout, r"(?m)^p99 +7 +7 +1\.00 *$")

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
        self.assertEqual(candidates["mete"]["runs"][0]["malloc"], support.LIBRARY)
        self.assertRegex(candidates["glibc"]["runs"][0]["malloc"], r"/libc\.so\.6$")

    def test_a_library_that_is_not_loaded_is_a_failure(self):
        static = build("static", BEHAVE, "-static")
        candidates, result = self.measure(static, "exit", "0", runs=1, status=1)
        self.assertIn("was not loaded", candidates["mete"]["runs"][0]["failure"])
        self.assertEqual(candidates["glibc"]["runs"][0]["failure"], "")
        self.assertRegex(result.stdout, r"(?m)^mete +failed$")

    def test_a_program_that_writes_over_its_environment(self):
        other = build("libjemalloc.so.2", support.STAND_IN, "-shared", "-fPIC")
        titled = build("titled", """
#include <string.h>
extern char **environ;
int main(void) { for (char **each = environ; *each; ++each) memset(*each, 'x', strlen(*each)); }
""", "-Wl,--no-as-needed", other)
        candidates, _ = self.measure(titled, runs=1, allocators="glibc,mete,as-shipped")
        self.assertRegex(candidates["glibc"]["runs"][0]["malloc"], r"/libc\.so\.6$")
        self.assertEqual(candidates["mete"]["runs"][0]["malloc"], support.LIBRARY)
        self.assertEqual(candidates["as-shipped"]["runs"][0]["malloc"], other)

    def test_a_malloc_in_the_program_itself_is_a_failure(self):
        own = build("own", BEHAVE + "void *malloc(size_t n) { return sbrk(n + 16 & ~15); }\n"
                    "void free(void *p) { }\n", "-rdynamic")
        candidates, _ = self.measure(own, "exit", "0", runs=1, status=1,
                                     allocators="glibc,mete,as-shipped")
        for name in ("glibc", "mete"):
            self.assertIn(f"its malloc came from '{own}'", candidates[name]["runs"][0]["failure"])
        self.assertEqual(candidates["as-shipped"]["runs"][0]["malloc"], own)

    def test_glibc_comes_before_what_a_program_brings(self):
        other = build("libjemalloc.so.2", support.STAND_IN, "-shared", "-fPIC")
        program = build("brings_one", BEHAVE, "-Wl,--no-as-needed", other)
        candidates, result = self.measure(program, "exit", "0", runs=1,
                                          allocators="glibc,mete,as-shipped")
        self.assertIn("libc.so.6", candidates["glibc"]["library"])
        self.assertIn(f"brings {other}", result.stderr)
        self.assertEqual(candidates["as-shipped"]["library"], "")
        self.assertEqual(candidates["as-shipped"]["runs"][0]["malloc"], other)


class Results(CompareTest):
    """--check, --input, --scratch, --setup."""

    def test_another_result_is_a_failure(self):
        candidates, _ = self.measure(self.behave, "preloaded-says-else", runs=2, status=1,
                                     options=["--check", "cat"])
        self.assertEqual([run["failure"] for run in candidates["glibc"]["runs"]], ["", ""])
        for run in candidates["mete"]["runs"]:
            self.assertRegex(run["failure"], "differs.*42.*41")

    def test_the_same_result_is_none(self):
        candidates, _ = self.measure(self.behave, "print", "42", runs=2,
                                     options=["--check", "grep -q 42"])
        self.assertEqual(candidates["mete"]["runs"][1]["failure"], "")

    def test_a_check_that_fails(self):
        candidates, _ = self.measure(self.behave, "print", "42", runs=1, status=1,
                                     options=["--check", "echo wrong; exit 3"])
        self.assertIn("--check: exit status 3; its last words: wrong",
                      candidates["glibc"]["runs"][0]["failure"])

    def test_input(self):
        path = write("input", "rate 12\n")
        candidates, _ = self.measure(self.behave, "echo", runs=1,
                                     options=["--input", path, "--metric", "rate ([0-9]+)"])
        self.assertEqual(candidates["mete"]["runs"][0]["metric"], 12)

    def test_each_run_gets_an_empty_folder_and_its_setup(self):
        candidates, _ = self.measure(
            "sh", "-c", "pwd; cat prepared; ls | wc -l; touch left; exit 0", runs=2,
            options=["--scratch", "--setup", "echo 5 >prepared", "--metric", r"\n([0-9]+)\n$"])
        self.assertEqual([run["metric"] for run in candidates["mete"]["runs"]], [1, 1])

    def test_a_setup_that_fails(self):
        candidates, _ = self.measure(self.behave, "exit", "0", runs=1, status=1,
                                     options=["--setup", "echo no data; exit 1"])
        self.assertIn("--setup: exit status 1; its last words: no data",
                      candidates["glibc"]["runs"][0]["failure"])

    def test_what_setup_starts_is_ended(self):
        self.measure(self.behave, "exit", "0", runs=1,
                     options=["--setup", f"{self.behave} daemon"])
        self.assertEqual(running(self.behave, "daemon"), [])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


ASK = ("{python} -c \"import socket; s = socket.create_connection(('127.0.0.1', {port})); "
       "print('got', s.recv(99).decode())\"")


class Servers(CompareTest):
    def serve(self, *options, how="serve", client=None, runs=1, status=0):
        port = free_port()
        client = client or ASK.format(python=sys.executable, port=port)
        return self.measure(self.behave, how, str(port), runs=runs, status=status,
                            options=["--client", client,
                                     *(each.replace("PORT", str(port)) for each in options)])

    def check_served(self, candidates):
        for each in candidates.values():
            for run in each["runs"]:
                self.assertEqual(run["failure"], "")
                self.assertEqual(run["metric"], 7)
        self.assertEqual(running(self.behave, "serve"), [])

    def test_the_client_starts_when_the_server_listens(self):
        candidates, _ = self.serve("--metric", "got answer ([0-9]+)", runs=2)
        self.check_served(candidates)
        # The client's time: not the 3 s before it.
        candidates, _ = self.serve(how="serve-late", client="sleep 0.05")
        self.assertTrue(0.05 <= candidates["mete"]["runs"][0]["time"] < 3)

    def test_a_port_or_a_line_is_awaited(self):
        self.check_served(self.serve("--metric", "got answer ([0-9]+)", "--ready-port", "PORT")[0])
        self.check_served(self.serve("--metric", "got answer ([0-9]+)", "--ready-line",
                                     "^now listen")[0])

    def test_another_port_is_not_enough(self):
        candidates, _ = self.serve("--ready-port", str(free_port()), "--timeout", "1", status=1)
        self.assertIn("not ready in time", candidates["glibc"]["runs"][0]["failure"])
        self.assertEqual(running(self.behave, "serve"), [])

    def test_a_client_that_fails(self):
        candidates, _ = self.serve(client="echo refused; exit 4", status=1)
        self.assertIn("the client: exit status 4; its last words: refused",
                      candidates["glibc"]["runs"][0]["failure"])

    def test_a_server_that_ends_by_itself(self):
        candidates, _ = self.serve(how="serve-then-crash", client="sleep 60", status=1)
        self.assertRegex(candidates["glibc"]["runs"][0]["failure"],
                         "server ended before its client: killed by signal 14.*now listening")
        self.assertEqual(running("sleep", "60"), [])

    def test_a_server_that_does_not_stop(self):
        port = free_port()
        candidates, _ = self.measure(self.behave, "serve-stubborn", str(port), runs=1, status=1,
                                     options=["--client", "true"], allocators="glibc")
        self.assertIn("did not end within 10 s", candidates["glibc"]["runs"][0]["failure"])
        self.assertEqual(running(self.behave, "serve-stubborn"), [])


class Suites(CompareTest):
    SUITE = """
title = "Both"
allocators = ["glibc", "mete"]
runs = 2
warmup = 0
[[workload]]
name = "first"
program = ["{behave}", "sleep", "0.05"]
[[workload]]
name = "second"
program = ["./here", "print", "17"]
metric = '^([0-9]+)$'
environment = {{ LETTER = "x" }}
"""

    def setUp(self):
        self.folder = os.path.join(support.FOLDER, "suite")
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, "both.toml")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(self.SUITE.format(behave=self.behave))
        if not os.path.exists(os.path.join(self.folder, "here")):
            os.symlink(self.behave, os.path.join(self.folder, "here"))

    def run_suite(self, *options, status=0, path=None):
        result = subprocess.run([support.METE, "compare", path or self.path, *options], text=True,
                                capture_output=True, timeout=120, cwd=support.FOLDER)
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        return result

    def test_all_workloads_in_one_file(self):
        result = self.run_suite("--json", "suite.json", "--csv", "suite.csv")
        with open(os.path.join(support.FOLDER, "suite.json"), encoding="utf-8") as file:
            document = json.load(file)
        self.assertEqual(document["title"], "Both")
        self.assertEqual([each["name"] for each in document["workloads"]], ["first", "second"])
        second = document["workloads"][1]["candidates"]
        self.assertEqual([run["metric"] for run in second[1]["runs"]], [17, 17])
        self.assertEqual([each["name"] for each in document["means"]], ["mete"])
        self.assertIn("LETTER=x", second[1]["command"])
        self.assertIn("Geometric means", result.stdout)
        with open(os.path.join(support.FOLDER, "suite.csv"), encoding="utf-8") as file:
            self.assertEqual(sum(1 for _ in file), 1 + 2 * 2 * 2)

    def test_what_is_typed_has_the_last_word(self):
        self.run_suite("-n", "1", "-a", "glibc", "-w", "second", "--json", "suite.json")
        with open(os.path.join(support.FOLDER, "suite.json"), encoding="utf-8") as file:
            workload, = json.load(file)["workloads"]
        candidate, = workload["candidates"]
        self.assertEqual((workload["name"], len(candidate["runs"])), ("second", 1))

    def test_the_command_repeats_a_run(self):
        self.run_suite("-n", "1", "-w", "second", "--json", "suite.json")
        with open(os.path.join(support.FOLDER, "suite.json"), encoding="utf-8") as file:
            workload, = json.load(file)["workloads"]
        for candidate in workload["candidates"]:
            output = subprocess.run(["sh", "-c", candidate["command"]], capture_output=True,
                                    text=True, cwd=self.folder).stdout
            self.assertEqual(output, "17\nand more\n")

    def test_candidates_that_are_arguments(self):
        path = write("candidates.toml", f'''
warmup = 0
runs = 1
fail-if = "three.metric > 2"
[[candidate]]
name = "two"
arguments = ["2"]
[[candidate]]
name = "three"
arguments = ["3"]
allocator = "mete"
[[workload]]
name = "both"
program = ["{self.behave}", "print"]
metric = '^([0-9]+)$'
[[workload]]
name = "one"
program = ["{self.behave}", "print"]
metric = '^([0-9]+)$'
allocators = ["two"]
''')
        result = self.run_suite("--json", "suite.json", path=path, status=1)
        with open(os.path.join(support.FOLDER, "suite.json"), encoding="utf-8") as file:
            document = json.load(file)
        found = [[(each["name"], each["runs"][0]["metric"], "libmete" in each["library"])
                  for each in workload["candidates"]] for workload in document["workloads"]]
        self.assertEqual(found, [[("two", 2, False), ("three", 3, True)], [("two", 2, False)]])
        self.assertEqual([(each["name"], each["workloads"]) for each in document["means"]],
                         [("three", 1)])
        self.assertIn("print 3", document["workloads"][0]["candidates"][1]["command"])
        self.assertIn("--fail-if holds for both", result.stderr)
        result = self.run_suite("-a", "three", "-n", "1", path=path, status=1)
        self.assertIn("one: left out", result.stderr)

    def test_a_condition_names_its_workload(self):
        result = self.run_suite("-n", "1", "--fail-if", "glibc.time > 0.04", status=1)
        self.assertIn("--fail-if holds for first", result.stderr)
        self.assertNotIn("for second", result.stderr)

    def test_mistakes_are_one_line(self):
        bad = write("bad.toml", "runs = 1\ncolour = 2\n")
        self.check_refused(self.run_suite(path=bad, status=2), 2, "bad.toml:2:1", "colour")
        self.check_refused(self.run_suite(path="none.toml", status=2), 2, "none.toml")
        self.check_refused(self.run_suite("--metric", "(1)", status=2), 2, "--metric", "both.toml")
        self.check_refused(self.run_suite("-w", "third", status=2), 2, "third")
        lost = write("lost.toml", "[[workload]]\nname = 'x'\nprogram = ['./lost']\n")
        self.check_refused(self.run_suite(path=lost, status=127), 127, "x: ", "./lost")


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

    def test_not_even_in_a_session_of_its_own(self):
        self.measure(self.behave, "daemon", runs=1)
        self.assertEqual(running(self.behave, "daemon"), [])

    def test_a_kill_takes_the_program_along(self):
        with subprocess.Popen([support.METE, "compare", "-a", "glibc", "--", self.behave,
                               "stubborn"], stdout=subprocess.PIPE) as process:
            while not running(self.behave, "stubborn"):
                time.sleep(0.01)
            process.kill()
        deadline = time.monotonic() + 60
        while running(self.behave, "stubborn") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(running(self.behave, "stubborn"), [])

    def test_an_interrupt_shows_what_there_is(self):
        started = os.path.join(support.FOLDER, "started")
        program = f"echo >> {started}; exec {self.behave} sleep 0.2"
        with subprocess.Popen([support.METE, "compare", "-a", "glibc", "-n", "1000", "--warmup",
                               "0", "--", "sh", "-c", program], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while not os.path.exists(started) or os.path.getsize(started) < 3:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertIn("interrupted", error)
        self.assertGreaterEqual(float(re.search(r"(?m)^glibc +([0-9.]+)", output)[1]), 0.2, output)
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
        self.refuse(2, "/no/input", options=["--input", "/no/input"])
        self.refuse(2, "--client", options=["--ready-port", "7000"])
        self.refuse(2, "--ready-line", options=["--client", "true", "--ready-line", "("])
        self.refuse(2, "--workload", options=["--workload", "x"])
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
