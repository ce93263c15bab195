# SPDX-License-Identifier: MIT
"""The suite, as far as it can be tested in seconds: every workload written for it, once on glibc and
once on mete, in quick mode, and whether all that the suite names is there.

Usage: suite_test.py METE LIBRARY FOLDER_OF_THE_WORKLOADS
"""

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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
