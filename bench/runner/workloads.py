# SPDX-License-Identifier: MIT
"""What can be run: the form of a workload, and the table of those written for the suite."""

from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Workload:
    name: str
    command: list  # the first element is a program; {work} stands for the run's folder
    environment: dict = field(default_factory=dict)
    repeat: int = 1  # processes per round, of which the median counts
    group: str = "synthetic"
    idle: bool = False  # mostly asleep: its time says nothing and is left out of the means
    in_means: bool = True
    input: str | None = None  # a file below {work} that becomes standard input
    prepare: Callable | None = None  # prepare(work), before each run, not measured
    check: Callable | None = None  # check(output, work): a digest that all runs must share
    brings_malloc: bool = False  # linked to an allocator of its own: glibc must be preloaded too
    drive: Callable | None = None  # for servers: drive(work, quick) is the client


def synthetic(build, quick):
    """The workloads of bench/workloads by name; `build` is the folder of their programs."""
    end = ["--quick"] if quick else []

    def make(name, program=None, *arguments, **more):
        return Workload(name, [f"{build}/{program or name}", *arguments, *end], **more)

    table = [
        Workload("empty", [f"{build}/empty"], repeat=20, in_means=False),
        make("malloc_free_100"),
        make("pairs_128", "pairs", "--size", "128"),
        make("pairs_4k", "pairs", "--size", "4096", "--count",
             "8000000" if quick else "40000000"),
        make("pairs_16_threads", "pairs", "--size", "128", "--threads", "16"),
        make("classic_16_threads", "classic_threads"),
        make("glibc_simple"),
        make("glibc_thread"),
        make("larson"),
        make("producer_consumer_1_1", "producer_consumer", "--mode", "1:1"),
        make("producer_consumer_1_n", "producer_consumer", "--mode", "1:n"),
        make("producer_consumer_n_1", "producer_consumer", "--mode", "n:1"),
        make("producer_consumer_two_way", "producer_consumer", "--mode", "two-way"),
        make("false_sharing_active", "false_sharing", "--mode", "active"),
        make("false_sharing_passive", "false_sharing", "--mode", "passive"),
        make("random_replace"),
        make("mixed_handoff"),
        make("thread_churn"),
        make("large_blocks"),
        make("realloc_growth"),
        make("calloc_reuse"),
        make("binary_trees"),
        make("string_map"),
        make("lru_cache"),
        make("swiss_cheese", idle=True),
        make("burst_idle", idle=True),
        make("log_server"),
        make("latency"),
        make("continued_fraction"),
        make("logic_cover"),
    ]
    return {workload.name: workload for workload in table}
