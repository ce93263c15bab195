# SPDX-License-Identifier: MIT
"""What a reader must know of the machine to believe a figure."""

import os
import platform
import time

from .allocators import first_line, package_version


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def cpu_model():
    for line in read("/proc/cpuinfo").splitlines():
        if line.lower().startswith(("model name", "cpu part")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_mebibytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def gather(command, allocators, packages):
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": command,
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": memory_mebibytes(),
        "kernel": platform.release(),
        "system": first_line("sh", "-c", ". /etc/os-release && echo $PRETTY_NAME"),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "transparent_huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "overcommit_memory": read("/proc/sys/vm/overcommit_memory"),
        "address_space_limit": first_line("sh", "-c", "ulimit -v"),
        "load_before": os.getloadavg(),
        "allocators": {each.name: {"library": each.library, "version": each.version}
                       for each in allocators},
        "programs": {package: package_version(package) for package in packages},
    }
