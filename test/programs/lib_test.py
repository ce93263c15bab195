# SPDX-License-Identifier: MIT
"""The comparison itself must be able to fail: each case breaks one thing that it guards.

Jobs run the shell on the given library. What a broken allocator would do is done by the job, which
can tell the two runs apart.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import lib

SHELL = "/bin/sh"
LIBRARY = ""


def shell(session, script, **options):
    return session.run([SHELL, "-c", script], **{"worker": "sleep", **options})[0]


class Case(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="mete-lib-", dir="/tmp"))
        self.root.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.root)

    def compare(self, job, library=None):
        return lib.compare(job, library or LIBRARY, False, self.root)

    def fails(self, message, job, library=None):
        with self.assertRaisesRegex(lib.Failure, message):
            self.compare(job, library)


class Comparison(Case):
    def test_the_same_output_passes(self):
        result = self.compare(lambda session: {
            "output": shell(session, "echo same; exec sleep 0.2")})
        self.assertEqual(result, {"output": b"same\n"})

    def test_another_output_is_a_failure(self):
        self.fails("'output' differs, line 2\n.*b'system'\n.*b'mete'", lambda session: {
            "output": shell(session, f"echo same; echo {session.name}; exec sleep 0.2")})

    def test_a_missing_result_is_a_failure(self):
        def job(session):
            text = shell(session, "echo same; exec sleep 0.2")
            return {"one": text, "two": text} if session.library else {"one": text}
        self.fails("different results were produced", job)

    def test_an_empty_result_is_a_failure(self):
        self.fails("is empty", lambda session: {"output": shell(session, "exec sleep 0.2")})

    def test_a_wrong_exit_status_is_a_failure(self):
        self.fails("with the library.*ended with status 3", lambda session: {
            "output": shell(session, "echo same; sleep 0.2; " + (
                "exit 3" if session.library else "true"))})

    def test_a_crash_is_a_failure(self):
        self.fails("with the library.*was killed by SIGSEGV", lambda session: {
            "output": shell(session, "echo same; sleep 0.2; " + (
                "kill -SEGV $$" if session.library else "true"))})

    def test_a_report_of_mete_is_a_failure(self):
        line = "mete: double free of 0x1000"
        self.fails(f"reported an error: {line}", lambda session: {
            "output": shell(session, f"echo same; echo '{line}' >&2; exec sleep 0.2",
                            expect_stderr=True)})

    def test_the_line_of_verbose_is_no_report(self):
        self.compare(lambda session: {"output": shell(
            session, "echo same; echo 'mete: version 0.1.0 active in pid 7 (sh)' >&2; exec sleep 0.2")})

    def test_anything_else_on_standard_error_is_a_failure(self):
        self.fails("wrote to standard error", lambda session: {
            "output": shell(session, "echo same; echo oops >&2; exec sleep 0.2")})

    def test_a_library_that_was_never_mapped_is_a_failure(self):
        self.fails("ever had the library mapped", lambda session: {
            "output": shell(session, "echo same; unset LD_PRELOAD; exec sleep 0.2")})

    def test_a_library_that_should_announce_itself_and_does_not_is_a_failure(self):
        self.compare(lambda session: {"output": shell(session, "echo same", announce=True)})
        self.fails("ever had the library mapped", lambda session: {
            "output": shell(session, "echo same", announce=True, environment={"LD_PRELOAD": ""})})

    def test_a_library_in_the_reference_run_is_a_failure(self):
        self.fails("there without LD_PRELOAD", lambda session: {
            "output": shell(session, "echo same; exec sleep 0.2",
                            environment={"LD_PRELOAD": session.session_library})})

    def test_a_library_that_cannot_be_loaded_is_a_failure(self):
        with tempfile.NamedTemporaryFile("w", suffix=".so") as broken:
            broken.write("not a library")
            broken.flush()
            self.fails("the loader refused", lambda session: {
                "output": shell(session, "echo same; exec sleep 0.2")}, broken.name)

    def test_a_missing_library_is_named(self):
        self.fails("cannot read the library /nowhere/libmete.so", None, "/nowhere/libmete.so")

    def test_a_missing_program_names_its_package(self):
        self.fails("no-such-program is not installed; remedy: apt-get install its-package",
                   lambda session: lib.find_command("no-such-program", "its-package"))


class Servers(Case):
    def serve(self, session, script):
        started = session.directory / "started"
        return session.server([SHELL, "-c", script], started.exists)

    def test_a_server_is_stopped_with_all_that_it_started(self):
        pids = []

        def job(session):
            with self.serve(session, "sleep 300 & echo $! > child; touch started; sleep 300"):
                pids.append(int((session.directory / "child").read_text()))
                raise lib.Failure("the job failed")
        self.fails("the job failed", job)
        self.assertEqual(len(pids), 1)
        lib.wait_until(lambda: not os.path.exists(f"/proc/{pids[0]}"), "end of the child", 10)

    def test_a_server_that_dies_at_once_is_a_failure(self):
        def job(session):
            with self.serve(session, "echo why >&2; exit 4"):
                pass
        self.fails("ended with status 4 at once\n.*standard error: why", job)

    def test_a_server_that_ends_badly_is_a_failure(self):
        def job(session):
            with self.serve(session, "trap 'exit 5' TERM; touch started; "
                                     "while true; do sleep 0.05; done"):
                pass
        self.fails("ended with status 5", job)

    def test_a_report_in_the_servers_standard_error_is_a_failure(self):
        def job(session):
            with self.serve(session, "echo 'mete: invalid free' >&2; trap 'exit 0' TERM; "
                                     "touch started; while true; do sleep 0.05; done"):
                pass
        self.fails("reported an error: mete: invalid free", job)

    def test_a_server_without_the_library_is_a_failure(self):
        lib.MAPPED_SECONDS = 0.5

        def job(session):
            session.environment.pop("LD_PRELOAD", None)
            with self.serve(session, "trap 'exit 0' TERM; touch started; "
                                     "while true; do sleep 0.05; done"):
                return {"output": "same"}
        self.fails("with the library: .*mapping", job)


class CommandLine(unittest.TestCase):
    def test_a_failure_is_told_and_ends_with_status_1(self):
        code = "import lib; lib.main('probe', lambda session: {'output': session.name})"
        result = subprocess.run([sys.executable, "-B", "-c", code, LIBRARY], capture_output=True,
                                text=True, cwd=Path(__file__).parent)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("probe: FAILED the result 'output' differs", result.stdout)


if __name__ == "__main__":
    LIBRARY = sys.argv.pop()
    unittest.main()
