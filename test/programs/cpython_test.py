# SPDX-License-Identifier: MIT
"""CPython: its own regression tests, each test case with the same outcome on both allocators.

PYTHONMALLOC=malloc sends every object to malloc; without it most of them come from arenas that the
interpreter maps itself. The long form runs both ways.
"""

import os
import re
import xml.etree.ElementTree

import lib

PACKAGE = "libpython3.11-testsuite"
QUICK = ["test_json", "test_dict", "test_list", "test_re", "test_ctypes"]
LONG = QUICK + ["test_threading", "test_subprocess"]


def outcomes(report):
    """One line for each test case: its name, how it ended, and why where it did not complete."""
    lines = []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        reason = "".join(f" {child.tag}" for child in case if child.tag in ("failure", "error"))
        lines.append(f"{case.get('name')}: {case.get('status')} {case.get('result')}{reason}")
    return "\n".join(sorted(lines))


def job(session):
    python = lib.find_command("python3", "python3", places=["/usr/bin"])
    version, _ = session.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                             observe=False)
    tests = f"/usr/lib/python{version.decode().strip()}/test/test_json"
    lib.check(os.path.isdir(tests), f"CPython's own tests are not installed; remedy: apt-get "
              f"install {PACKAGE.replace('3.11', version.decode().strip())}")
    results = {}
    for name in ["malloc", "default"] if session.long else ["malloc"]:
        modules = LONG if session.long else QUICK
        report = session.directory / f"{name}.xml"
        output, _ = session.run([python, "-m", "test", f"--junit-xml={report}", *modules],
                                environment={"PYTHONMALLOC": name}, expect_stderr=True)
        lib.check(re.search(rb"Tests result: SUCCESS", output), "no success line in the output")
        results[f"outcomes with PYTHONMALLOC={name}"] = outcomes(report)
    return results


if __name__ == "__main__":
    lib.main("cpython", job)
