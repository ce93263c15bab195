#!/usr/bin/env python3
"""Layers: every #include of src/ and include/mete is allowed by src/layers.txt.

What is found, each as one line:
  - an include of a layer that the table does not allow, public headers that reach into src/ included
  - files that include each other in a circle, and a table that is circular itself
  - a folder without a line in the table, a line without a folder
  - a quoted include that is no file of the repository

Unit tests (*_test.cpp), and headers that only they include, are not looked at. Usage: layers_test.py <repository>
SPDX-License-Identifier: MIT
"""
import re
import sys
import tempfile
import unittest
from pathlib import Path

PUBLIC = "public"
SUFFIXES = {".h", ".hpp", ".cpp", ".c", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<(mete/[^>]+)>)', re.MULTILINE)


def read_table(path):
    """{layer: set of layers it may use}, in the order of the file."""
    table = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        layer, colon, uses = line.partition(":")
        if not colon or layer.strip() in table:
            raise ValueError(f"{path}:{number}: expected one 'layer: layers...' for each layer")
        table[layer.strip()] = set(uses.split())
    return table


class Tree:
    def __init__(self, root):
        self.root = Path(root)
        self.source = self.root / "src"
        self.public = self.root / "include"
        self.table = read_table(self.source / "layers.txt")
        everything = sorted(
            path
            for top in (self.source, self.public / "mete")
            for path in top.rglob("*")
            if path.suffix in SUFFIXES
        )
        tests = [path for path in everything if path.name.endswith("_test.cpp")]
        self.files = [path for path in everything if path not in set(tests)]
        only_tests = self.included_by(tests) - self.included_by(self.files)
        self.files = [path for path in self.files if path not in only_tests]

    def layer_of(self, path):
        if self.public in path.parents:
            return PUBLIC
        return path.relative_to(self.source).parts[0]

    def name_of(self, path):
        return str(path.relative_to(self.root))

    def includes_of(self, path):
        """(text of the include, the file it is, or None) for each include that is not the system's."""
        for quoted, public in INCLUDE.findall(path.read_text()):
            text = quoted or public
            candidates = (self.source / text, self.public / text, path.parent / text)
            yield text, next((each for each in candidates if each.is_file()), None)

    def included_by(self, files):
        return {target for path in files for _, target in self.includes_of(path)}

    def violations(self):
        return [*self.of_the_table(), *self.of_the_edges(), *self.of_cycles()]

    def of_the_table(self):
        folders = {path.name for path in self.source.iterdir() if path.is_dir()} | {PUBLIC}
        for folder in sorted(folders - set(self.table)):
            yield f"src/{folder} has no line in src/layers.txt: say what it may use"
        for layer in sorted(set(self.table) - folders):
            yield f"src/layers.txt names '{layer}', which is no folder of src/: remove the line"
        lower = set()
        for layer, uses in self.table.items():
            for used in sorted(uses - lower):
                yield f"src/layers.txt: {layer} uses {used}, which does not stand above it"
            lower.add(layer)

    def of_the_edges(self):
        for path in self.files:
            layer = self.layer_of(path)
            allowed = self.table.get(layer, set()) | {layer}
            for text, target in self.includes_of(path):
                if target is None:
                    yield f'{self.name_of(path)} includes "{text}", which is no file of src/ or include/'
                elif self.layer_of(target) not in allowed:
                    yield (
                        f"{self.name_of(path)} includes {self.name_of(target)}: "
                        f"{layer} may not use {self.layer_of(target)}"
                    )

    def of_cycles(self):
        edges = {
            path: [target for _, target in self.includes_of(path) if target in set(self.files)]
            for path in self.files
        }
        finished, trail = set(), []

        def visit(path):
            if path in trail:
                circle = trail[trail.index(path):] + [path]
                yield "a circle of includes: " + " -> ".join(self.name_of(each) for each in circle)
            elif path not in finished:
                trail.append(path)
                for target in edges[path]:
                    yield from visit(target)
                trail.pop()
                finished.add(path)

        for path in self.files:
            yield from visit(path)


class RepositoryTest(unittest.TestCase):
    root = None

    def test_every_include_is_allowed(self):
        tree = Tree(self.root)
        self.assertGreater(len(tree.files), 50, f"too few files in {self.root}: a wrong path?")
        found = tree.violations()
        self.assertEqual(found, [], "\n" + "\n".join(found))


class CheckerTest(unittest.TestCase):
    """The checker itself, on small trees with one fault each."""

    TABLE = "public:\nbase:\nheap: base\nfront: base heap public\n"

    def violations(self, files, table=TABLE):
        with tempfile.TemporaryDirectory() as root:
            for folder in ("src/base", "src/heap", "src/front", "include/mete"):
                (Path(root) / folder).mkdir(parents=True)
            (Path(root) / "src/layers.txt").write_text(table)
            for name, text in files.items():
                path = Path(root) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            return Tree(root).violations()

    def test_allowed_edges_pass(self):
        files = {
            "src/base/units.hpp": "#include <cstddef>\n",
            "src/heap/heap.hpp": '#include "base/units.hpp"\n',
            "src/front/front.cpp": '#include "heap/heap.hpp"\n#include <mete/mete.h>\n',
            "include/mete/mete.h": "",
            "src/base/units_test.cpp": '#include "heap/heap.hpp"\n#include "base/model.hpp"\n',
            "src/base/model.hpp": '#include "heap/heap.hpp"\n#include "support.hpp"\n',
        }
        self.assertEqual(self.violations(files), [])

    def assert_found(self, files, expected, **rest):
        found = self.violations(files, **rest)
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], expected)

    def test_an_edge_upwards_is_found(self):
        files = {"src/base/a.hpp": '  #  include "heap/b.hpp"\n', "src/heap/b.hpp": ""}
        self.assert_found(files, "src/base/a.hpp includes src/heap/b.hpp: base may not use heap")

    def test_a_private_header_in_a_public_one_is_found(self):
        files = {"include/mete/a.h": '#include "base/b.hpp"\n', "src/base/b.hpp": ""}
        self.assert_found(files, "include/mete/a.h includes src/base/b.hpp: public may not use base")

    def test_a_public_header_where_it_is_not_allowed_is_found(self):
        files = {"src/heap/a.cpp": "#include <mete/b.h>\n", "include/mete/b.h": ""}
        self.assert_found(files, "src/heap/a.cpp includes include/mete/b.h")

    def test_a_circle_in_one_layer_is_found(self):
        files = {
            "src/base/a.hpp": '#include "base/b.hpp"\n',
            "src/base/b.hpp": '#include "base/c.hpp"\n',
            "src/base/c.hpp": '#include "base/a.hpp"\n',
        }
        self.assert_found(files, "a circle of includes: src/base/a.hpp -> .*b.hpp -> .*c.hpp -> .*a.hpp")

    def test_a_folder_without_a_line_is_found(self):
        self.assert_found({"src/guard/a.hpp": ""}, "src/guard has no line in src/layers.txt")

    def test_a_line_without_a_folder_is_found(self):
        self.assert_found({}, "names 'observe'", table=self.TABLE + "observe: base\n")

    def test_a_circular_table_is_found(self):
        table = "public:\nbase: heap\nheap: base\nfront:\n"
        self.assert_found({}, "base uses heap, which does not stand above it", table=table)

    def test_an_include_of_nothing_is_found(self):
        self.assert_found({"src/base/a.hpp": '#include "vector.hpp"\n'}, "which is no file of src/")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: layers_test.py <repository>")
    RepositoryTest.root = sys.argv.pop(1)
    unittest.main(verbosity=2)
