#!/usr/bin/env python3
"""Starts the soak, watches it from outside, and says how it went.

    run.py [--minutes N | --seconds N] [--seed N] [--preload LIBRARY] [--options METE_OPTIONS]
           [--stall SECONDS] [--without NAME,...] --plugin FILE PROGRAM

Every actor and every child that lives on has a line in a table in shared memory (soak.hpp). A line
that stands still for a minute is a hang: all stacks of all processes are printed, by gdb, and the
soak has failed. So are those of a process that crashes. It has also failed if it ends in any other way than by "ok", or if memory that stays
resident at quiet moments grows from one part of the run to the next.

SPDX-License-Identifier: MIT
"""
import argparse
import mmap
import os
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HEADER = struct.Struct("<8Q")
PLACE = struct.Struct("<ii32sQ")
PLACES = 250
TABLE_BYTES = HEADER.size + PLACES * PLACE.size
COUNTS = ("quiet", "resident", "refused", "forks", "plugins", "threads", "signals", "crashed")
MIB = 1 << 20


class Table:
    """What the processes of the soak say of themselves."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.truncate(TABLE_BYTES)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), TABLE_BYTES, access=mmap.ACCESS_READ)

    def counts(self):
        return dict(zip(COUNTS, HEADER.unpack_from(self.memory)))

    def places(self):
        """{(place, pid, name): steps} of those in use."""
        found = {}
        for index in range(PLACES):
            pid, _, name, steps = PLACE.unpack_from(self.memory, HEADER.size + index * PLACE.size)
            if pid != 0:
                found[index, pid, name.split(b"\0")[0].decode(errors="replace")] = steps
        return found


def session_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, _, _, session = file.read().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(session)


def processes_of(session):
    return sorted(int(pid) for pid in os.listdir("/proc")
                  if pid.isdigit() and session_of(pid) == session)


def say(text):
    print(text, flush=True)


def kernel_view(pid):
    """Where the threads of a process wait, as far as the kernel tells."""
    lines = []
    try:
        for task in sorted(os.listdir(f"/proc/{pid}/task")):
            words = []
            for name in ("wchan", "syscall"):
                with open(f"/proc/{pid}/task/{task}/{name}", encoding="utf-8") as file:
                    words.append(file.read().strip())
            lines.append(f"  {task}: {' '.join(words)}")
    except OSError as error:
        lines.append(f"  {error}")
    return "\n".join(lines)


def show_stacks(pids):
    debugger = shutil.which("gdb")
    for pid in pids:
        say(f"----- process {pid} -----")
        if debugger is None:
            say("no gdb; remedy: script/bootstrap test\n" + kernel_view(pid))
            continue
        command = [debugger, "-nx", "-batch", "-p", str(pid), "-iex", "set debuginfod enabled off",
                   "-ex", "set pagination off", "-ex", "thread apply all bt"]
        try:
            shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                   errors="replace", timeout=120, check=False)
            say("\n".join(line for line in shown.stdout.splitlines()
                          if not line.startswith(("[New LWP", "warning:", "[Thread debugging"))))
            if shown.returncode != 0:
                say(shown.stderr[-500:] + kernel_view(pid))
        except subprocess.TimeoutExpired:
            say("gdb did not end\n" + kernel_view(pid))


class Soak:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.table = Table(os.path.join(folder, "table"))
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("LD_PRELOAD", "METE_OPTIONS")}
        # glibc never gives back the top of an arena other than the first, so that with many its memory
        # grows for a long time.
        environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
        if arguments.preload:
            environment["LD_PRELOAD"] = os.path.abspath(arguments.preload)
        if arguments.without:
            environment["SOAK_WITHOUT"] = arguments.without
        if arguments.options:
            environment["METE_OPTIONS"] = arguments.options
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            [arguments.program, "--seconds", str(arguments.seconds), "--seed", str(arguments.seed),
             "--folder", folder, "--table", os.path.join(folder, "table"),
             "--plugin", os.path.abspath(arguments.plugin)],
            env={**environment, "TMPDIR": folder}, stdin=subprocess.DEVNULL, start_new_session=True)
        self.seen = {}      # place: (steps, when they changed)
        self.resident = []  # at quiet moments
        self.last_line = self.begin

    def elapsed(self):
        return time.monotonic() - self.begin

    def check_preloaded(self):
        """The loader leaves a library out in some programs, without failing."""
        if self.arguments.preload:
            library = os.path.basename(os.path.realpath(self.arguments.preload))
            with open(f"/proc/{self.process.pid}/maps", encoding="utf-8", errors="replace") as file:
                if library not in file.read():
                    raise SystemExit(f"soak: {library} is not in the process")

    def look(self):
        """Who stood still for too long."""
        now, seen = time.monotonic(), {}
        for key, steps in self.table.places().items():
            before = self.seen.get(key)
            seen[key] = before if before and before[0] == steps else (steps, now)
        self.seen = seen
        counts = self.table.counts()
        if counts["quiet"] > len(self.resident):
            self.resident += [counts["resident"]] * (counts["quiet"] - len(self.resident))
        if now - self.last_line >= 60:
            self.last_line = now
            self.tell()
        return [key for key, (_, when) in seen.items() if now - when > self.arguments.stall]

    def tell(self):
        counts = self.table.counts()
        steps = sum(self.table.places().values())
        say(f"{self.elapsed() / 60:6.1f} min  {steps} steps, {counts['forks']} forks, "
            f"{counts['threads']} threads, {counts['plugins']} plugins, {counts['signals']} signals, "
            f"{counts['refused']} allocations refused; {len(processes_of(self.process.pid))} "
            f"processes; resident when quiet {counts['resident'] / MIB:.1f} MiB")

    def watch(self):
        """Until the end; why it failed, "" if it did not."""
        while not self.table.places() and self.process.poll() is None:
            time.sleep(0.1)
        if self.process.poll() is None:
            self.check_preloaded()
        while self.process.poll() is None:
            time.sleep(0.5)
            still = self.look()
            crashed = self.table.counts()["crashed"]
            if crashed:
                say(f"CRASHED: process {crashed}")
                show_stacks([crashed])
                return "a process crashed"
            if self.elapsed() > self.arguments.seconds + 2 * self.arguments.stall + 60:
                still = still or [("", self.process.pid, "the whole, which has to end by now")]
            if still:
                for _, pid, name in still:
                    say(f"STANDS STILL: {name} of process {pid}")
                first = sorted({pid for _, pid, _ in still})
                show_stacks(first + [pid for pid in processes_of(self.process.pid)
                                     if pid not in first])
                return f"no progress for {self.arguments.stall} s"
        status = self.process.returncode
        if status != 0:
            return (f"ended by {signal.Signals(-status).name}" if status < 0
                    else f"ended with status {status}")
        return self.growth()

    def growth(self):
        """The first quarter of the quiet moments is for growing into shape. What leaks is there in
        all of the last ones; in a single one the C library may have kept more threads' stacks."""
        if len(self.resident) < 2:
            return "there was no quiet moment"
        shaped = self.resident[len(self.resident) // 4:]
        early, late = statistics.median(shaped[:max(1, len(shaped) // 2)]), min(shaped[len(shaped) // 2:])
        say(f"resident when quiet, MiB: {' '.join(f'{each / MIB:.0f}' for each in thinned(self.resident))}")
        if late > early * 1.25 + 8 * MIB:
            return f"memory grew from {early / MIB:.1f} to {late / MIB:.1f} MiB"
        return ""

    def end(self):
        """Leaves no process behind, however it ended."""
        for _ in range(100):
            pids = processes_of(self.process.pid)
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        self.process.wait()


def thinned(values):
    return values[::max(1, len(values) // 30)]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--preload", help="an allocator's library")
    parser.add_argument("--options", help="METE_OPTIONS")
    parser.add_argument("--stall", type=float, default=60, help="seconds that one may stand still")
    parser.add_argument("--without", help="actors to leave out, such as plugins,signals; library: the"
                        " handlers of fork of the library that it is linked to; alone: the program"
                        " that forks in a signal handler")
    parser.add_argument("--plugin", required=True)
    parser.add_argument("program")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or 60 * (arguments.minutes or 1)
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1 << 32)
    return arguments


def main():
    arguments = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="mete-soak-") as folder:
        soak = Soak(arguments, folder)
        try:
            failure = soak.watch()
        finally:
            soak.end()
        soak.tell()
    if failure:
        sys.exit(f"soak: FAILED: {failure}; seed {arguments.seed}")
    say(f"soak: passed; seed {arguments.seed}")


main()
