# SPDX-License-Identifier: MIT
"""Builds large dicts of strings and lists and drops them, half of the entries at a time."""
import os


def build(first, count):
    return {f"user:{i}": [f"name {i * 7919 % 10007}", {"visits": i, "tags": ["a", str(i)]}]
            for i in range(first, first + count)}


count = 11_000 if os.environ.get("METE_BENCH_QUICK") == "1" else 70_000
kept = {}
total = 0
for generation in range(4):
    kept.update(build(generation * count, count))
    total += sum(entry[1]["visits"] for entry in kept.values())
    for key in [key for i, key in enumerate(kept) if i % 2]:
        del kept[key]
print(len(kept), total)
