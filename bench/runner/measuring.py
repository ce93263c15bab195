# SPDX-License-Identifier: MIT
"""One run of one workload on one allocator."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess

from .allocators import LIBRARY_FOLDER

METRIC = re.compile(rb"^metric (\S+) (\S+) (.+)$", re.MULTILINE)
LIMIT_S = 600


class Failed(Exception):
    """A run that crashed, gave a wrong result or did not load its library."""


class Bench:
    """Where runs happen: the measuring program, a scratch folder, quick or not."""

    def __init__(self, programs, work, quick):
        self.measure = os.path.join(programs, "measure")
        self.work = work
        self.quick = quick
        self.digests = {}

    def run(self, workload, allocator):
        """The figures of one round; `repeat` processes are condensed to their medians."""
        runs = [self._process(workload, allocator) for _ in range(workload.repeat)]
        if len(runs) == 1:
            return runs[0]
        numbers = [key for key, value in runs[0].items() if isinstance(value, (int, float))]
        return {**runs[0], **{key: statistics.median(run[key] for run in runs) for key in numbers}}

    def _process(self, workload, allocator):
        work = os.path.join(self.work, workload.name)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work)
        if workload.prepare:
            workload.prepare(work)
        command = self._command(workload, allocator, work)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": work,
                       **workload.environment}
        for key, value in os.environ.items():
            if key.startswith(("METE_", "MIMALLOC_", "MALLOC_", "TCMALLOC_", "GLIBC_")):
                environment[key] = value
        output, driven = self._wait(workload, command, environment, work)
        return self._result(workload, allocator, work, output, driven)

    def _command(self, workload, allocator, work):
        preload = allocator.library
        if preload is None and workload.brings_malloc:
            preload = os.path.join(LIBRARY_FOLDER, "libc.so.6")
        command = [self.measure, "--output", os.path.join(work, "measured.json")]
        if preload:
            command += ["--preload", preload, "--expect", os.path.realpath(preload)]
        return command + ["--"] + [part.replace("{work}", work) for part in workload.command]

    def _wait(self, workload, command, environment, work):
        source = open(os.path.join(work, workload.input), "rb") if workload.input else None
        with open(os.path.join(work, "output"), "wb") as out, \
             open(os.path.join(work, "errors"), "wb") as err:
            process = subprocess.Popen(command, stdin=source or subprocess.DEVNULL, stdout=out,
                                       stderr=err, env=environment, start_new_session=True)
            driven = {}
            try:
                if workload.drive:
                    driven = workload.drive(work, self.quick)
                process.wait(LIMIT_S)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Failed(f"not finished after {LIMIT_S} s") from error
                raise
            finally:
                if source:
                    source.close()
        with open(os.path.join(work, "output"), "rb") as out:
            return out.read(), driven

    def _result(self, workload, allocator, work, output, driven):
        with open(os.path.join(work, "errors"), encoding="utf-8", errors="replace") as err:
            errors = err.read().strip()
        try:
            with open(os.path.join(work, "measured.json"), encoding="utf-8") as file:
                measured = json.load(file)
        except FileNotFoundError as error:
            raise Failed(f"could not be measured: {errors[-300:]}") from error
        if measured["status"] != 0:
            raise Failed(f"ended with status {measured['status']}: {errors[-300:]}")
        if not measured["maps_read"]:
            raise Failed("/proc/PID/maps could not be read, so nothing proves what was measured")
        if (allocator.library or workload.brings_malloc) and not measured["library_mapped"]:
            raise Failed(f"{allocator.library} was not mapped into the program")
        if workload.check:
            self._agree(workload, workload.check(output, work))
        measured["metrics"] = {name.decode(): [float(value), unit.decode()]
                               for name, value, unit in METRIC.findall(output)}
        measured["metrics"].update(driven.pop("metrics", {}))
        measured.update(driven)
        measured["cpu_s"] = measured["user_s"] + measured["sys_s"]
        return measured

    def _agree(self, workload, digest):
        expected = self.digests.setdefault(workload.name, digest)
        if digest != expected:
            raise Failed(f"gave the result {digest}, an earlier run gave {expected}")

    def count_system_calls(self, workload, allocator):
        """All system calls of one further run, counted by strace."""
        work = os.path.join(self.work, workload.name)
        os.makedirs(work, exist_ok=True)
        summary = os.path.join(work, "strace")
        preload = ["-E", f"LD_PRELOAD={allocator.library}"] if allocator.library else []
        command = [part.replace("{work}", work) for part in workload.command]
        subprocess.run(["strace", "-f", "-c", "-o", summary, *preload, *command],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        with open(summary, encoding="utf-8") as file:
            total = [line.split() for line in file if line.rstrip().endswith("total")]
        return int(total[0][3])
