"""without_samples.py FILE: takes the samples of memory out of a JSON file of mete compare.

SPDX-License-Identifier: MIT
"""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    comparison = json.load(file)
comparison.pop("memory_samples", None)  # what their columns are
for workload in comparison["workloads"]:
    for candidate in workload["candidates"]:
        for run in candidate["runs"]:
            run.pop("memory_samples", None)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(comparison, file, separators=(",", ":"))
    file.write("\n")
