# SPDX-License-Identifier: MIT
"""json.dumps and json.loads of a nested document, over and over; prints a digest of the last."""
import hashlib
import json
import os
import random

random.seed(1)


def document(depth):
    if depth == 0:
        return random.choice([random.random(), random.randrange(10**6), None, True,
                              "text " * random.randrange(1, 12)])
    if depth % 2:
        return {f"key {i} of {depth}": document(depth - 1) for i in range(7)}
    return [document(depth - 1) for _ in range(6)]


value = document(6)
for _ in range(3 if os.environ.get("METE_BENCH_QUICK") == "1" else 36):
    value = json.loads(json.dumps(value))
print(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest())
