# SPDX-License-Identifier: MIT
"""The suites, as far as they can be tested in seconds: every workload written for them, once on glibc
and once on mete, in quick mode; every candidate of the toolkit's; and whether all that they name is
there.

Usage: suite_test.py METE LIBRARY FOLDER_OF_THE_WORKLOADS
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = HERE / "suite.toml"
WORKLOADS = "../build/bench/bench/bin"  # as the suite has it: script/bench builds there
METE, LIBRARY, BUILT = (Path(each).resolve() for each in sys.argv[1:4])


def programs():
    """{name of a workload: the program that is started}"""
    found = re.findall(r'^name = "(.*)"\nprogram = \["(.*?)"', SUITE.read_text(), re.MULTILINE)
    return dict(found)


class SuiteTest(unittest.TestCase):
    def test_every_workload_is_read(self):
        self.assertEqual(len(programs()), SUITE.read_text().count("[[workload]]"))
        listed = subprocess.run([HERE.parent / "script/bench", "--list"], check=True, text=True,
                                capture_output=True).stdout.split()
        self.assertEqual(listed, list(programs()))

    def test_what_it_names_is_there(self):
        ours = {Path(program).name for program in programs().values()
                if program.startswith(WORKLOADS)}
        self.assertEqual(ours, {path.stem for path in (HERE / "workloads").glob("*.cpp")})
        for name in ours:
            self.assertTrue(os.access(BUILT / name, os.X_OK), name)
        mentioned = set(re.findall(r"programs/([\w.+-]+)", SUITE.read_text()))
        self.assertGreater(len(mentioned), 10)
        for name in mentioned:
            self.assertTrue((HERE / "programs" / name).is_file(), name)

    def test_workloads_run(self):
        ours = [name for name, program in programs().items() if program.startswith(WORKLOADS)]
        with tempfile.TemporaryDirectory() as folder:
            suite = Path(folder) / "suite.toml"
            suite.write_text(SUITE.read_text().replace(WORKLOADS, str(BUILT)))
            done = subprocess.run(
                [METE, "compare", suite, "--library", LIBRARY, "--allocators", "glibc,mete",
                 "--runs", "1", "--warmup", "0", "--workload", ",".join(ours)],
                env={**os.environ, "METE_BENCH_QUICK": "1"}, text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"Over {len(ours)} workloads", done.stdout)


class ToolkitTest(unittest.TestCase):
    text = (HERE / "toolkit.toml").read_text()
    programs = sorted((BUILT.parent / "toolkit/bin").iterdir())

    def listed(self, program):
        return subprocess.run([program, "--list"], check=True, text=True,
                              capture_output=True).stdout.split()

    def test_what_it_names_is_there(self):
        named = set(re.findall(r"bench/toolkit/bin/(\w+)\"", self.text))
        self.assertEqual(named, {path.name for path in self.programs})
        candidates = re.findall(r'\[\[candidate\]\]\nname = "(.*)"', self.text)
        listed = {name for program in self.programs for name in self.listed(program)}
        self.assertEqual(listed | {"libmete"}, set(candidates),
                         "a rival that is not installed? remedy: script/bootstrap test")

    def test_every_candidate_runs_on_both_heaps(self):
        for program in self.programs:
            for candidate in self.listed(program):
                for heap in ("clean", "fragmented"):
                    with self.subTest(program=program.name, candidate=candidate, heap=heap):
                        done = subprocess.run(
                            [program, "--with", candidate, "--heap", heap, "--count", "2000"],
                            env={**os.environ, "METE_BENCH_QUICK": "1"}, text=True,
                            capture_output=True)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        self.assertRegex(done.stdout, r"(?m)^metric \S+ \S+ \S+$")

    def test_unknown_names_are_refused(self):
        for wrong in (["--with", "nothing"], ["--heap", "muddy"], ["--colour", "red"]):
            self.assertNotEqual(subprocess.run([self.programs[0], *wrong],
                                               capture_output=True).returncode, 0)

    def test_targets_are_read_off(self):
        def row(name, **medians):
            return {"name": name, "candidates": [
                {"name": candidate, "figures": {"batch": {"median": median}}}
                for candidate, median in medians.items()]}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "result.json"
            rows = [row("small", malloc=30, slab_cache=9, boost=8)]
            file.write_text(json.dumps({"workloads": rows}))
            subprocess.run([HERE / "toolkit/targets", file, "--write"], check=True,
                           capture_output=True)
            targets = json.loads(file.read_text())["targets"]
        self.assertEqual([(each["target"].split(",")[0], each["reached"]) for each in targets],
                         [("slab_cache vs boost", False), ("slab_cache vs malloc", True)])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
