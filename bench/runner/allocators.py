# SPDX-License-Identifier: MIT
"""The candidates: which library is preloaded for each name, and where it comes from."""

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass

LIBRARY_FOLDER = f"/usr/lib/{platform.machine()}-linux-gnu"

# name: (file below LIBRARY_FOLDER, Debian package that brings it)
RIVALS = {
    "mimalloc": ("libmimalloc.so.2.0", "libmimalloc2.0"),
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    "tbb": ("libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
}


class Unavailable(Exception):
    """A candidate or program that is not there; the text names the remedy."""


@dataclass
class Allocator:
    name: str
    library: str | None  # what LD_PRELOAD gets; None for the C library's own malloc
    version: str

    @property
    def mapped_path(self):
        """The path as /proc/PID/maps shows it."""
        return os.path.realpath(self.library) if self.library else None


def first_line(*command):
    if not shutil.which(command[0]):
        return "unknown"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["unknown"])[0]


def package_version(package):
    return first_line("dpkg-query", "-W", "-f", "${Package} ${Version}", package)


def file_digest(path):
    with open(path, "rb") as file:
        return "sha256 " + hashlib.sha256(file.read()).hexdigest()[:16]


def find(name, mete_library):
    """The Allocator for a name of the command line or a path of a library."""
    if name == "glibc":
        return Allocator(name, None, first_line("getconf", "GNU_LIBC_VERSION"))
    if name == "mete":
        if not os.path.exists(mete_library):
            raise Unavailable(f"mete: {mete_library} does not exist; build it "
                              "(cmake --build --preset release) or name it with --mete PATH")
        return Allocator(name, os.path.abspath(mete_library), file_digest(mete_library))
    if name in RIVALS:
        file, package = RIVALS[name]
        path = os.path.join(LIBRARY_FOLDER, file)
        if not os.path.exists(path):
            raise Unavailable(f"{name}: {path} does not exist; install it "
                              f"(apt-get install {package})")
        return Allocator(name, path, package_version(package))
    if os.path.exists(name) and ".so" in os.path.basename(name):
        return Allocator(os.path.basename(name), os.path.abspath(name), file_digest(name))
    raise Unavailable(f"{name}: neither a known allocator (glibc, mete, {', '.join(RIVALS)}) "
                      "nor the path of a shared library")
