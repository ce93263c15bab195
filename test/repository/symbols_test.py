#!/usr/bin/env python3
"""What libmete.so takes from others, what it shows to others, and how it wants to be loaded.

  - it needs libc and nothing else; of the C++ runtime it names only what is listed here, weakly
  - nothing inside it allocates: not the library, and none of its object files by itself
  - it exports exactly what exports.txt lists
  - it is never unloaded, its stack is not executable, its text is not relocated, and its TLS is small
    enough for dlopen() to find room

Usage: symbols_test.py <exports.txt> <libmete.so> <object file>...
SPDX-License-Identifier: MIT
"""
import re
import subprocess
import sys
import unittest
from collections import namedtuple
from pathlib import Path

# dlopen() gives all libraries together about 1.5 KiB of static TLS that was not planned for.
MAX_TLS_BYTES = 1228

NEEDED = re.compile(r"libc\.so\.6|libpthread\.so\.0|ld-linux[\w-]*\.so\.\d")

# Resolved when there is a C++ runtime in the process, null when there is none.
WEAK_OF_THE_RUNTIME = {
    "_ZSt15get_new_handlerv",
    "_ZSt17__throw_bad_allocv",
    "_ZSt9terminatev",
    "__cxa_begin_catch",
    "__cxa_end_catch",
    "__gxx_personality_v0",
}
# Named by the C compiler's own start files.
WEAK_OF_THE_COMPILER = {
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
    "__cxa_finalize",
    "__gmon_start__",
}

# Of the dynamic loader, from glibc 2.35 on.
WEAK_OF_THE_LOADER = {"__rseq_offset", "__rseq_size"}

# Functions of libc that allocate, or may: in an allocator each of them is a recursion.
ALLOCATING = re.compile(
    r"(__libc_)?(malloc|calloc|realloc|reallocarray|free|memalign|valloc|pvalloc)"
    r"|aligned_alloc|posix_memalign|strn?dup|wcsdup|v?asprintf|getline|getdelim|fopen\w*|fdopen"
    r"|open_memstream|opendir|scandir|qsort\w*|setlocale|realpath|popen|getaddrinfo|tmpfile"
    r"|backtrace_symbols|regcomp|glob|v?syslog"
)
# Any C++ name that is not of mete's own namespace, and what std::iostream brings along.
FOREIGN_CPP = re.compile(r"_Z(?!N?K?4mete|\w*N4mete)\w*|__cxa_\w+|__dynamic_cast|__gxx_\w+")

Symbol = namedtuple("Symbol", "name version bind visibility section")


def parse_symbols(text):
    """The symbols in the output of readelf --symbols or --dyn-syms."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        _, _, _, _, bind, visibility, section, full_name = fields[:8]
        name, _, version = full_name.partition("@")
        yield Symbol(name, version.lstrip("@"), bind, visibility, section)


def undefined(symbols):
    return [each for each in symbols if each.section == "UND" and each.name]


def faults_of_imports(symbols):
    """`symbols`: the dynamic ones of the library."""
    for symbol in undefined(symbols):
        if symbol.name in WEAK_OF_THE_RUNTIME | WEAK_OF_THE_COMPILER:
            if symbol.bind != "WEAK":
                yield f"{symbol.name} must be weak: a C program has no C++ runtime"
        elif symbol.name in WEAK_OF_THE_LOADER:
            if symbol.bind != "WEAK":
                yield f"{symbol.name} must be weak: an older C library has none"
        elif not symbol.version.startswith("GLIBC_"):
            yield f"{symbol.name}@{symbol.version} is not libc's"
        if symbol.name in WEAK_OF_THE_RUNTIME and symbol.version:
            yield f"{symbol.name}@{symbol.version} ties the library to one C++ runtime"


def faults_of_exports(symbols, expected):
    exported = {
        each.name
        for each in symbols
        if each.section != "UND" and each.bind in ("GLOBAL", "WEAK", "UNIQUE")
    }
    for name in sorted(exported - expected):
        yield f"{name} is exported, but exports.txt does not list it: hide it, or list it on purpose"
    for name in sorted(expected - exported):
        yield f"{name} is listed in exports.txt, but not exported"


def faults_of_objects(symbols_by_object):
    """Uses of what allocates, and of C++'s runtime. Names that an object defines don't count."""
    defined = {
        each.name
        for symbols in symbols_by_object.values()
        for each in symbols
        if each.section != "UND" and each.bind != "LOCAL"
    }
    for path, symbols in symbols_by_object.items():
        for symbol in undefined(symbols):
            if symbol.name in defined:
                continue
            if ALLOCATING.fullmatch(symbol.name):
                yield f"{path} uses {symbol.name}, which allocates"
            elif FOREIGN_CPP.fullmatch(symbol.name) and symbol.name not in WEAK_OF_THE_RUNTIME:
                yield f"{path} uses {symbol.name}, of the C++ runtime"


def faults_of_loading(dynamic, segments):
    """`dynamic`, `segments`: the output of readelf --dynamic and --segments."""
    for library in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDED.fullmatch(library):
            yield f"it needs {library}"
    if not re.search(r"\(FLAGS_1\).*\bNODELETE\b", dynamic):
        yield "it may be unloaded while threads are inside: link with -z nodelete"
    if re.search(r"\(TEXTREL\)|\(FLAGS\).*\bTEXTREL\b", dynamic):
        yield "its text is relocated: an object is not position-independent"
    stack = re.search(r"^\s*GNU_STACK(?:\s+0x[0-9a-f]+){5}\s([RWE ]+)\s0x", segments, re.MULTILINE)
    if stack is None or "E" in stack.group(1):
        yield "it asks for an executable stack"
    tls = re.search(r"^\s*TLS(?:\s+0x[0-9a-f]+){4}\s+(0x[0-9a-f]+)", segments, re.MULTILINE)
    if tls is None:
        yield "it has no TLS segment, so this test does not know what it is looking at"
    elif int(tls.group(1), 16) > MAX_TLS_BYTES:
        yield f"its TLS takes {int(tls.group(1), 16)} bytes, more than {MAX_TLS_BYTES}: dlopen() may fail"


def readelf(option, path):
    command = ["readelf", "--wide", option, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class LibraryTest(unittest.TestCase):
    exports = library = None
    objects = []

    def assert_none(self, faults):
        faults = list(faults)
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def dynamic_symbols(self):
        return list(parse_symbols(readelf("--dyn-syms", self.library)))

    def test_imports_are_libc_only(self):
        self.assert_none(faults_of_imports(self.dynamic_symbols()))

    def test_exports_are_those_listed(self):
        lines = Path(self.exports).read_text().splitlines()
        expected = {line.strip() for line in lines if line.strip() and line[0] != "#"}
        self.assert_none(faults_of_exports(self.dynamic_symbols(), expected))

    def test_objects_neither_allocate_nor_use_the_runtime(self):
        self.assertGreater(len(self.objects), 10, "too few object files: a wrong command line?")
        symbols = {path: list(parse_symbols(readelf("--symbols", path))) for path in self.objects}
        self.assert_none(faults_of_objects(symbols))

    def test_how_it_is_loaded(self):
        self.assert_none(
            faults_of_loading(readelf("--dynamic", self.library), readelf("--segments", self.library))
        )


class CheckerTest(unittest.TestCase):
    """The checker itself, on lines as readelf prints them, each with one fault."""

    LINE = "    12: 0000000000000000     0 {type}    {bind} DEFAULT  {section} {name}\n"

    def symbols(self, *entries):
        return list(
            parse_symbols(
                "".join(
                    self.LINE.format(type="FUNC", bind=bind, section=section, name=name)
                    for bind, section, name in entries
                )
            )
        )

    def assert_found(self, faults, expected):
        faults = list(faults)
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(expected, faults[0])

    def test_imports(self):
        good = self.symbols(
            ("GLOBAL", "UND", "mmap@GLIBC_2.2.5 (2)"), ("WEAK", "UND", "__cxa_end_catch")
        )
        self.assertEqual(list(faults_of_imports(good)), [])
        strong = self.symbols(("GLOBAL", "UND", "_ZSt9terminatev"))
        self.assert_found(faults_of_imports(strong), "must be weak")
        bound = self.symbols(("WEAK", "UND", "__cxa_end_catch@CXXABI_1.3 (6)"))
        self.assert_found(faults_of_imports(bound), "ties the library to one")
        unknown = self.symbols(("GLOBAL", "UND", "_ZNSt6localeC1Ev@GLIBCXX_3.4 (3)"))
        self.assert_found(faults_of_imports(unknown), "is not libc's")

    def test_exports(self):
        shown = self.symbols(("GLOBAL", "12", "malloc"), ("WEAK", "12", "_ZN4mete5spillEv"))
        self.assert_found(faults_of_exports(shown, {"malloc"}), "_ZN4mete5spillEv is exported")
        self.assert_found(
            faults_of_exports(shown[:1], {"malloc", "free"}), "free is listed in exports.txt"
        )

    def test_objects(self):
        good = {
            "a.o": self.symbols(("GLOBAL", "UND", "_ZN4mete5front12allocateEm")),
            "b.o": self.symbols(("WEAK", "5", "_ZSt6__sortIPPv"), ("GLOBAL", "UND", "memcpy")),
            "c.o": self.symbols(("GLOBAL", "UND", "_ZNK4mete7message5printEv")),
        }
        self.assertEqual(list(faults_of_objects(good)), [])
        for name in ("malloc", "free", "strdup", "qsort", "fopen"):
            one = {"a.o": self.symbols(("GLOBAL", "UND", name))}
            self.assert_found(faults_of_objects(one), f"a.o uses {name}, which allocates")
        for name in ("_Znwm", "_ZdlPv", "_ZSt4cout", "_ZNSt8ios_base4InitC1Ev", "__cxa_guard_acquire"):
            one = {"a.o": self.symbols(("GLOBAL", "UND", name))}
            self.assert_found(faults_of_objects(one), "of the C++ runtime")

    def test_loading(self):
        dynamic = (
            " 0x1 (NEEDED)  Shared library: [libc.so.6]\n"
            " 0x1e (FLAGS)  BIND_NOW STATIC_TLS\n"
            " 0x6ffffffb (FLAGS_1)  Flags: NOW NODELETE\n"
        )
        segments = (
            "  TLS            0x017570 0x0000000000017570 0x0000000000017570 0x000410 0x000410 R   0x8\n"
            "  GNU_STACK      0x000000 0x0000000000000000 0x0000000000000000 0x000000 0x000000 RW  0x10\n"
        )
        self.assertEqual(list(faults_of_loading(dynamic, segments)), [])
        broken = dynamic.replace("libc.so.6", "libstdc++.so.6")
        self.assert_found(faults_of_loading(broken, segments), "it needs libstdc++.so.6")
        broken = dynamic.replace("NODELETE", "")
        self.assert_found(faults_of_loading(broken, segments), "may be unloaded")
        broken = dynamic.replace("BIND_NOW", "BIND_NOW TEXTREL")
        self.assert_found(faults_of_loading(broken, segments), "text is relocated")
        broken = segments.replace("RW ", "RWE")
        self.assert_found(faults_of_loading(dynamic, broken), "executable stack")
        broken = segments.replace("0x000410 R", "0x000900 R")
        self.assert_found(faults_of_loading(dynamic, broken), "its TLS takes 2304 bytes")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: symbols_test.py <exports.txt> <libmete.so> <object file>...")
    LibraryTest.exports, LibraryTest.library, *LibraryTest.objects = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
