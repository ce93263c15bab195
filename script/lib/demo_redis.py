"""The demo's server: Redis under load by redis-benchmark, over a socket, nothing written to disk.

The server is asked for its allocator over that socket (see redis_witness.c). Debian links Redis
with jemalloc; to see it on the system allocator, libc is named before jemalloc in the search for
symbols, and both are measured.

SPDX-License-Identifier: MIT
"""

import csv
import os
import subprocess
import time

from demo_run import (Allocator, DemoError, check_proof, die_with_parent, environment_for,
                      path_of_libc, peak_mib)

# (commands, requests, bytes of a value): fill, overwrite by larger and by smaller values (which
# is what fragments a heap), read, and the other data types.
LOAD = [
    ("set", 200_000, 100),
    ("set", 200_000, 1000),
    ("get", 200_000, 1000),
    ("set", 200_000, 60),
    ("lpush,lpop,sadd,hset,zadd", 120_000, 200),
    ("lrange_100", 10_000, 200),
]
KEYS = 150_000
START_SECONDS = 10


class Server:
    """A redis-server of its own, stopped at the end of the `with` block however that ends."""

    def __init__(self, folder, witness, allocator):
        self.allocator = allocator
        self.socket = os.path.join(folder, "redis.sock")
        self.log = os.path.join(folder, "redis.log")
        self.command = [*allocator.prefix, "redis-server", "--port", "0", "--unixsocket",
                        self.socket, "--save", "", "--appendonly", "no", "--daemonize", "no",
                        "--dir", folder, "--loadmodule", witness]
        self.process = None

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment_for(self.allocator), preexec_fn=die_with_parent)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if os.path.exists(self.socket) and self.ask("ping", check=False) == "PONG":
                return
            time.sleep(0.05)
        with open(self.log, encoding="utf-8", errors="replace") as log:
            raise DemoError(f"redis-server did not start on {self.allocator.name}; it said:\n"
                            + "".join(log.readlines()[-5:]))

    def ask(self, *words, check=True):
        answer = subprocess.run(["redis-cli", "-s", self.socket, *words], check=check, timeout=30,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return answer.stdout.strip()

    def info(self, section):
        lines = self.ask("info", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def prove(self):
        path, _, version = self.ask("allocator.witness").rpartition(" ")
        return path, "" if version == "-" else version


def benchmark(socket, commands, requests, size):
    """Runs redis-benchmark; returns (requests answered, seconds they took)."""
    answer = subprocess.run(
        ["redis-benchmark", "-s", socket, "-t", commands, "-n", str(requests), "-d", str(size),
         "-r", str(KEYS), "-P", "16", "-c", "20", "--csv"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        preexec_fn=die_with_parent, check=True)
    if "error" in (answer.stdout + answer.stderr).lower():
        raise DemoError(f"redis-benchmark failed: {(answer.stdout + answer.stderr).strip()}")
    rows = list(csv.DictReader(answer.stdout.splitlines()))
    if not rows:
        raise DemoError(f"redis-benchmark measured nothing for '{commands}'")
    return requests * len(rows), sum(requests / float(row["rps"]) for row in rows)


class Case:
    """Redis, on every allocator that it can run on here."""

    name = "Redis"

    def __init__(self, folder, witness, scale, allocators):
        self.folder = folder
        self.witness = witness
        self.scale = scale
        self.allocators = list(allocators)
        as_shipped = Allocator("as shipped")
        with Server(folder, witness, as_shipped) as server:
            path, version = server.prove()
            self.version = f"Redis {server.info('server')['redis_version']}"
        name = os.path.basename(path).split(".so")[0].removeprefix("lib")
        if version or not path:
            raise DemoError(f"redis-server runs on {path or 'an unknown malloc'} without our doing")
        if name != "c":
            self.allocators[0].environment["LD_PRELOAD"] = path_of_libc()
            as_shipped.name = f"{name} (its default)"
            as_shipped.library_name = f"lib{name}.so"
            self.allocators.insert(1, as_shipped)

    def run(self, allocator):
        operations = seconds = 0
        with Server(self.folder, self.witness, allocator) as server:
            path, version = server.prove()
            check_proof("redis-server", allocator, path, version)
            before = server.info("cpu")
            for commands, requests, size in LOAD:
                done, took = benchmark(server.socket, commands,
                                       max(1000, int(requests * self.scale)), size)
                operations += done
                seconds += took
            after = server.info("cpu")
            errors = server.info("errorstats")
            if errors:
                raise DemoError(f"redis-server on {allocator.name} answered with errors: {errors}")
            peak = peak_mib(int(server.info("server")["process_id"]))
        return {
            "seconds": seconds,
            "cpu_seconds": sum(float(after[key]) - float(before[key])
                               for key in ("used_cpu_user", "used_cpu_sys")),
            "operations_per_second": operations / seconds,
            "peak_mib": peak,
            # The keys are drawn at random; that every request was answered is what can be compared.
            "result": f"{operations} requests answered",
            "malloc_from": path,
            "mete_version": version,
        }
