#!/usr/bin/env python3
"""Tests that `mete run` says when it cannot work, with a real program of every such kind.

    run_refusal_test.py --mete build/bin/mete [--cc gcc] [test names...]

SPDX-License-Identifier: MIT
"""
import ctypes
import os
import platform
import struct
import subprocess
import unittest

import run_test_support as support
from run_test_support import PROGRAM, STAND_IN, RunTest, as_nobody, build, run, write


class SaysWhenItCannotWork(RunTest):
    """Each with a real program of that kind."""

    def test_static(self):
        path = build("static", PROGRAM, "-static")
        self.check_refused(run(path), 125, path, "statically linked", "libmete.a", "--force")
        self.check_runs(run(path, "3", options=["--force"]), "not on mete\n", 3)
        noisy = run(path, options=["--force", "--verbose"])
        self.assertIn("statically linked", noisy.stderr)

    def test_static_pie(self):
        path = build("static_pie", PROGRAM, "-static-pie")
        self.check_refused(run(path), 125, path, "statically linked")

    def test_sanitizers(self):
        for compiler in support.COMPILERS:
            names = ["address", "thread", "leak"]
            if "clang" in compiler:
                names.append("memory")  # GCC has none
            for name in names:
                with self.subTest(compiler=compiler, sanitizer=name):
                    path = build(f"{name}_{compiler}", PROGRAM, f"-fsanitize={name}",
                                 compiler=compiler)
                    self.check_refused(run(path), 125, path, f"-fsanitize={name}")
                    stripped = path + "_stripped"
                    subprocess.run(["strip", "-o", stripped, path], check=True)
                    self.check_refused(run(stripped), 125, stripped, f"-fsanitize={name}")

    def test_sanitizer_runtime_linked_statically(self):
        path = build("static_asan", PROGRAM, "-fsanitize=address", "-static-libasan",
                     compiler="gcc" if "gcc" in support.COMPILERS else None)
        self.check_refused(run(path), 125, path, "-fsanitize=address")

    def test_undefined_behaviour_sanitizer_is_no_hindrance(self):
        self.check_runs(run(build("ubsan", PROGRAM, "-fsanitize=undefined")), "on mete\n")

    def test_other_architecture(self):
        with open(build("to_change", PROGRAM), "rb") as file:
            image = bytearray(file.read())
        machine, name = (62, "x86-64") if platform.machine() == "aarch64" else (183, "arm64")
        image[18:20] = struct.pack("<H", machine)
        path = write("other_machine", bytes(image))
        self.check_refused(run(path), 125, path, f"built for {name}", "--library")

    def test_32_bit_program(self):
        if platform.machine() != "x86_64":
            raise unittest.SkipTest("only where 32-bit x86 programs run")
        path = build("bits_32", "void _start(void) {}", "-m32", "-nostdlib",
                     "-Wl,-dynamic-linker,/lib/ld-linux.so.2", "-pie")
        self.check_refused(run(path), 125, path, "built for 32-bit x86")

    def test_musl(self):
        path = build("musl", PROGRAM, "-Wl,-dynamic-linker,/lib/ld-musl-x86_64.so.1")
        self.check_refused(run(path), 125, path, "musl")

    def test_loader_absent(self):
        path = build("no_loader", PROGRAM, "-Wl,-dynamic-linker,/no/such/ld.so")
        self.check_refused(run(path), 127, path, "/no/such/ld.so")

    def test_no_program(self):
        path = write("garbage", b"\0\1\2\3 neither ELF nor text")
        self.check_refused(run(path), 126, path, "ELF")
        self.check_refused(run(path, options=["--force"]), 126, path, "Exec format error")
        path = build("object", PROGRAM, "-c")
        os.chmod(path, 0o755)
        self.check_refused(run(path), 126, path, "not a program")

    def test_cut_off_program(self):
        with open(build("whole", PROGRAM), "rb") as file:
            image = file.read()
        for size in (4, 16, 63, 64, 100, 1000, len(image) // 2):
            with self.subTest(size):
                path = write("cut", image[:size])
                result = run(path, options=["--print-env"])
                self.assertIn(result.returncode, (0, 125, 126))

    def test_malloc_in_the_program(self):
        path = build("own_malloc", STAND_IN + PROGRAM)
        self.check_refused(run(path), 125, path, "malloc of its own")

    def test_the_loader_called_by_hand(self):
        path = build("by_loader", PROGRAM)
        headers = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True).stdout
        loader = headers.split("interpreter: ")[1].split("]")[0]
        self.check_runs(run(loader, path), "on mete\n")

    def test_other_allocator_is_a_note_for_the_curious(self):
        other = build("libjemalloc.so.2", "int other;", "-shared", "-fPIC",
                      "-Wl,-soname,libjemalloc.so.2")
        path = build("links_other", PROGRAM, "-Wl,--no-as-needed", other,
                     f"-Wl,-rpath,{support.FOLDER}")
        self.check_runs(run(path), "on mete\n")
        self.assertIn("links libjemalloc.so.2", run(path, options=["-v"]).stderr)


class SaysWhenRightsAreGained(RunTest):
    """The loader ignores LD_PRELOAD in programs that gain rights."""

    def setUp(self):
        if os.getuid() != 0:
            raise unittest.SkipTest("needs root, to make such programs for another user")
        with open("/proc/self/status") as file:
            if "NoNewPrivs:\t1" in file.read():
                raise unittest.SkipTest("no_new_privs is set: no program gains rights here")
        if os.statvfs(support.FOLDER).f_flag & os.ST_NOSUID:
            raise unittest.SkipTest(f"{support.FOLDER} is mounted nosuid, which gives no rights")

    def test_setuid(self):
        path = build("setuid", PROGRAM)
        os.chmod(path, 0o4755)
        self.check_refused(run(path, preexec_fn=as_nobody), 125, path, "is setuid")
        forced = run(path, options=["--force"], preexec_fn=as_nobody)
        self.assertEqual((forced.stdout, forced.returncode), ("not on mete\n", 0))

    def test_setuid_for_its_owner_changes_nothing(self):
        path = build("setuid_own", PROGRAM)
        os.chmod(path, 0o4755)
        self.check_runs(run(path), "on mete\n")

    def test_setgid(self):
        path = build("setgid", PROGRAM)
        os.chown(path, 0, 12345)
        os.chmod(path, 0o2755)
        self.check_refused(run(path, preexec_fn=as_nobody), 125, path, "is setgid")

    def test_file_capabilities(self):
        path = build("capabilities", PROGRAM)
        net_raw = 1 << 13
        try:
            os.setxattr(path, "security.capability",
                        struct.pack("<IIIII", 0x02000001, net_raw, 0, 0, 0))
        except OSError as error:
            raise unittest.SkipTest(f"no file capabilities in {support.FOLDER}: {error}")
        self.check_refused(run(path, preexec_fn=as_nobody), 125, path, "file capabilities")
        self.check_runs(run(path), "on mete\n")

    def test_no_new_privileges_is_no_hindrance(self):
        path = build("no_new_privileges", PROGRAM)
        os.chmod(path, 0o4755)
        libc = ctypes.CDLL(None)

        def prepare():
            as_nobody()
            libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        self.check_runs(run(path, preexec_fn=prepare), "on mete\n")

    def test_setuid_bit_of_a_script_is_ignored(self):
        path = write("setuid_script", "#!/bin/sh\necho ran\n", 0o4755)
        self.check_runs(run(path, preexec_fn=as_nobody), "ran\n")


class SystemPrograms(RunTest):
    def test_setuid_program_of_the_system(self):
        """The one such case that can be had without being root."""
        for path in ("/usr/bin/passwd", "/usr/bin/su", "/usr/bin/mount"):
            if not os.path.exists(path) or not os.stat(path).st_mode & 0o4000:
                continue
            with open("/proc/self/status") as file:
                if "NoNewPrivs:\t1" in file.read():
                    raise unittest.SkipTest("no_new_privs is set: no program gains rights here")
            drop = as_nobody if os.getuid() == 0 else None
            self.check_refused(run(path, preexec_fn=drop), 125, path, "is setuid")
            return
        raise unittest.SkipTest("this system has no setuid program in /usr/bin")


if __name__ == "__main__":
    support.main()
