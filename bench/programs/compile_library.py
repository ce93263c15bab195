# SPDX-License-Identifier: MIT
"""Compiles Python's own standard library to byte code, in memory; prints how much came out."""
import os
import types


def sizes(code):
    inner = [sizes(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return len(code.co_code) + sum(inner)


# What Debian's libpython3-stdlib has, whatever else is installed.
packages = ["asyncio", "email", "http", "json", "xml", "multiprocessing", "concurrent", "logging",
            "importlib", "urllib", "wsgiref", "xmlrpc", "html", "collections", "re"]
if os.environ.get("METE_BENCH_QUICK") == "1":
    packages = packages[:8]
else:
    packages = (packages + ["encodings"]) * 3
library = os.path.dirname(os.__file__)
compiled = []
total = 0
for name in packages:
    path = os.path.join(library, name)
    files = [path] if path.endswith(".py") else sorted(
        os.path.join(folder, file) for folder, _, found in os.walk(path)
        for file in found if file.endswith(".py"))
    for file in files:
        with open(file, "rb") as source:
            compiled.append(compile(source.read(), file, "exec", dont_inherit=True))
        total += sizes(compiled[-1])
print(len(compiled), total)
