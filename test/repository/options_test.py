#!/usr/bin/env python3
"""docs/options.md is what options_doc prints: the documentation follows the table in the code.

Usage: options_test.py <options.md> <options_doc and what runs it>...
SPDX-License-Identifier: MIT
"""
import difflib
import re
import subprocess
import sys
import unittest
from pathlib import Path


class OptionsTest(unittest.TestCase):
    document = None
    command = []

    def printed(self):
        return subprocess.run(self.command, check=True, capture_output=True, text=True).stdout

    def test_the_document_is_up_to_date(self):
        wanted = self.printed().splitlines()
        found = Path(self.document).read_text().splitlines()
        difference = difflib.unified_diff(found, wanted, str(self.document), "options_doc", lineterm="")
        self.assertEqual(
            found,
            wanted,
            "\nbuild the target update_options_doc to renew it:\n" + "\n".join(difference),
        )

    def test_every_option_is_described(self):
        text = self.printed()
        names = re.findall(r"^## `(\w+)`$", text, re.MULTILINE)
        self.assertIn("decay_ms", names)
        self.assertEqual(len(names), len(set(names)))
        rows = re.findall(r"^\| -?\d+[kmg]? \| -?\d+[kmg]? \| -?\d+[kmg]? \|", text, re.MULTILINE)
        self.assertEqual(len(rows), len(names), "one row of default and bounds for each option")
        self.assertNotIn("fail_os_call", names, "an option for tests is no option for users")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: options_test.py <options.md> <options_doc and what runs it>...")
    OptionsTest.document, *OptionsTest.command = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
