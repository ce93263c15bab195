"""Counts what a ctest run did, from its JUnit report, for script/test.

Prints "passed failed skipped" on the first line, then one line for each test that failed or was
skipped, and for each part of a test that skipped itself. A test counts as skipped only when it said so itself; one that did not run for any other
reason (no executable, a fixture that failed) has failed, and so has a report without tests.

SPDX-License-Identifier: MIT
"""

import re
import sys
import xml.etree.ElementTree as ElementTree


def reason_of(test):
    """The last line that a test printed: a test that skips itself says why there."""
    lines = [line.strip() for line in (test.findtext("system-out") or "").splitlines()]
    lines = [line for line in lines if line]
    return lines[-1][:120] if lines else "no reason was printed"


def outcome(test):
    status = test.get("status")
    if status == "run":
        return "passed"
    if status == "disabled":
        return "skipped"
    skipped = test.find("skipped")
    if skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "failed"


def parts_left_out(test):
    """What a test of Python's says when one of its parts skips itself, though it passes."""
    text = test.findtext("system-out") or ""
    return re.findall(r"^(\w+) \(.*\.\.\. skipped ['\"](.*)['\"]$", text, re.MULTILINE)


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    notes = []
    try:
        tests = list(ElementTree.parse(sys.argv[1]).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        tests = []
        notes.append(f"no report of the tests: {error}")
    for test in tests:
        result = outcome(test)
        counts[result] += 1
        if result == "failed":
            notes.append(f"failed: {test.get('name')}")
        elif result == "skipped":
            notes.append(f"skipped: {test.get('name')}: {reason_of(test)}")
        else:
            for part, reason in parts_left_out(test):
                notes.append(f"left out: {part} of {test.get('name')}: {reason[:120]}")
    if not tests:
        counts["failed"] = 1
        notes.append("failed: no test ran")
    print(counts["passed"], counts["failed"], counts["skipped"])
    for note in notes:
        print(note)


main()
