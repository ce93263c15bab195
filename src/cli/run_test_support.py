"""What the tests of `mete run` share: building programs, calling the command, judging it.

A small library that passes malloc on to the C library stands in for libmete.so, so that these tests
are about the command alone. It is copied, with the command, into a tree of its own that any user
may read, because some cases run as another user.

SPDX-License-Identifier: MIT
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

METE = None      # the copy under test: <prefix>/bin/mete
LIBRARY = None   # the stand-in: <prefix>/lib/libmete.so
FOLDER = None    # for everything that a test builds
COMPILERS = []
NOBODY = 65534

STAND_IN = """
#include <stddef.h>
void *__libc_malloc(size_t); void __libc_free(void *);
void *__libc_calloc(size_t, size_t); void *__libc_realloc(void *, size_t);
void *malloc(size_t n) { return __libc_malloc(n); }
void free(void *p) { __libc_free(p); }
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
"""

# The stand-in with everything that must come from one library.
WHOLE = STAND_IN + """
void *__libc_memalign(size_t, size_t);
void *memalign(size_t a, size_t n) { return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return __libc_memalign(a, n); }
void *valloc(size_t n) { return __libc_memalign(4096, n); }
int posix_memalign(void **p, size_t a, size_t n) { return !(*p = __libc_memalign(a, n)); }
size_t malloc_usable_size(void *p) { return 0; }
"""

# Tells whether the library is in this process, and that malloc works.
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
  static char line[4096];
  FILE *maps = fopen("/proc/self/maps", "r");
  int found = 0;
  while (maps && fgets(line, sizeof line, maps)) found |= strstr(line, "/libmete.so") != NULL;
  free(malloc(100));
  puts(found ? "on mete" : "not on mete");
  return argc > 1 ? atoi(argv[1]) : 0;
}
"""

# What a C++ program may replace ([new.delete]): with a pool of its own, or on malloc.
OWN_POOL = """
#include <new>
#include <stddef.h>
static char pool[1 << 20]; static size_t used;
void *operator new(size_t n) { void *p = pool + used; used += (n + 15) & ~(size_t)15; return p; }
void operator delete(void *) noexcept { }
"""
OWN_ON_MALLOC = """
#include <new>
#include <stddef.h>
#include <stdlib.h>
void *operator new(size_t n) { return malloc(n); }
void operator delete(void *p) noexcept { free(p); }
"""
USES_NEW = """
struct thing { int x[10]; ~thing() { x[0] = 0; } };
__attribute__((constructor)) static void use_new() {
  delete new thing; delete[] new thing[3]; delete new (std::nothrow) thing;
}
"""


def build(name, source, *flags, compiler=None):
    """Compiles `source`. That it can is a matter of packages, so that it is no reason to skip."""
    path = os.path.join(FOLDER, name)
    with open(path + ".c", "w") as file:
        file.write(source)
    command = [compiler or COMPILERS[0], "-O1", "-w", "-o", path, path + ".c", *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"cannot build {name} ({' '.join(flags)}); is a package missing "
                             f"(script/bootstrap test)? {result.stderr[-1000:]}")
    return path


def build_cxx(name, source, *flags):
    """The same as C++. GCC's driver takes any file for C++ when it is called g++."""
    compiler = {"gcc": "g++", "clang": "clang++"}.get(os.path.basename(COMPILERS[0]), "g++")
    return build(name, source, *flags, compiler=compiler)


def write(name, content, mode=0o755):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)
    return path


def run(*arguments, env=None, options=(), **more):
    """Runs `mete run <options> -- <arguments>`."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("LD_PRELOAD", "METE_OPTIONS")}
    environment.update(env or {})
    return subprocess.run([METE, "run", *options, "--", *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


class RunTest(unittest.TestCase):
    def check_runs(self, result, output, status=0):
        self.assertEqual((result.stderr, result.stdout, result.returncode), ("", output, status))

    def check_refused(self, result, status, *words):
        """One line on standard error that names everything in `words`, and nothing was run."""
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"\Amete run: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)


def prepare(mete, compilers):
    """Sets the globals up: the tree with the copy of the command and the stand-in."""
    global METE, LIBRARY, FOLDER
    FOLDER = os.path.realpath(tempfile.mkdtemp(prefix="mete_run_test_"))
    os.chmod(FOLDER, 0o755)
    for each in compilers:
        if not shutil.which(each):
            sys.exit(f"{each} is not installed; remedy: script/bootstrap test, or name compilers "
                     "with --cc")
    COMPILERS.extend(compilers)
    for folder in ("bin", "lib"):
        os.mkdir(os.path.join(FOLDER, folder))
    METE = shutil.copy(mete, os.path.join(FOLDER, "bin", "mete"))
    LIBRARY = build("lib/libmete.so", WHOLE, "-shared", "-fPIC")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mete", required=True, help="the command to test")
    parser.add_argument("--cc", action="append", help="a C compiler (repeatable)")
    parser.add_argument("tests", nargs="*", help="Class or Class.test; all when none is named")
    arguments = parser.parse_args()
    os.umask(0o022)
    prepare(arguments.mete, arguments.cc or ["gcc", "clang"])
    try:
        program = unittest.main(argv=[sys.argv[0], "-v", *arguments.tests], exit=False)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(not program.result.wasSuccessful())
