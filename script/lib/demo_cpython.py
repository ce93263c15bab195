"""The demo's job for CPython: three things that Python programs spend memory on.

Prints a digest of what came out, which has to be the same on every allocator.

SPDX-License-Identifier: MIT
"""

import ast
import glob
import hashlib
import json
import os
import sys


def parse_standard_library(scale, digest):
    """Syntax trees of the standard library's modules, each dropped after use."""
    folder = os.path.dirname(os.__file__)
    files = sorted(glob.glob(os.path.join(folder, "*.py")))
    files = files[:max(5, int(110 * scale))]
    for path in files:
        with open(path, encoding="utf-8") as source:
            tree = ast.parse(source.read(), path)
        digest.update(str(sum(1 for _ in ast.walk(tree))).encode())


def round_trip_json(scale, digest):
    """Documents out and in, as a service does all day."""
    documents = max(2, int(60 * scale))
    for number in range(documents):
        document = [{"id": number * 1000 + row, "name": f"user {row}", "mail": f"u{row}@example.org",
                     "tags": ["a", "bb", "ccc" * (row % 20)], "note": "x" * (row % 700),
                     "score": row / 7} for row in range(2500)]
        text = json.dumps(document)
        if json.loads(text) != document:
            sys.exit("a JSON document did not survive the round trip")
        digest.update(text.encode())


def build_and_drop_dictionaries(scale, digest):
    """Large tables that grow, lose a part, and go: what a cache does."""
    tables = max(2, int(14 * scale))
    for number in range(tables):
        table = {f"key {number} {entry}": [entry] * (entry % 90) for entry in range(60_000)}
        for entry in range(0, 60_000, 3):
            del table[f"key {number} {entry}"]
        table.update((entry, bytes(entry % 1500)) for entry in range(20_000))
        digest.update(str(len(table)).encode())


def main():
    scale = float(os.environ.get("DEMO_SCALE", "1"))
    digest = hashlib.sha256()
    for part in (parse_standard_library, round_trip_json, build_and_drop_dictionaries):
        part(scale, digest)
    print(digest.hexdigest())


main()
