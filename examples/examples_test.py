"""Runs one example briefly in both modes and checks what it prints.

usage: examples_test.py <example> <command>...

SPDX-License-Identifier: MIT
"""

import re
import subprocess
import sys


def output_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def found(pattern, text):
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in:\n{text}"
    return match.group(1)


def game(command):
    """Both modes play the same game; the toolkit's frames allocate nothing."""
    toolkit = output_of([*command, "60"])
    malloc = output_of([*command, "--malloc", "60"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"allocations in frames: (\d+)", toolkit) == "0", toolkit
    assert int(found(r"allocations in frames: (\d+)", malloc)) > 1000, malloc


def order_book(command):
    """Both modes trade the same; in the evening nearly all memory has gone back."""
    toolkit = output_of([*command, "1"])
    malloc = output_of([*command, "--malloc", "1"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"night: .* (\d+) orders\n", toolkit) == "0", toolkit
    noon = int(found(r"noon: (\d+) KiB", toolkit))
    night = int(found(r"night: (\d+) KiB", toolkit))
    assert night * 10 < noon, toolkit


globals()[sys.argv[1]](sys.argv[2:])
