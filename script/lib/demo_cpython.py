"""The demo's interpreter: Debian's Python on a job of its own (see demo_cpython_job.py).

SPDX-License-Identifier: MIT
"""

import json
import os
import platform
import subprocess

from demo_run import DemoError, check_proof, die_with_parent, environment_for

PYTHON = "/usr/bin/python3"
JOB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo_cpython_job.py")


class Case:
    """CPython with the given settings in its environment."""

    def __init__(self, name, settings, scale, allocators):
        self.name = name
        self.settings = {**settings, "PYTHONHASHSEED": "0"}
        self.scale = scale
        self.allocators = allocators
        self.version = f"CPython {platform.python_version()}"

    def run(self, allocator):
        answer = subprocess.run(
            [*allocator.prefix, PYTHON, "-B", "-s", JOB, str(self.scale)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
            env=environment_for(allocator, self.settings), preexec_fn=die_with_parent)
        try:
            if answer.returncode != 0:
                raise ValueError
            run = json.loads(answer.stdout)
        except ValueError:
            reason = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-3:]
            raise DemoError(f"the CPython job failed on {allocator.name}, status "
                            f"{answer.returncode}: " + " / ".join(reason)) from None
        check_proof("CPython", allocator, run["malloc_from"], run["mete_version"])
        return run
