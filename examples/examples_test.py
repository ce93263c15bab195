"""Runs one example briefly in both modes and checks what it prints.

usage: examples_test.py <example> <command>...

SPDX-License-Identifier: MIT
"""

import os
import re
import subprocess
import sys
import tempfile


def output_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def found(pattern, text):
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in:\n{text}"
    return match.group(1)


def refused(command, *said):
    """It fails with one line on standard error, in which this is said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (1, 2), done
    assert done.stdout == "" and done.stderr.count("\n") == 1, done
    for each in said:
        assert each in done.stderr, done


def game(command):
    """Both modes play the same game; the toolkit's frames allocate nothing."""
    toolkit = output_of([*command, "60"])
    malloc = output_of([*command, "--malloc", "60"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"allocations in frames: (\d+)", toolkit) == "0", toolkit
    assert int(found(r"allocations in frames: (\d+)", malloc)) > 1000, malloc
    refused([*command, "2"], "usage: game")


def order_book(command):
    """Both modes trade the same; in the evening nearly all memory has gone back."""
    toolkit = output_of([*command, "1"])
    malloc = output_of([*command, "--malloc", "1"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"night: .* (\d+) orders\n", toolkit) == "0", toolkit
    noon = int(found(r"noon: (\d+) KiB", toolkit))
    night = int(found(r"night: (\d+) KiB", toolkit))
    assert night * 10 < noon, toolkit
    refused([*command, "0"], "usage: order_book")


def log_pipeline(command):
    """The program reads its file and ends with an error if anything is wrong in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "log")
        for mode in ([], ["--malloc"]):
            all_of_them = output_of([*command, *mode, file])
            assert "200000 written, 0 dropped" in all_of_them, all_of_them
            text = output_of([*command, *mode, "--drop", "--disk=20", file])
            written = int(found(r"(\d+) written", text))
            dropped = int(found(r"(\d+) dropped", text))
            assert dropped > 0 and written + dropped == 200000, text
        stalled = output_of([*command, "--stall=500", file])
        assert "200000 written, 0 dropped" in stalled, stalled
        assert int(found(r"(\d+) logged again", stalled)) >= 1, stalled
        in_no_folder = os.path.join(folder, "none", "log")
        refused([*command, in_no_folder], in_no_folder, "No such file")
        refused([*command, "/dev/full"], "cannot write '/dev/full'", "No space left")
        for wrong in ([], [file, "more"], ["--rate=fast", file], ["--what", file]):
            refused([*command, *wrong], "usage: log_pipeline")


def containers(command):
    """Every memory of the table comes to the results of plain malloc."""
    table = output_of(command)
    memories = re.findall(r"^(\w+) .* MiB$", table, re.MULTILINE)
    assert len(memories) == 14 and table.count(" ms ") == 3 * 14, table
    for job in ("index", "lru", "graph"):
        plain = found(r"checksum (\d+)", output_of([*command, "--malloc", job]))
        for memory in memories:
            assert found(r"checksum (\d+)", output_of([*command, "--on", memory, job])) == plain, (
                memory, job)
    for wrong in (["--malloc"], ["sort"], ["--on", "paper", "lru"], ["--on"]):
        refused([*command, *wrong], "usage: containers")


globals()[sys.argv[1]](sys.argv[2:])
