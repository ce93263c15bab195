"""The job itself, run by Debian's Python: three things that Python programs spend memory on.

Prints one JSON line: what was done, how long it took, and where this process's malloc is.

SPDX-License-Identifier: MIT
"""

import ast
import ctypes
import glob
import hashlib
import json
import os
import resource
import sys
import time


class Library(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p),
                ("symbol", ctypes.c_char_p), ("address", ctypes.c_void_p)]


def file_of(function):
    """The file that a function of this process was loaded from, as the dynamic linker says."""
    library = Library()
    names = ctypes.CDLL(None)
    names.dladdr.argtypes = [ctypes.c_void_p, ctypes.POINTER(Library)]
    found = names.dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(library))
    return os.fsdecode(library.file) if found else ""


def where_malloc_is():
    """The one file that this process's malloc family comes from.

    Asked of several functions: for one whose address the interpreter itself takes, the dynamic
    linker answers with a stub inside the interpreter, which says nothing.
    """
    names = ctypes.CDLL(None)
    family = ("malloc", "free", "calloc", "realloc", "aligned_alloc", "malloc_usable_size")
    files = {file_of(names[name]) for name in family} - {file_of(names.Py_Main)}
    return " and ".join(sorted(files))


def mete_version():
    """What the loaded mete says; nothing when none is loaded or malloc is not mete's."""
    names = ctypes.CDLL(None)
    try:
        version = names.mete_version
    except AttributeError:
        return ""
    version.restype = ctypes.c_char_p
    names.malloc.restype = ctypes.c_void_p
    names.mete_malloc_usable_size.restype = ctypes.c_size_t
    block = ctypes.c_void_p(names.malloc(ctypes.c_size_t(5000)))
    usable = names.mete_malloc_usable_size(block)
    names.free(block)
    return version().decode() if usable >= 5000 else ""


def parse_standard_library(scale, digest):
    """Syntax trees of the standard library's modules, each dropped after use."""
    folder = os.path.dirname(os.__file__)
    files = sorted(glob.glob(os.path.join(folder, "*.py")))
    files = files[:max(5, int(110 * scale))]
    for path in files:
        with open(path, encoding="utf-8") as source:
            tree = ast.parse(source.read(), path)
        digest.update(str(sum(1 for _ in ast.walk(tree))).encode())
    return len(files)


def round_trip_json(scale, digest):
    """Documents out and in, as a service does all day."""
    documents = max(2, int(60 * scale))
    for number in range(documents):
        document = [{"id": number * 1000 + row, "name": f"user {row}", "mail": f"u{row}@example.org",
                     "tags": ["a", "bb", "ccc" * (row % 20)], "note": "x" * (row % 700),
                     "score": row / 7} for row in range(2500)]
        text = json.dumps(document)
        if json.loads(text) != document:
            sys.exit("a JSON document did not survive the round trip")
        digest.update(text.encode())
    return documents


def build_and_drop_dictionaries(scale, digest):
    """Large tables that grow, lose a part, and go: what a cache does."""
    tables = max(2, int(14 * scale))
    for number in range(tables):
        table = {f"key {number} {entry}": [entry] * (entry % 90) for entry in range(60_000)}
        for entry in range(0, 60_000, 3):
            del table[f"key {number} {entry}"]
        table.update((entry, bytes(entry % 1500)) for entry in range(20_000))
        digest.update(str(len(table)).encode())
    return tables


def main():
    scale = float(sys.argv[1])
    digest = hashlib.sha256()
    started = time.perf_counter()
    operations = sum(part(scale, digest) for part in (
        parse_standard_library, round_trip_json, build_and_drop_dictionaries))
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/status", encoding="utf-8") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "operations_per_second": operations / seconds,
        "peak_mib": peak_kib / 1024,
        "result": digest.hexdigest(),
        "malloc_from": where_malloc_is(),
        "mete_version": mete_version(),
    }))


main()
