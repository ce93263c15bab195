#!/usr/bin/env python3
"""Every public header compiles alone and twice: *.h as C99 and as C++20, *.hpp as C++20, without a
warning, and without the C++ standard library where it is a *.h. All *.hpp compile together, by GCC
and Clang, and by Clang 19 where it is installed, with and without exceptions and RTTI. With --all,
each of them does so alone, too (minutes).

Usage: headers_test.py <include folder> <C compiler> <C++ compiler> [--all]
SPDX-License-Identifier: MIT
"""
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-pedantic-errors", "-Werror", "-fsyntax-only"]
C = ["-x", "c", "-std=c99", "-Wstrict-prototypes"]
CPP = ["-x", "c++", "-std=c++20", "-Wshadow", "-Wconversion"]
EMBEDDED = ["-fno-exceptions", "-fno-rtti"]


def compile_text(compiler, language, include, text):
    """What the compiler has to say; empty if it is content."""
    command = [compiler, *language, *WARNINGS, "-I", str(include), "-"]
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stderr or f"exit status {result.returncode}"


def faults(include, c_compiler, cpp_compiler):
    for header in sorted((include / "mete").rglob("*.h*")):
        name = header.relative_to(include)
        text = f"#include <{name}>\n#include <{name}>\nint nothing_else;\n"
        languages = [(cpp_compiler, CPP)]
        if header.suffix == ".h":
            languages = [(c_compiler, C), (cpp_compiler, [*CPP, "-nostdinc++"])]
        for compiler, language in languages:
            said = compile_text(compiler, language, include, text)
            if said:
                yield f"{name} as {language[2]}: {said}"


def left_out(include):
    """Headers of the toolkit that toolkit.hpp does not include."""
    folder = include / "mete"
    included = set(re.findall(r"#include <mete/(.*)>", (folder / "toolkit.hpp").read_text()))
    return sorted({header.name for header in folder.glob("*.hpp")} - included - {"toolkit.hpp"})


def faults_by_all_compilers(include, cpp_compiler, headers):
    """Each header alone. Only the newest compiler may be missing: --all installs it."""
    names = [cpp_compiler, "g++", "clang++"]
    if shutil.which("clang++-19"):
        names.append("clang++-19")
    for name in names:
        if not shutil.which(name):
            yield f"{name} is not installed; remedy: script/bootstrap test"
    for compiler in sorted({shutil.which(name) for name in names} - {None}):
        for options in ([], EMBEDDED):
            for name in headers:
                said = compile_text(compiler, [*CPP, *options], include, f"#include <{name}>\n")
                if said:
                    yield f"{name} by {compiler} {' '.join(options)}: {said}"


def faults_together(include, cpp_compiler):
    return faults_by_all_compilers(include, cpp_compiler, ["mete/toolkit.hpp"])


class HeadersTest(unittest.TestCase):
    include = c_compiler = cpp_compiler = None
    all_alone = False

    def test_every_header_compiles_alone(self):
        self.assertTrue((self.include / "mete/mete.h").is_file(), f"no mete.h in {self.include}")
        found = list(faults(self.include, self.c_compiler, self.cpp_compiler))
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_the_toolkit_compiles_together(self):
        self.assertEqual(left_out(self.include), [])
        found = list(faults_together(self.include, self.cpp_compiler))
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_every_header_of_the_toolkit_compiles_alone_by_all_compilers(self):
        if not self.all_alone:
            self.skipTest("long: only with --all")
        headers = sorted(str(header.relative_to(self.include))
                         for header in (self.include / "mete").rglob("*.hpp"))
        found = list(faults_by_all_compilers(self.include, self.cpp_compiler, headers))
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_faults_of_the_toolkit_are_found(self):
        with tempfile.TemporaryDirectory() as folder:
            include = Path(folder)
            (include / "mete").mkdir()
            (include / "mete/toolkit.hpp").write_text("#include <mete/one.hpp>\n")
            (include / "mete/one.hpp").write_text("inline void f() { throw 1; }\n")
            (include / "mete/two.hpp").write_text("")
            self.assertEqual(left_out(include), ["two.hpp"])
            found = list(faults_together(include, self.cpp_compiler))
            self.assertTrue(found and all(EMBEDDED[0] in fault for fault in found), found)

    def test_faults_are_found(self):
        broken = {
            "needs_another.h": "size_t f(void);\n",
            "no_guard.h": "struct s { int i; };\n",
            "not_c.h": "bool f(void);\n",
            "not_pedantic.h": "#ifndef H\n#define H\nstruct s { int i; int a[0]; };\n#endif\n",
        }
        for name, text in broken.items():
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "mete").mkdir()
                (Path(folder) / "mete" / name).write_text(text)
                found = list(faults(Path(folder), self.c_compiler, self.cpp_compiler))
                self.assertTrue(found, f"{name} was found to be in order:\n{text}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[4:] not in ([], ["--all"]):
        sys.exit("usage: headers_test.py <include folder> <C compiler> <C++ compiler> [--all]")
    HeadersTest.include = Path(sys.argv[1])
    HeadersTest.c_compiler, HeadersTest.cpp_compiler = sys.argv[2:4]
    HeadersTest.all_alone = len(sys.argv) == 5
    unittest.main(argv=sys.argv[:1], verbosity=2)
