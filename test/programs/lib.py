# SPDX-License-Identifier: MIT
"""What the tests of real programs share.

A test names a program and a job. The job runs twice, in the same directory emptied in between: on
the system allocator, then with LD_PRELOAD=libmete.so. It hands back what came out of it (stored
data, output, produced files) as a dictionary of text or bytes, and the two must be equal byte for
byte. Each process must end with the expected status and write no `mete:` line to standard error.

That the library really was in the process that did the work is read from /proc/PID/maps while it
runs, not from the environment: LD_PRELOAD is dropped silently by a static or a setuid program. In
the first run the same look must not find it.

Not here: timing. bench/ measures; this compares results.
"""

import argparse
import contextlib
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The one line that METE_OPTIONS=verbose=1 asks for; any other `mete:` line is a report.
ACTIVE_LINE = re.compile(r"mete: version \S+ active in pid \d+ \(.*\)$")
QUICK_SECONDS, LONG_SECONDS = 240, 1500
LONGEST_SHOWN = 2000
MAPPED_SECONDS = 10


class Failure(Exception):
    """The test failed: one line for the reader, then what explains it."""


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def check(condition, message):
    if not condition:
        raise Failure(message)


def wait_until(condition, what, seconds=60):
    """Polls, because no server tells its parent that it is ready; never a fixed sleep."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.01)
    raise Failure(f"{what} did not happen within {seconds} s")


def find_command(command, package, places=()):
    """The path of a program, or a failure that names the Debian package to install."""
    path = shutil.which(command, path=":".join([*map(str, places), SEARCH_PATH]))
    check(path, f"{command} is not installed; remedy: apt-get install {package}")
    return path


# --- processes, as /proc shows them ---


def read_proc(pid, name):
    """The text of /proc/PID/NAME, "" when the process is gone.

    A container's root may lack CAP_SYS_PTRACE; then only the process's own user can read its maps.
    """
    path = f"/proc/{pid}/{name}"
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except PermissionError:
        owner = os.stat(f"/proc/{pid}")
        return subprocess.run(["cat", path], user=owner.st_uid, group=owner.st_gid,
                              extra_groups=[], capture_output=True, text=True).stdout
    except (FileNotFoundError, ProcessLookupError):
        return ""


def stat_fields(pid):
    """The command name, state, parent and session of a process; None when it is gone."""
    text = read_proc(pid, "stat")
    if not text:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    state, parent, _, session = rest.split()[:4]
    return name, state, int(parent), int(session)


def process_tree(root):
    """{pid: command name} of every living process below `root`, or left in the session it led."""
    known = {int(pid): stat_fields(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    known = {pid: fields for pid, fields in known.items() if fields and fields[1] not in "ZX"}
    found, grew = {pid for pid, fields in known.items() if root in (pid, fields[3])}, True
    while grew:
        below = {pid for pid, fields in known.items() if fields[2] in found}
        grew = not below <= found
        found |= below
    return {pid: known[pid][0] for pid in found}


def kill_tree(process):
    """Ends a process that was started with start_new_session and all that it left behind."""
    for pid in process_tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


# --- what programs write ---


def check_messages(who, text):
    """Returns `text` without the line that verbose=1 asks for; a report of mete's is a failure."""
    kept = []
    for line in text.splitlines(keepends=True):
        plain = line.rstrip("\n")
        check(not plain.startswith("ERROR: ld.so:"), f"{who}: the loader refused: {plain}")
        if ACTIVE_LINE.match(plain):
            continue
        check(not plain.startswith("mete:"), f"{who}: reported an error: {plain}")
        kept.append(line)
    return "".join(kept)


def describe_status(status):
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def tail(text):
    return text[-LONGEST_SHOWN:].rstrip() or "(nothing)"


class Session:
    """One run of a job: a fresh directory, an environment, and the processes started in it."""

    def __init__(self, name, directory, library, long):
        self.name, self.directory, self.library, self.long = name, directory, library, long
        self.counter = 0
        self.environment = {
            "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "HOME": str(directory), "TMPDIR": str(directory),
        }
        if library:
            self.environment["LD_PRELOAD"] = str(library)
            if "METE_OPTIONS" in os.environ:
                self.environment["METE_OPTIONS"] = os.environ["METE_OPTIONS"]
        # Arguments of Popen that give up root, for servers that demand it.
        self.unprivileged = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.unprivileged = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)

    def is_mapped(self, pid):
        """Whether the library under test is in the process; never true in the system's run."""
        return self.session_library in read_proc(pid, "maps")

    session_library = ""  # set by `compare`: the same path for both runs

    def check_mapped(self, pid, who):
        """A server's process must have the library, unless it has ended on its own since."""
        if self.library:
            wait_until(lambda: self.is_mapped(pid) or not read_proc(pid, "cmdline"),
                       f"{who}: mapping {self.library.name}", MAPPED_SECONDS)
        else:
            check(not self.is_mapped(pid), f"{who}: the library is there without LD_PRELOAD")

    def start(self, arguments, stdin, extra_environment, options):
        """Starts a process whose output goes to files; returns it and the paths of the two."""
        self.counter += 1
        paths = [self.directory.parent / f"{self.name}-{self.counter}.{stream}"
                 for stream in ("out", "err")]
        with open(paths[0], "wb") as output, open(paths[1], "wb") as errors:
            process = subprocess.Popen(
                [str(argument) for argument in arguments], stdin=stdin or subprocess.DEVNULL,
                stdout=output, stderr=errors, start_new_session=True,
                env={**self.environment, **(extra_environment or {})},
                **{"cwd": self.directory, **options})
        return process, paths

    def run(self, arguments, stdin=b"", worker=None, environment=None, statuses=(0,),
            expect_stderr=False, observe=True, announce=False, **options):
        """Runs a program to its end; returns (standard output as bytes, standard error as text).

        `worker` is the command name of the process that does the work where that is a child.
        `observe=False` is for helpers too short for a look into /proc; `announce=True` for programs
        that are, too, but whose own word can be heard: the library says on standard error that it
        is there.
        """
        who = os.path.basename(str(arguments[0]))
        worker = (worker or who)[:15]
        if announce and self.library:
            wanted = [self.environment.get("METE_OPTIONS"), "verbose=1"]
            environment = {**(environment or {}), "METE_OPTIONS": ",".join(filter(None, wanted))}
        with tempfile.TemporaryFile() as feed:
            feed.write(stdin)
            feed.seek(0)
            process, written = self.start(arguments, feed, environment, options)
        try:
            seen = self.watch(process, worker) if observe and not announce else True
            status = process.wait()
        finally:
            kill_tree(process)
        output, errors = written[0].read_bytes(), written[1].read_text(errors="replace")
        if announce:
            seen = any(map(ACTIVE_LINE.match, errors.splitlines()))
        errors = check_messages(who, errors)
        explain = f"\nstandard error: {tail(errors)}\nstandard output: " + tail(
            output.decode(errors="replace"))
        check(status in statuses, f"{who} {describe_status(status)}{explain}")
        check(seen or not self.library, f"{who}: no process {worker} ever had the library mapped")
        check(expect_stderr or not errors, f"{who} wrote to standard error{explain}")
        return output, errors

    def watch(self, process, worker):
        """Waits for the end; returns whether a process named `worker` was seen with the library."""
        seen, pause = False, 0.002
        while process.poll() is None:
            if not seen:
                for pid, name in process_tree(process.pid).items():
                    if name == worker and self.is_mapped(pid):
                        check(self.library, f"{worker}: the library is there without LD_PRELOAD")
                        seen = True
                pause = min(pause * 1.3, 0.1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=pause if not seen else None)
        return seen

    @contextlib.contextmanager
    def server(self, arguments, ready, stop=signal.SIGTERM, statuses=(0,), environment=None,
               **options):
        """A server for the length of a `with` block; leaves nothing behind, however that ends."""
        who = os.path.basename(str(arguments[0]))
        process, written = self.start(arguments, None, environment, options)
        try:
            wait_until(lambda: process.poll() is not None or ready(), f"{who}: readiness")
            status = process.poll()
            check(status is None, f"{who} {describe_status(status or 0)} at once")
            self.check_mapped(process.pid, who)
            yield process
            if process.poll() is None:
                process.send_signal(stop)
            try:
                status = process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                raise Failure(f"{who}: did not stop within 60 s of {signal.Signals(stop).name}")
            check(status in statuses, f"{who} {describe_status(status)}")
        except Exception as failure:
            texts = [tail(path.read_text(errors="replace")) for path in written]
            raise Failure(f"{failure}\n{who} wrote to standard error: {texts[1]}"
                          f"\nand to standard output: {texts[0]}") from failure
        finally:
            kill_tree(process)
        check_messages(who, written[1].read_text(errors="replace"))


class SocketClient:
    """A connection to a server's unix socket, to write to and to read from by lines."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()


# --- the comparison ---


def first_difference(left, right):
    """Where two results part, short enough to read."""
    left, right = (value.encode() if isinstance(value, str) else value for value in (left, right))
    lines = zip(left.split(b"\n"), right.split(b"\n"))
    for number, (ours, theirs) in enumerate(lines, 1):
        if ours != theirs:
            return (f"line {number}\n  system allocator: {ours[:300]!r}"
                    f"\n  with the library: {theirs[:300]!r}")
    return f"length {len(left)} on the system allocator, {len(right)} with the library"


def check_same(reference, results):
    check(reference, "the job produced no result to compare")
    check(reference.keys() == results.keys(),
          f"different results were produced: {sorted(reference)} and {sorted(results)}")
    for name, value in reference.items():
        check(value, f"the result '{name}' is empty")
        if value != results[name]:
            raise Failure(f"the result '{name}' differs, {first_difference(value, results[name])}")


def compare(job, library, long, root):
    """Runs the job on both allocators under `root`, an empty directory; raises Failure."""
    # A copy, because the folder of the build may be closed to the user that a server runs as, and
    # so that a build going on at the same time cannot change the file under a running program.
    copy = root / os.path.basename(library)
    try:
        shutil.copy(library, copy)
    except OSError as error:
        raise Failure(f"cannot read the library {library}: {error.strerror}")
    copy.chmod(0o755)
    results = []
    for name, preload in (("system", None), ("mete", copy)):
        directory = root / "work"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o755)
        session = Session(name, directory, preload, long)
        session.session_library = str(copy)
        start = time.monotonic()
        try:
            results.append(job(session))
        except Failure as failure:
            which = "with the library" if preload else "without it"
            raise Failure(f"in the run {which}: {failure}") from failure
        print(f"  {name}: {time.monotonic() - start:.1f} s", flush=True)
    check_same(*results)
    return results[1]


def interrupt(number, _frame):
    if number == signal.SIGALRM:
        raise Failure("the time limit of the test has passed")
    sys.exit(128 + number)


def main(program, job):
    """The command line of every test: LIBRARY [--long]."""
    parser = argparse.ArgumentParser(description=f"{program} on the system allocator and on mete")
    parser.add_argument("library", help="the shared library to preload")
    parser.add_argument("--long", action="store_true", help="the heavier form")
    arguments = parser.parse_args()
    # Exceptions, so that `finally` stops the servers also when the time is up.
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupt)
    signal.alarm(LONG_SECONDS if arguments.long else QUICK_SECONDS)
    root = Path(tempfile.mkdtemp(prefix=f"mete-{program}-", dir="/tmp"))
    root.chmod(0o755)
    try:
        results = compare(job, arguments.library, arguments.long, root.resolve())
        for name, value in results.items():
            print(f"  same {name}: {digest(value)[:16]}")
        print(f"{program}: the same results on both allocators")
    except Failure as failure:
        print(f"{program}: FAILED {failure}", flush=True)
        sys.exit(1)
    finally:
        signal.alarm(0)
        shutil.rmtree(root, ignore_errors=True)
