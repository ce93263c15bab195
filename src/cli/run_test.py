#!/usr/bin/env python3
"""Tests `mete run` from outside: what a program sees, how it is found, what is set for it.

    run_test.py --mete build/bin/mete [--cc gcc] [test names...]

SPDX-License-Identifier: MIT
"""
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import unittest

import run_test_support as support
from run_test_support import (OWN_ON_MALLOC, OWN_POOL, PROGRAM, STAND_IN, USES_NEW, RunTest,
                              as_nobody, build, build_cxx, run, write)


class PassesThrough(RunTest):
    """What a program sees and says is as if it had been started without mete."""

    def test_library_is_in_the_process(self):
        self.check_runs(run(build("plain", PROGRAM)), "on mete\n")

    def test_position_dependent_program(self):
        self.check_runs(run(build("no_pie", PROGRAM, "-no-pie")), "on mete\n")

    def test_library_is_in_the_children_too(self):
        self.check_runs(run("sh", "-c", f"{build('child', PROGRAM)}; true"), "on mete\n")

    def test_exit_statuses(self):
        for status in (0, 1, 2, 42, 124, 125, 126, 127, 128, 255):
            self.check_runs(run("sh", "-c", f"exit {status}"), "", status)

    def test_killed_by_its_own_signal(self):
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM):
            result = run("sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
            self.assertEqual(result.returncode, -number)

    def test_signal_reaches_the_program(self):
        script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen([support.METE, "run", "--", "sh", "-c", script], text=True,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.stdout.read(), "got it\n")
            self.assertEqual(process.wait(60), 9)

    def test_untrapped_signal_kills_the_program(self):
        process = subprocess.Popen([support.METE, "run", "--", "sleep", "60"])
        deadline = time.monotonic() + 60
        while os.readlink(f"/proc/{process.pid}/exe") == support.METE:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), -signal.SIGTERM)

    def test_ignored_signals_stay_ignored(self):
        result = run("grep", "SigIgn", "/proc/self/status",
                     preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertEqual(int(result.stdout.split()[1], 16) & 1, 1)

    def test_same_process(self):
        with subprocess.Popen([support.METE, "run", "--", "sh", "-c", "echo $$ $PPID"], text=True,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.read().split(), [str(process.pid), str(os.getpid())])

    def test_standard_input_and_no_other_descriptors(self):
        self.check_runs(run("cat", input="a\nb"), "a\nb")
        listing = [support.METE, "run", "--", "ls", "/proc/self/fd"]
        with_mete = subprocess.run(listing, capture_output=True, text=True)
        without = subprocess.run(listing[3:], capture_output=True, text=True)
        self.assertEqual(with_mete.stdout, without.stdout)

    def test_arguments_unchanged(self):
        arguments = ["a b", "", "*", "--", "-O", "'\"\\", "--library", "new\nline", "\u00e9"]
        result = run("printf", "[%s]", *arguments)
        self.check_runs(result, "".join(f"[{each}]" for each in arguments))

    def test_name_of_the_program_as_it_was_typed(self):
        self.check_runs(run("cat", "/proc/self/cmdline"), "cat\0/proc/self/cmdline\0")

    def test_without_the_marker(self):
        program = ["sh", "-c", "echo $METE_OPTIONS $0 $1", "-O", "b=2"]
        result = subprocess.run([support.METE, "run", "-O", "a=1", *program], capture_output=True,
                                text=True)
        self.check_runs(result, "a=1 -O b=2\n")

    def test_executable_that_cannot_be_read(self):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root, to be another user without rights")
        path = build("unreadable", PROGRAM)
        os.chmod(path, 0o711)
        result = run(path, "7", preexec_fn=as_nobody)
        self.assertEqual((result.stderr, result.returncode), ("", 7))


class FindsThePrograms(RunTest):
    """Lookup by execvp's rules, and scripts."""

    def test_absent(self):
        self.check_refused(run("no-such-program"), 127, "'no-such-program'", "PATH")
        self.check_refused(run("/no/such"), 127, "'/no/such'")
        self.check_refused(run(""), 127, "''")

    def test_folders_without_rights(self):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root, to be another user without rights")
        folder = os.path.join(support.FOLDER, "closed")
        os.mkdir(folder, 0o700)
        self.check_refused(run("no-such-program", env={"PATH": folder}, preexec_fn=as_nobody),
                           127, "'no-such-program'", "PATH")
        self.check_refused(run(folder + "/program", preexec_fn=as_nobody), 126, "may not search")

    def test_not_executable(self):
        path = write("not_executable", "#!/bin/sh\n", 0o644)
        self.check_refused(run(path), 126, path, "chmod +x")
        self.check_refused(run(support.FOLDER), 126, "is a directory")
        self.check_refused(run("not_executable", env={"PATH": support.FOLDER}), 126, "chmod +x")

    def test_path_search_goes_on_behind_what_may_not_be_executed(self):
        first = os.path.join(support.FOLDER, "first")
        os.makedirs(os.path.join(first, "tool"), exist_ok=True)
        write("tool", "#!/bin/sh\necho second\n")
        folders = f"/no/such:{first}:{support.FOLDER}"
        self.check_runs(run("tool", env={"PATH": folders}), "second\n")

    def test_empty_part_of_path_is_the_working_directory(self):
        write("here", "#!/bin/sh\necho $0\n")
        self.check_runs(run("here", env={"PATH": "/no/such:"}, cwd=support.FOLDER), "./here\n")

    def test_text_without_interpreter_goes_to_the_shell(self):
        self.check_runs(run(write("text", "echo $0 $1\n"), "x"), f"{support.FOLDER}/text x\n")
        self.check_runs(run(write("empty", "")), "")

    def test_scripts(self):
        program = build("interpreter", PROGRAM)
        cases = {
            "direct": f"#!{program}\n",
            "blanks": f"#! \t {program} 0 \n",
            "nested": f"#!{support.FOLDER}/direct\n",
            "env": "#!/usr/bin/env interpreter\n",
            "env_split": "#!/usr/bin/env -S A=1 interpreter 0\n",
        }
        for name, text in cases.items():
            with self.subTest(name):
                path = write(name, text)
                environment = {"PATH": f"{support.FOLDER}:{os.environ['PATH']}"}
                self.check_runs(run(path, env=environment), "on mete\n")

    def test_script_without_its_interpreter(self):
        path = write("lost", "#!/no/such/interpreter\n")
        self.check_refused(run(path), 127, path, "/no/such/interpreter")

    def test_script_of_a_static_interpreter(self):
        static = build("static_interpreter", PROGRAM, "-static")
        lines = {"of_static": f"#!{static}", "of_static_2": f"#!{support.FOLDER}/of_static",
                 "of_static_env": f"#!/usr/bin/env {static}"}
        for name, line in lines.items():
            with self.subTest(name):
                self.check_refused(run(write(name, line + "\n")), 125, static, "statically")
        self.check_refused(run("env", "A=1", static), 125, static, "statically")

    def test_scripts_in_a_circle(self):
        write("circle_a", f"#!{support.FOLDER}/circle_b\n")
        write("circle_b", f"#!{support.FOLDER}/circle_a\n")
        self.check_refused(run(f"{support.FOLDER}/circle_a"), 126, "circle")

    def test_what_env_cannot_find_is_told_by_env(self):
        result = run(write("env_lost", "#!/usr/bin/env no-such-program\n"),
                     env={"PATH": "/usr/bin:/bin"})
        self.assertEqual(result.returncode, 127)
        self.assertIn("no-such-program", result.stderr)

    def test_env_that_drops_the_library(self):
        program = build("behind_env", PROGRAM)
        for arguments in (["-i"], ["-u", "LD_PRELOAD"], ["LD_PRELOAD="]):
            with self.subTest(arguments):
                self.check_refused(run("env", *arguments, program), 125, "drops LD_PRELOAD")
                forced = run("env", *arguments, program, options=["--force"])
                self.check_runs(forced, "not on mete\n")


class SetsTheEnvironment(RunTest):
    SHOW = ("sh", "-c", 'echo "$LD_PRELOAD" "$METE_OPTIONS"')

    def test_preload_keeps_what_is_there(self):
        other = build("other.so", "int unused;", "-shared", "-fPIC")
        result = run(*self.SHOW, env={"LD_PRELOAD": other})
        self.check_runs(result, f"{support.LIBRARY}:{other} \n")
        result = run("grep", "-c", "/other.so", "/proc/self/maps", env={"LD_PRELOAD": other})
        self.assertEqual(result.returncode, 0)

    def test_preload_not_twice(self):
        self.check_runs(run(support.METE, "run", *self.SHOW), f"{support.LIBRARY} \n")

    def test_options_are_merged(self):
        result = run(*self.SHOW, env={"METE_OPTIONS": "a=1,b=2"},
                     options=["-O", "b=3", "--option", "c=4", "-Od=5", "--option=e=6,f=7"])
        self.check_runs(result, f"{support.LIBRARY} a=1,b=3,c=4,d=5,e=6,f=7\n")

    def test_options_stay_unset_without_any(self):
        self.check_runs(run("sh", "-c", "echo ${METE_OPTIONS-unset}"), "unset\n")

    def test_bad_options(self):
        self.check_refused(run("true", options=["-O", "no-value"]), 125, "no-value", "key=value")
        self.check_refused(run("true", options=["-O", "=1"]), 125, "key=value")
        self.check_refused(run("true", options=["--no-such-option"]), 125, "--no-such-option")
        self.check_refused(run("true", options=["-O"]), 125, "key=value")

    def test_print_env(self):
        marker = os.path.join(support.FOLDER, "marker")
        result = run("touch", marker, options=["--print-env", "-O", "a=1"])
        self.check_runs(result, f"LD_PRELOAD={support.LIBRARY}\nMETE_OPTIONS=a=1\n")
        self.assertFalse(os.path.exists(marker))
        shell = f'env $("{support.METE}" run --print-env) {build("by_env", PROGRAM)}'
        result = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
        self.check_runs(result, "on mete\n")

    def test_print_env_says_when_it_cannot_work(self):
        static = build("static_env", PROGRAM, "-static")
        self.check_refused(run(static, options=["--print-env"]), 125, "statically")

    def test_print_env_to_a_full_disk(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([support.METE, "run", "--print-env"], stdout=full,
                                    stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 125)
        self.assertIn("No space left", result.stderr)

    def test_verbose_says_what_is_done(self):
        result = run("true", options=["-v"])
        self.assertEqual(result.returncode, 0)
        self.assertIn(f"LD_PRELOAD={support.LIBRARY}", result.stderr)


class FindsTheLibrary(RunTest):
    def prefix(self, name, *library_folders):
        prefix = os.path.join(support.FOLDER, name)
        shutil.rmtree(prefix, ignore_errors=True)
        for folder in ("bin", *library_folders):
            os.makedirs(os.path.join(prefix, folder))
        shutil.copy(support.METE, os.path.join(prefix, "bin"))
        for folder in library_folders:
            shutil.copy(support.LIBRARY, os.path.join(prefix, folder))
        return prefix

    def found_by(self, prefix):
        result = subprocess.run([f"{prefix}/bin/mete", "run", "--print-env"], capture_output=True,
                                text=True)
        return result.stdout.partition("=")[2].strip(), result

    def test_beside_the_command(self):
        multiarch = f"lib/{platform.machine()}-linux-gnu"
        for folders in (["lib"], ["lib64"], [multiarch]):
            if folders == [multiarch] and not os.path.isdir("/usr/" + multiarch):
                print("note: no multiarch folders on this machine", file=sys.stderr)
                continue
            prefix = self.prefix("found_" + folders[0].replace("/", "_"), *folders)
            self.assertEqual(self.found_by(prefix)[0], f"{prefix}/{folders[0]}/libmete.so")

    def test_behind_a_link_to_the_command(self):
        prefix = self.prefix("linked", "lib")
        link = os.path.join(support.FOLDER, "link_to_mete")
        os.symlink(f"{prefix}/bin/mete", link)
        result = subprocess.run([link, "run", "--print-env"], capture_output=True, text=True)
        self.assertEqual(result.stdout, f"LD_PRELOAD={prefix}/lib/libmete.so\n")

    def test_nowhere(self):
        prefix = self.prefix("nowhere")
        path, result = self.found_by(prefix)
        if path:
            raise unittest.SkipTest(f"a mete is installed: {path}")
        self.check_refused(result, 125, f"{prefix}/lib/libmete.so", f"{prefix}/lib64/libmete.so",
                           "--library")

    def test_by_name(self):
        copy = shutil.copy(support.LIBRARY, os.path.join(support.FOLDER, "named.so"))
        for option in (["--library", copy], [f"--library={copy}"], ["-l", copy]):
            result = run("sh", "-c", "echo $LD_PRELOAD", options=option)
            self.check_runs(result, f"{copy}\n")

    def test_relative_name_becomes_absolute(self):
        shutil.copy(support.LIBRARY, os.path.join(support.FOLDER, "relative.so"))
        result = run("sh", "-c", "echo $LD_PRELOAD", options=["-l", "relative.so"],
                     cwd=support.FOLDER)
        self.check_runs(result, f"{support.FOLDER}/relative.so\n")

    def test_no_library(self):
        text = write("text.so", "no library\n")
        blank = shutil.copy(support.LIBRARY, os.path.join(support.FOLDER, "a blank.so"))
        program = build("as_library", PROGRAM)
        self.check_refused(run("true", options=["-l", "/no/such.so"]), 125, "/no/such.so")
        self.check_refused(run("true", options=["-l", text]), 125, "not a shared library")
        self.check_refused(run("true", options=["-l", program]), 125, "not a shared library")
        self.check_refused(run("true", options=["-l", support.FOLDER]), 125, support.FOLDER)
        self.check_refused(run("true", options=["-l", blank]), 125, "blank or colon")


class Verifies(RunTest):
    def test_a_program_on_mete(self):
        path = build("to_verify", PROGRAM)
        result = run(path, "5", options=["--verify"])
        self.assertEqual((result.stdout, result.returncode), ("on mete\n", 5))
        self.assertIn(f"verified: '{path}' gets malloc and free from '{support.LIBRARY}'",
                      result.stderr)

    def test_nothing_runs_before_the_proof(self):
        source = PROGRAM.replace("free(malloc(100));", 'puts("ran");')
        result = run(build("runs_once", source), options=["--verify"])
        self.assertEqual(result.stdout, "ran\non mete\n")

    def test_lets_the_library_speak_too(self):
        for given, expected in (([], "verbose=1"), (["-O", "verbose=0"], "verbose=0")):
            result = run("sh", "-c", "echo $METE_OPTIONS", options=["--verify", *given])
            self.assertEqual(result.stdout, expected + "\n")

    def test_a_script(self):
        path = write("verify_script", "#!/bin/sh\necho ran\n")
        result = run(path, options=["--verify"])
        self.assertEqual(result.stdout, "ran\n")
        self.assertIn("verified", result.stderr)

    def test_library_without_malloc(self):
        useless = build("useless.so", "int unused;", "-shared", "-fPIC")
        result = run("echo", "ran", options=["--verify", "-l", useless])
        self.check_refused(result, 125, "does not run on mete", "libc.so")
        forced = run("echo", "ran", options=["--verify", "--force", "-l", useless])
        self.assertEqual((forced.stdout, forced.returncode), ("ran\n", 0))

    def test_program_with_its_own_malloc(self):
        path = build("verify_own", STAND_IN + PROGRAM)
        result = run(path, options=["--verify", "--force"])
        self.assertRegex(result.stderr, f"its (malloc|free) comes from '{path}'")


    def check_operators(self, path, *words):
        result = run(path, options=["--verify"])
        self.assertEqual(result.stdout, "on mete\n", result.stderr)
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 2, result.stderr)
        self.assertIn(f"verified: '{path}' gets malloc and free", lines[0])
        for word in ("operator new and delete come from", "build it without", *words):
            self.assertIn(word, lines[1])

    def test_program_with_its_own_operators(self):
        pool = PROGRAM.replace("free(malloc(100));", "")
        path = build_cxx("own_new", OWN_POOL + USES_NEW + pool)
        self.check_operators(path, path, "does not call malloc itself", "not on mete")
        path = build_cxx("new_on_malloc", OWN_ON_MALLOC + USES_NEW + PROGRAM)
        self.check_operators(path, path, "calls malloc, too")
        said = run(path, options=["-v"]).stderr
        self.assertIn(f"operator new and delete come from {path}", said)

    def test_program_with_operators_of_a_library(self):
        library = build_cxx("libpool.so", OWN_POOL, "-shared", "-fPIC")
        path = build_cxx("links_pool", "#include <new>" + USES_NEW + PROGRAM, "-Wl,--no-as-needed",
                         library, f"-Wl,-rpath,{support.FOLDER}")
        self.check_operators(path, library, "does not call malloc itself")  # the stand-in has none

    def test_operators_of_the_cxx_library_are_not_worth_a_line(self):
        for name, flags in (("plain_cxx", ()), ("static_cxx", ("-static-libstdc++", "-rdynamic"))):
            path = build_cxx(name, "#include <new>" + USES_NEW + PROGRAM, *flags)
            result = run(path, options=["--verify"])
            self.assertEqual(result.stdout, "on mete\n", result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def test_part_of_a_malloc_in_the_program(self):
        part = """
#include <stddef.h>
void *__libc_calloc(size_t, size_t);
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
"""
        user = build("libuses.so", "#include <stdlib.h>\nvoid *make(void) { return calloc(1, 9); }",
                     "-shared", "-fPIC")
        path = build("own_calloc", part + PROGRAM, "-Wl,--no-as-needed", user,
                     f"-Wl,-rpath,{support.FOLDER}")
        self.check_refused(run(path, options=["--verify"]), 125,
                           f"its calloc comes from '{path}'")


class CommandItself(unittest.TestCase):
    def call(self, *arguments):
        return subprocess.run([support.METE, *arguments], capture_output=True, text=True)

    def test_version(self):
        result = self.call("--version")
        self.assertRegex(result.stdout, r"\Amete \d+\.\d+\.\d+\n\Z")
        self.assertEqual(result.returncode, 0)

    def test_help(self):
        for arguments in (["--help"], ["-h"], ["run", "--help"], ["run", "-h"]):
            result = self.call(*arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn("Usage: mete ", result.stdout)
            self.assertIn("Example: mete run", result.stdout)
            for line in result.stdout.splitlines():
                self.assertLessEqual(len(line), 80)
        self.assertIn("  run ", self.call("--help").stdout)

    def test_wrong_use(self):
        for arguments in ([], ["no-such-command"], ["--no-such-option"]):
            result = self.call(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertRegex(result.stderr, r"\Amete: [^\n]*mete --help\n\Z")
        self.assertEqual(self.call("run").returncode, 125)
        self.assertEqual(self.call("run", "--").returncode, 125)


if __name__ == "__main__":
    support.main()
