"""Runs misuse_cases on an allocator, and reads what it prints.

SPDX-License-Identifier: MIT
"""
import collections
import os
import re
import subprocess

Counts = collections.namedtuple("Counts", "cases stopped at_once hanging")
LINE = re.compile(r"(.+): (\d+) of (\d+) stopped, (\d+) at once, (\d+) hang")


class NotRun(Exception):
    """The program did not run on this allocator."""


def run(program, library=None, settings=None, control=False):
    """{class: Counts}, in the order of the program."""
    environment = {**os.environ, **(settings or {})}
    if library:
        environment["LD_PRELOAD"] = str(library)
    done = subprocess.run([program] + ["--control"] * control, env=environment, text=True,
                          capture_output=True, timeout=1800, check=False)
    if done.returncode != 0 or "cannot be preloaded" in done.stderr:
        raise NotRun(f"{program} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    counts = {}
    for line in done.stdout.splitlines():
        name, stopped, cases, at_once, hanging = LINE.fullmatch(line).groups()
        counts[name] = Counts(int(cases), int(stopped), int(at_once), int(hanging))
    return counts
