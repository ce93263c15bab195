#!/usr/bin/env python3
"""docs/misuse.md promises of each class of misuse what mete does, and it does that in every case.

With --glibc the program runs on the C library's malloc, which shows that the cases are right: it
stops what it is known to stop, and nothing without a wrong step.

Usage: misuse_test.py DOCUMENT PROGRAM [LIBRARY | --glibc]
SPDX-License-Identifier: MIT
"""
import re
import sys
import unittest
from pathlib import Path

import cases

IN_THE_WRONG_CALL = "all, in the wrong call"
NOTHING = "none"


class MisuseTest(unittest.TestCase):
    document = program = library = None
    on_glibc = False

    def table(self, heading):
        """The rows of the table that begins with this cell, by first cell."""
        lines = iter(Path(self.document).read_text().splitlines())
        rows = {}
        for line in lines:
            if line.startswith(f"| {heading} |"):
                next(lines)
                break
        for line in lines:
            if not line.startswith("|"):
                break
            first, *rest = [each.strip() for each in line.strip("|").split("|")]
            rows[first] = rest
        self.assertTrue(rows, f"no table of {heading}")
        return rows

    def test_nothing_is_stopped_without_its_wrong_step(self):
        counts = cases.run(self.program, self.library, control=True)
        self.assertGreater(sum(each.cases for each in counts.values()), 400)
        for name, found in counts.items():
            self.assertEqual((found.stopped, found.hanging), (0, 0), name)

    def test_every_promise_is_kept(self):
        if self.on_glibc:
            self.skipTest("the promises are mete's")
        promises = self.table("class of misuse")
        counts = cases.run(self.program, self.library)
        self.assertEqual(list(promises), list(counts), "the document's classes, in their order")
        kept = 0
        for name, found in counts.items():
            with self.subTest(name):
                promise = promises[name][0]
                self.assertIn(promise, (IN_THE_WRONG_CALL, NOTHING))
                self.assertEqual(found.hanging, 0)
                if promise == IN_THE_WRONG_CALL:
                    self.assertEqual((found.stopped, found.at_once), (found.cases, found.cases))
                    kept += 1
        self.assertGreaterEqual(kept, 4, "a promise has been taken back")

    def test_the_figures_are_of_these_cases(self):
        if self.on_glibc:
            self.skipTest("the other run looks at them")
        written = self.table("class")
        for name, found in cases.run(self.program, self.library, control=True).items():
            self.assertEqual(written[name][0], str(found.cases),
                             f"{name}: build the target update_misuse_doc")

    def test_every_named_test_exists(self):
        if self.on_glibc:
            self.skipTest("the other run looks at them")
        text = Path(self.document).read_text()
        for path in re.findall(r"`(test/[\w/]+\.\w+)`", text):
            self.assertTrue((Path(self.document).parent.parent / path).exists(), path)

    def test_glibc_stops_what_it_is_known_to_stop(self):
        if not self.on_glibc:
            self.skipTest("this is about glibc")
        counts = cases.run(self.program)
        for name in ("free or realloc of a pointer into a block",
                     "free or realloc of what never was a block"):
            self.assertEqual(counts[name].at_once, counts[name].cases, name)
        self.assertGreaterEqual(counts["double free"].at_once, counts["double free"].cases // 2)
        self.assertGreaterEqual(counts["underflow"].stopped, counts["underflow"].cases // 2)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    MisuseTest.document, MisuseTest.program = sys.argv[1:3]
    if len(sys.argv) == 4:
        MisuseTest.on_glibc = sys.argv[3] == "--glibc"
        MisuseTest.library = None if MisuseTest.on_glibc else sys.argv[3]
    unittest.main(argv=sys.argv[:1], verbosity=2)
