#!/usr/bin/env python3
"""What mete asks of the kernel after the start is what docs/system-calls.md lists.

Usage: system_calls_test.py <system-calls.md> <strace> <program> <libmete.so>
SPDX-License-Identifier: MIT
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SKIPPED = 77

# What the program itself calls between its marks: it says so, sleeps, and looks at its threads.
PROGRAMS_OWN = {"write", "clock_nanosleep", "openat", "read", "close", "newfstatat"}


def calls_of_section(document, heading):
    """The names in the first column of the tables under a heading, table by table."""
    section = re.search(rf"^## {heading}$(.*?)(^## |\Z)", document, re.MULTILINE | re.DOTALL).group(1)
    tables = re.split(r"^\| call .*$", section, flags=re.MULTILINE)[1:]
    return [set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE))))
            for table in tables]


class SystemCallsTest(unittest.TestCase):
    document = strace = program = library = None

    def setUp(self):
        text = Path(self.document).read_text(encoding="utf-8")
        self.alone, self.across_threads = calls_of_section(text, "Later")
        (self.for_thread,) = calls_of_section(text, "For the background thread")

    def traced(self, kind, options=""):
        """The calls that are made between the program's marks, and where the paths lead."""
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            # libc's cancellation and locale files are not opened again: nothing is left to the program.
            run = subprocess.run(
                [self.strace, "-f", "-qq", "-o", trace, "-E", f"LD_PRELOAD={self.library}",
                 "-E", f"METE_OPTIONS={options}", self.program, kind],
                env=environment, capture_output=True, text=True, timeout=150, check=False)
            self.assertEqual(run.returncode, 0, run.stderr)
            lines = trace.read_text(errors="replace").splitlines()
        marks = [at for at, line in enumerate(lines) if re.search(r'write\(2, "(begin|end)', line)]
        self.assertEqual(len(marks), 2)
        calls = set()
        for line in lines[marks[0] + 1:marks[1]]:
            call = re.match(r"\d+ +(\w+)\(", line)
            if not call:
                continue
            if call.group(1) == "openat" and '"/proc/self/status"' not in line:
                self.fail(f"a file is opened after the start: {line}")
            calls.add(call.group(1))
        return calls - PROGRAMS_OWN

    def test_a_program_with_one_thread(self):
        made = self.traced("alone")
        self.assertLessEqual(made, self.alone)
        self.assertLessEqual({"mmap", "munmap", "mprotect", "mremap", "madvise"}, made)

    def test_a_program_with_threads(self):
        made = self.traced("threads")
        self.assertLessEqual(made, self.alone | self.across_threads | self.for_thread)
        self.assertLessEqual({"madvise", "membarrier", "clone3"}, made)

    def test_what_options_leave(self):
        made = self.traced("alone", "membarrier=0,cpu_caches=0")
        self.assertLessEqual(made, self.alone)


def can_trace(strace):
    return subprocess.run([strace, "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True,
                          check=False).returncode == 0


if __name__ == "__main__":
    (SystemCallsTest.document, SystemCallsTest.strace, SystemCallsTest.program,
     SystemCallsTest.library) = sys.argv[1:5]
    if not can_trace(sys.argv[2]):
        print("skipped: strace may not trace processes here")
        sys.exit(SKIPPED)
    unittest.main(argv=sys.argv[:1])
