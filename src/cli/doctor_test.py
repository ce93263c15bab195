#!/usr/bin/env python3
"""Tests `mete doctor` from outside: real programs and processes of every kind that it tells apart.

    doctor_test.py --mete build/bin/mete [--cc gcc] [test names...]

SPDX-License-Identifier: MIT
"""
import json
import os
import platform
import re
import resource
import struct
import subprocess
import time
import unittest

import run_test_support as support
from run_test_support import (OWN_ON_MALLOC, OWN_POOL, STAND_IN, USES_NEW, WHOLE, as_nobody,
                              build, build_cxx, write)

# Says that it runs, and waits until its standard input ends.
WAITS = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
  free(malloc(100));
  if (argc > 1 && !strcmp(argv[1], "title"))
    for (char **each = environ; *each; ++each) memset(*each, 0, strlen(*each));
  if (argc > 1 && !strcmp(argv[1], "touch")) close(creat(argv[2], 0600));
  write(1, "ready\\n", 6);
  while (read(0, environ, 1) > 0) { }
}
"""

MACHINE = {"cgroup memory", "overcommit", "mappings"}
VARIABLES = ("LD_PRELOAD", "METE_OPTIONS", "GLIBC_TUNABLES", "PYTHONMALLOC")


def environment(env):
    """This one without what doctor looks at, and with `env`."""
    return {key: value for key, value in os.environ.items()
            if key not in VARIABLES and "MALLOC" not in key} | (env or {})


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def doctor(*arguments, env=None, **more):
    return subprocess.run([support.METE, "doctor", *arguments], env=environment(env), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **more)


class Waiting:
    """A program that runs inside the `with`."""

    def __init__(self, *arguments, env=None, **more):
        self.process = subprocess.Popen(arguments, env=environment(env), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more)

    def __enter__(self):
        if self.process.stdout.readline() != b"ready\n":
            self.__exit__()
            raise AssertionError(f"{self.process.args} does not run")
        return str(self.process.pid)

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


class DoctorTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.waits = build("waits", WAITS)

    def examine(self, *arguments, status=0, **more):
        """{name of check: [(level, message, remedy)]}; `status`: but for the machine's problems."""
        result = doctor("--json", *arguments, **more)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        checks = {}
        problems = set()
        for each in json.loads(result.stdout)["checks"]:
            checks.setdefault(each["name"], []).append(
                (each["level"], each["message"], each["remedy"]))
            if each["level"] == "problem":
                problems.add(each["name"])
        self.assertEqual(result.returncode == 1, bool(problems))
        self.assertEqual(bool(problems - MACHINE), status == 1, result.stdout)
        return checks

    def check_says(self, found, level, *words):
        """One finding of that level holds all words."""
        said = [f"{message} | {remedy}" for each, message, remedy in found if each == level]
        self.assertTrue(any(all(word in text for word in words) for text in said), (words, found))

    def check_refused(self, result, status, *words):
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        self.assertRegex(result.stderr, r"\Amete doctor: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, result.stderr)

    def needs_root(self):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root, to be another user")


class Processes(DoctorTest):
    def test_on_the_c_library(self):
        with Waiting(self.waits) as process:
            checks = self.examine(process)
        self.check_says(checks["active"], "ok", "malloc, free and ", "libc.so.6 (glibc 2.")
        self.assertNotIn("preload", checks)

    def test_on_mete(self):
        with Waiting(support.METE, "run", "--", self.waits) as process:
            checks = self.examine(process, env={"LD_PRELOAD": "/not/looked/at"})
        self.check_says(checks["active"], "ok", f"{support.LIBRARY} (mete")
        self.check_says(checks["preload"], "ok", support.LIBRARY)

    def test_an_environment_that_is_overwritten(self):
        with Waiting(support.METE, "run", "--", self.waits, "title") as process:
            checks = self.examine(process)
        self.check_says(checks["active"], "ok", f"{support.LIBRARY} (mete")
        self.check_says(checks["environment"], "note", "written over its environment")

    def test_a_linked_allocator(self):
        other = build("libjemalloc.so.2", WHOLE, "-shared", "-fPIC",
                      "-Wl,-soname,libjemalloc.so.2")
        path = build("links_one", WAITS, "-Wl,--no-as-needed", other,
                     f"-Wl,-rpath,{support.FOLDER}")
        with Waiting(path) as process:
            self.check_says(self.examine(process)["active"], "ok", f"{other} (jemalloc")
        with Waiting(support.METE, "run", "--", path) as process:
            checks = self.examine(process)
        self.check_says(checks["active"], "ok", "(mete")
        self.check_says(checks["other"], "note", other, "its malloc is not used")

    def test_an_own_malloc_comes_before_a_preloaded_one(self):
        path = build("own", WAITS + STAND_IN)
        with Waiting(path, env={"LD_PRELOAD": support.LIBRARY}) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["active"], "note", "inside the program itself", path)
        self.check_says(checks["preload"], "problem", support.LIBRARY, "malloc comes from " + path)
        self.check_says(checks["mixed"], "problem", "libmete.so, but malloc from")

    def test_half_an_allocator(self):
        half = build("libhalf.so", "#include <stddef.h>\nvoid *__libc_malloc(size_t);"
                     "void *malloc(size_t n) { return __libc_malloc(n); }", "-shared", "-fPIC")
        with Waiting(self.waits, env={"LD_PRELOAD": half}) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["mixed"], "problem", "free comes from", "libc.so.6", half)

    def test_own_operators(self):
        path = build_cxx("own_new_waits", OWN_POOL + USES_NEW + WAITS)
        with Waiting(support.METE, "run", "--", path) as process:
            checks = self.examine(process)
        self.check_says(checks["active"], "ok", f"{support.LIBRARY} (mete")
        self.check_says(checks["operators"], "note", f"operator new and delete come from {path}",
                        "does not call malloc itself", "build that without")

    def test_operators_of_a_library_behind_the_allocator(self):
        operators = ("void *_Znwm(size_t n) { return malloc(n); }"
                     "void _ZdlPv(void *p) { free(p); }")
        library = build("with_new.so", WHOLE + operators, "-shared", "-fPIC")
        pool = build_cxx("libpool.so", OWN_POOL, "-shared", "-fPIC")
        path = build("links_pool", WAITS, "-Wl,--no-as-needed", pool,
                     f"-Wl,-rpath,{support.FOLDER}")
        with Waiting(path, env={"LD_PRELOAD": library}) as process:
            checks = self.examine(process)
        self.check_says(checks["operators"], "note", pool, "not used", library, "come first")

    def test_an_allocator_inside(self):
        path = build("inside", "static void *_rjem_malloc(unsigned long n) { return 0; }\n"
                     "void *(*volatile use)(unsigned long) = _rjem_malloc;\n" + WAITS)
        with Waiting(path) as process:
            checks = self.examine(process)
        self.check_says(checks["other"], "note", path, "its own jemalloc inside (_rjem_malloc)")

    def test_static(self):
        path = build("static", WAITS, "-static")
        with Waiting(path, env={"LD_PRELOAD": support.LIBRARY}) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["active"], "note", "statically linked", "libmete.a")
        self.check_says(checks["preload"], "problem", support.LIBRARY, "statically linked")

    def test_preloads_that_do_not_exist_or_are_no_library(self):
        text = write("text.so", "no library")
        names = f"/no/such.so {text} nowhere.so"
        with Waiting(self.waits, env={"LD_PRELOAD": names}) as process:
            checks = self.examine(process, status=1)
        self.assertEqual(len(checks["preload"]), 3)
        self.check_says(checks["preload"], "problem", "/no/such.so", "does not exist", "unset")
        self.check_says(checks["preload"], "problem", text, "not a shared library")
        self.check_says(checks["preload"], "problem", "nowhere.so", "whole path")

    def test_a_library_of_another_architecture(self):
        with open(support.LIBRARY, "rb") as file:
            image = bytearray(file.read())
        machine, name = (62, "x86-64") if platform.machine() == "aarch64" else (183, "arm64")
        image[18:20] = struct.pack("<H", machine)
        library = write("other_machine.so", bytes(image))
        with Waiting(self.waits, env={"LD_PRELOAD": library}) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["preload"], "problem", library, f"is built for {name}")

    def test_a_library_that_was_replaced(self):
        library = build("libjemalloc.so.1", WHOLE, "-shared", "-fPIC")
        with Waiting(self.waits, env={"LD_PRELOAD": library}) as process:
            os.remove(library)
            checks = self.examine(process)
        self.check_says(checks["active"], "ok" if os.getuid() == 0 else "note", library)
        self.check_says(checks["preload"], "ok", library)
        self.check_says(checks["replaced"], "note", library, "restart")

    def test_setuid(self):
        self.needs_root()
        path = build("setuid", WAITS)
        os.chmod(path, 0o4755)
        with Waiting(path, env={"LD_PRELOAD": support.LIBRARY, "METE_OPTIONS": "verbose=1"},
                     preexec_fn=as_nobody) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["preload"], "problem", support.LIBRARY, "gained rights")
        self.check_says(checks["METE_OPTIONS"], "note", "not looked at")

    def test_another_root_folder(self):
        self.needs_root()
        root = os.path.join(support.FOLDER, "root")
        os.makedirs(os.path.join(root, "opt"))
        build("root/waits", WAITS, "-static")
        with Waiting("/waits", env={"LD_PRELOAD": "/opt/gone.so"},
                     preexec_fn=lambda: os.chroot(root)) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["preload"], "problem", "/opt/gone.so", "does not exist")

    def test_limits(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        with Waiting(self.waits, preexec_fn=limit) as process:
            checks = self.examine(process)
        self.check_says(checks["limits"], "note", "1024 MiB", "RLIMIT_AS")
        self.check_says(checks["mappings"], "ok", "vm.max_map_count")

    def test_sanitizer(self):
        path = build("address", WAITS, "-fsanitize=address")
        with Waiting(path) as process:
            checks = self.examine(process)
        self.check_says(checks["sanitizer"], "note", path, "-fsanitize=address")

    def test_variables(self):
        env = {"MALLOC_ARENA_MAX": "1", "METE_OPTIONS": "decay_ms=5,dirty=1"}
        with Waiting(support.METE, "run", "--", self.waits, env=env) as process:
            checks = self.examine(process, status=1)
        self.check_says(checks["variables"], "note", "MALLOC_ARENA_MAX", "no effect on mete")
        self.check_says(checks["METE_OPTIONS"], "problem", "unknown option 'dirty'",
                        "dirty_limit=1")


class Programs(DoctorTest):
    def test_is_not_run(self):
        path = os.path.join(support.FOLDER, "touched")
        self.examine("--", self.waits, "touch", path)
        self.assertFalse(os.path.exists(path))

    def test_what_it_would_get(self):
        checks = self.examine("--", self.waits)
        self.check_says(checks["active"], "ok", "would come from", "libc.so.6")
        self.check_says(checks["mete run"], "ok", support.LIBRARY)
        checks = self.examine("--", self.waits, env={"LD_PRELOAD": support.LIBRARY})
        self.check_says(checks["active"], "ok", "would come from", f"{support.LIBRARY} (mete")
        self.assertNotIn("mete run", checks)

    def test_own_operators(self):
        path = build_cxx("own_new", OWN_POOL + USES_NEW + "int main() {}")
        checks = self.examine("--", path)
        self.check_says(checks["operators"], "note", f"operator new and delete come from {path}",
                        "does not call malloc itself")
        self.check_says(checks["mete run"], "note", support.LIBRARY, "in front",
                        f"operator new and delete of {path} would stay before it")
        path = build_cxx("new_on_malloc", OWN_ON_MALLOC + USES_NEW + "int main() {}")
        self.check_says(self.examine("--", path)["operators"], "note", "calls malloc, too")
        path = build_cxx("plain_cxx", "#include <new>" + USES_NEW + "int main() {}")
        checks = self.examine("--", path)
        self.assertNotIn("operators", checks)
        self.check_says(checks["mete run"], "ok", "nothing is in its way")

    def test_part_of_a_malloc(self):
        path = build("own_calloc", WAITS + """
void *__libc_calloc(size_t, size_t);
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
""", "-rdynamic")
        checks = self.examine("--", path, status=1)
        self.check_says(checks["mixed"], "problem", f"calloc comes from {path}")
        self.check_says(checks["mete run"], "note", f"the calloc of {path} would stay before it")

    def test_through_scripts_and_env(self):
        script = write("script", f"#!/usr/bin/env -S -u LD_PRELOAD {self.waits}\n")
        result = doctor("--", script, env={"LD_PRELOAD": support.LIBRARY})
        self.assertIn(f"program {script}, which runs {self.waits}", result.stdout)
        checks = self.examine("--", script, status=1, env={"LD_PRELOAD": support.LIBRARY})
        self.check_says(checks["active"], "ok", "libc.so.6")
        self.check_says(checks["preload"], "problem", "env drops the variable")
        self.check_says(checks["mete run"], "note", "would refuse", "env")

    def test_static(self):
        path = build("static", WAITS, "-static")
        checks = self.examine("--", path)
        self.check_says(checks["active"], "note", "inside the program itself", "statically linked")
        self.check_says(checks["mete run"], "note", "would refuse", "libmete.a")
        self.examine("--", path, status=1, env={"LD_PRELOAD": support.LIBRARY})

    def test_setuid(self):
        self.needs_root()
        path = build("setuid", WAITS)
        os.chmod(path, 0o4755)
        checks = self.examine("--", path, status=1, preexec_fn=as_nobody,
                              env={"LD_PRELOAD": support.LIBRARY})
        self.check_says(checks["preload"], "problem", "is setuid")
        self.check_says(checks["active"], "note", "not known", "is setuid")
        checks = self.examine("--", path, preexec_fn=as_nobody, env={"METE_OPTIONS": "verbose"})
        self.check_says(checks["METE_OPTIONS"], "note", "not looked at", "gains rights")
        self.examine("--", path, env={"LD_PRELOAD": support.LIBRARY})  # for its owner it is none

    def test_what_is_not_glibcs_is_not_run_by_asking_it(self):
        path = build("other_loader", WAITS, "-Wl,-dynamic-linker," + self.waits)
        checks = self.examine("--", path, "touch", "x", input="")
        self.check_says(checks["active"], "note", "not glibc's")

    def test_a_library_that_is_missing(self):
        gone = build("libgone.so", "int gone;", "-shared", "-fPIC", "-Wl,-soname,libgone.so")
        path = build("needs_gone", WAITS, "-Wl,--no-as-needed", gone)
        os.remove(gone)
        checks = self.examine("--", path, status=1)
        self.check_says(checks["library"], "problem", "libgone.so")

    def test_a_program_that_is_not_there(self):
        self.check_refused(doctor("--", "no-such-program"), 127, "'no-such-program'")
        self.check_refused(doctor("--", write("not_executable", "x", 0o644)), 126, "chmod +x")
        checks = self.examine("--", write("garbage", b"\177ELF and no more"))
        self.check_says(checks["active"], "note", "cannot be read")


class Environments(DoctorTest):
    def test_clean(self):
        checks = self.examine()
        self.check_says(checks["active"], "ok", "would come from", "libc.so.6")
        self.assertEqual({"preload", "variables", "METE_OPTIONS"} & set(checks), set())

    def test_preloads(self):
        checks = self.examine(env={"LD_PRELOAD": support.LIBRARY})
        self.check_says(checks["active"], "ok", support.LIBRARY)
        checks = self.examine(env={"LD_PRELOAD": "./lib/libmete.so"}, cwd=support.FOLDER)
        self.check_says(checks["preload"], "note", "./lib/libmete.so relative to this folder")
        for name in ("/no/such.so", "libmete.so", "./libmete.so"):
            checks = self.examine(env={"LD_PRELOAD": name}, status=1)
            self.check_says(checks["preload"], "problem", name)

    def test_options_and_variables(self):
        checks = self.examine(env={"METE_OPTIONS": "decay_ms=1", "MIMALLOC_VERBOSE": "1"})
        self.check_says(checks["variables"], "note", "METE_OPTIONS", "no effect on glibc")
        self.check_says(checks["variables"], "note", "MIMALLOC_VERBOSE", "no effect on glibc")
        checks = self.examine(env={"METE_OPTIONS": "decay_ms=x"}, status=1)
        self.check_says(checks["METE_OPTIONS"], "problem", "decay_ms=x", "write decay_ms=300")


class Output(DoctorTest):
    def test_text(self):
        result = doctor(env={"LD_PRELOAD": "/no/such.so"})
        self.assertEqual(result.returncode, 1)
        lines = result.stdout.splitlines()
        self.assertRegex(lines[0], r"\Athis environment")
        self.assertRegex(lines[-1], r"\A[1-9]\d* problems?, \d+ notes?\Z")
        self.assertIn("problem  LD_PRELOAD names /no/such.so, which does not exist\n"
                      "         remedy: correct the path, or unset LD_PRELOAD\n", result.stdout)
        for line in lines[1:-1]:
            self.assertRegex(line, r"\A(ok       |note     |problem  |         )\S")
            self.assertTrue(len(line) <= 100 or " " not in line[9:].strip(), line)
        self.assertNotIn("\033", result.stdout)

    def test_control_characters_do_not_reach_the_terminal(self):
        with Waiting(self.waits, env={"LD_PRELOAD": "/no/\033[31m\nsuch.so"}) as process:
            result = doctor(process)
        self.assertNotIn("\033", result.stdout)
        self.assertIn("/no/?[31m?such.so", result.stdout)

    def test_json_says_what_was_looked_at(self):
        with Waiting(self.waits) as process:
            seen = json.loads(doctor("--json", process).stdout)["looked_at"]
            self.assertEqual((seen["kind"], seen["process"]), ("process", int(process)))
        self.assertEqual(seen["executable"], self.waits)
        self.assertTrue(any("libc.so.6" in each for each in seen["libraries"]))
        seen = json.loads(doctor("--json", "--", self.waits, "x").stdout)["looked_at"]
        self.assertEqual((seen["kind"], seen["program"]), ("program", [self.waits, "x"]))

    def test_help(self):
        result = doctor("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("mete doctor [options] [PID | -- program args...]", result.stdout)
        listing = subprocess.run([support.METE, "--help"], capture_output=True, text=True).stdout
        self.assertTrue(re.search(r"(?m)^  doctor +\S", listing), listing)


class WrongUse(DoctorTest):
    def test_arguments(self):
        for arguments, words in {("redis-server",): ("'redis-server'", "-- redis-server"),
                                 ("12x",): ("'12x'",),
                                 ("0",): ("'0'",),
                                 ("-7",): ("-7",),
                                 ("",): ("''",),
                                 ("99999999999999999999",): ("no process id",),
                                 ("2147483647",): ("there is no process",),
                                 ("--",): ("no program named",),
                                 ("1", "--", "true"): ("not both",),
                                 ("1", "2"): ("2",),
                                 ("--no-such-option",): ("--no-such-option",),
                                 }.items():
            with self.subTest(arguments):
                self.check_refused(doctor(*arguments), 2, *words)

    def test_an_ended_process(self):
        process = subprocess.Popen(["true"])
        status = f"/proc/{process.pid}/status"
        deadline = time.monotonic() + 60
        while "State:\tZ" not in read(status):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.check_refused(doctor(str(process.pid)), 2, "has ended")
        process.wait()

    def test_a_thread_of_the_kernel(self):
        if "kthreadd" not in read("/proc/2/status"):
            raise unittest.SkipTest("process 2 is none here")
        self.check_refused(doctor("2"), 2, "thread of the kernel")

    def test_a_process_of_somebody_else(self):
        self.needs_root()
        with Waiting(self.waits) as process:
            result = doctor(process, preexec_fn=as_nobody)
        self.check_refused(result, 2, "may not look", "user 0")


if __name__ == "__main__":
    support.main()
