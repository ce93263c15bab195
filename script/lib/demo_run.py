"""What the demo's programs share: how one is started on an allocator, and what counts as proof.

SPDX-License-Identifier: MIT
"""

import ctypes
import os
import signal
from dataclasses import dataclass, field


class DemoError(Exception):
    """Ends the demo with one line."""


@dataclass
class Allocator:
    """How a program gets its malloc: a command before it, or a variable in its environment."""

    name: str
    prefix: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    # The file that malloc must come from: an exact path, or how its name begins.
    library: str = ""
    library_name: str = ""
    is_mete: bool = False


def path_of_libc():
    """The libc that this interpreter, a dynamically linked program of the system, runs on."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith("libc.so"):
                return "/" + path
    raise DemoError("this Python has no libc.so in its memory map; a glibc system is needed")


def allocators_for(command, library):
    """The system's malloc, against which all is measured, and mete as a user runs it."""
    return [Allocator("glibc", library_name="libc.so"),
            Allocator("mete", prefix=[command, "run", "--"], library=library, is_mete=True)]


def environment_for(allocator, extra=None):
    return {**os.environ, "LC_ALL": "C.UTF-8", **allocator.environment, **(extra or {})}


def die_with_parent():
    """In a child, before exec: the kernel ends it should the demo be killed outright."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def check_proof(program, allocator, malloc_from, version):
    """REQUIRES: both values were said by the measured process. Raises when they do not fit."""
    said = f"its malloc is in {malloc_from or 'no known file'}"
    if allocator.is_mete:
        if not version:
            raise DemoError(f"{program} did not run on mete: it finds no mete_version, {said}")
        if os.path.realpath(malloc_from) != os.path.realpath(allocator.library):
            raise DemoError(f"{program} did not run on {allocator.library}: {said}")
    elif version or not os.path.basename(malloc_from).startswith(allocator.library_name):
        raise DemoError(f"{program} did not run on {allocator.name}: {said}")


def peak_mib(process):
    """The most memory that was resident at once, from the kernel's own count."""
    with open(f"/proc/{process}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise DemoError(f"/proc/{process}/status tells no VmHWM")
