#!/usr/bin/env python3
"""The instruction budget of malloc, free, new and delete, counted in the disassembly of libmete.so
(x86-64).

The hot path is every way from the function's entry to a `ret` on which nothing is called: slow paths
are calls, or jumps out of the function. Each such way must be within the budget. On failure, the
listing is printed with the instructions of the worst one numbered.

Usage: fast_path_test.py <libmete.so> <fast_path.txt> <compiler> <compiler version>
SPDX-License-Identifier: MIT
"""
import re
import subprocess
import sys
import unittest
from collections import namedtuple
from pathlib import Path

Cost = namedtuple("Cost", "instructions branches stores")
Instruction = namedtuple("Instruction", "address mnemonic operands text")

# What the design allows, with every compiler. malloc stores `top` and clears the mark of a freed block;
# free stores the mark, the block and `top`. Of free's instructions four ask whether a block begins at
# the address, and four whether it is free already: with them, such mistakes are reported at once
# (docs/decisions/0021-misuse-at-once.md). For 1 to 32 KiB malloc goes on in allocate_uncached, after
# five instructions and a branch of its own.
NEW, DELETE = "_Znwm", "_ZdlPvm"
LARGER = "_ZN4mete5front17allocate_uncachedEm"
BUDGETS = {
    "malloc": Cost(15, 2, 2),
    "free": Cost(25, 5, 3),
    NEW: Cost(15, 2, 2),
    DELETE: Cost(25, 5, 3),
    LARGER: Cost(16, 2, 2),
}

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*?)\s*$")
PREFIXES = {"bnd", "notrack", "repz", "rep", "lock", "data16", "cs", "ds"}
READ_ONLY = re.compile(r"(cmp|test|bt|lea|nop|prefetch|ucomis|comis)\w*|push\w*")


def parse(listing, function):
    """The instructions of `function` in the output of objdump --disassemble."""
    found, inside = [], False
    for line in listing.splitlines():
        if line.endswith(">:"):
            inside = line.endswith(f"<{function}>:")
            continue
        match = LINE.match(line) if inside else None
        if match is None:
            continue
        address, mnemonic, operands = match.groups()
        while mnemonic in PREFIXES and operands:
            mnemonic, _, operands = operands.partition(" ")
        operands = operands.split("#")[0].strip()
        found.append(Instruction(int(address, 16), mnemonic, operands, line.strip()))
    if not found:
        raise ValueError(f"no function '{function}' in the disassembly")
    return found


def is_jump(instruction):
    return instruction.mnemonic.startswith("j")


def is_store(instruction):
    """The last operand of AT&T's order is the destination."""
    if instruction.mnemonic.startswith("push"):
        return True
    if is_jump(instruction) or READ_ONLY.fullmatch(instruction.mnemonic):
        return False
    last = re.split(r",(?![^(]*\))", instruction.operands)[-1]
    is_memory = "(" in last or last.startswith("%fs:")
    reads_only = instruction.mnemonic.startswith(("mul", "div", "imul", "idiv", "call", "ret"))
    return is_memory and not reads_only


def hot_paths(instructions):
    """Every way from entry to `ret`, as lists of instructions, without a call and without a loop."""
    index_of = {each.address: index for index, each in enumerate(instructions)}

    def walk(index, trail):
        while index is not None and index < len(instructions):
            instruction = instructions[index]
            if instruction in trail or instruction.mnemonic.startswith("call"):
                return
            trail = trail + [instruction]
            if instruction.mnemonic.startswith("ret"):
                yield trail
                return
            if is_jump(instruction):
                target = re.match(r"[0-9a-f]+\b", instruction.operands)
                taken = index_of.get(int(target.group(), 16)) if target else None
                if instruction.mnemonic.startswith("jmp"):
                    index = taken
                    continue
                if taken is not None:
                    yield from walk(taken, trail)
            index += 1

    return list(walk(0, []))


def cost_of(path):
    return Cost(
        len(path),
        sum(is_jump(each) and not each.mnemonic.startswith("jmp") for each in path),
        sum(is_store(each) for each in path),
    )


def within(cost, limit):
    return all(spent <= allowed for spent, allowed in zip(cost, limit))


def numbered(instructions, path):
    counts = {each: number for number, each in enumerate(path, 1)}
    marks = {each: "  store" for each in path if is_store(each)}
    lines = (
        f"{counts.get(each, ''):>4}  {each.text}{marks.get(each, '')}" for each in instructions
    )
    return "\n".join(lines)


def read_golden(path, compiler, major):
    """{function: Cost} for this compiler; empty if the file does not know it."""
    golden = {}
    for line in path.read_text().splitlines():
        words = line.split("#")[0].replace(":", " ").split()
        if words and words[:2] == [compiler, major]:
            golden[words[2]] = Cost(*map(int, words[3:]))
    return golden


class FastPathTest(unittest.TestCase):
    library = golden = compiler = major = None

    def check(self, function):
        command = ["objdump", "--disassemble", "--no-show-raw-insn", str(self.library)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        instructions = parse(listing, function)
        self.assertEqual(instructions[0].address % 64, 0, f"{function} begins inside a cache line")
        paths = hot_paths(instructions)
        self.assertTrue(paths, f"{function} never returns without a call:\n{listing_of(instructions)}")
        worst = max(paths, key=cost_of)
        cost = Cost(*map(max, zip(*map(cost_of, paths))))
        golden = read_golden(Path(self.golden), self.compiler, self.major).get(function)
        limit = BUDGETS[function] if golden is None else golden
        print(f"{function}, {self.compiler} {self.major}: {describe(cost)}; allowed: {describe(limit)}")
        self.assertTrue(
            within(limit, BUDGETS[function]), f"{self.golden} allows more than the design does"
        )
        shown = f"\n{function} takes {describe(cost)}, allowed are {describe(limit)}:\n"
        self.assertTrue(within(cost, limit), shown + numbered(instructions, worst))
        self.assertEqual(
            cost.stores, BUDGETS[function].stores, shown + numbered(instructions, worst)
        )
        if cost != limit and golden is not None:
            print(f"{function} has become cheaper: tighten its line in {self.golden}")

    def test_malloc(self):
        self.check("malloc")

    def test_free(self):
        self.check("free")

    def test_operator_new(self):
        self.check(NEW)

    def test_sized_operator_delete(self):
        self.check(DELETE)

    def test_malloc_above_1_kib(self):
        self.check(LARGER)


def listing_of(instructions):
    return "\n".join(each.text for each in instructions)


def describe(cost):
    return f"{cost.instructions} instructions, {cost.branches} branches, {cost.stores} stores"


class CounterTest(unittest.TestCase):
    """The counter itself, on a function of every kind of instruction it has to tell apart."""

    LISTING = """
0000000000001000 <malloc>:
    1000:\tlea    -0x1(%rdi),%rax
    1004:\tcmp    $0x3f,%rax
    1008:\tja     1030 <malloc+0x30>
    100a:\ttestb  $0x1,0x8(%rdi)
    100e:\tje     1040 <malloc+0x40>
    1010:\tmov    %fs:(%rcx,%rsi,1),%rax
    1015:\tjmp    1050 <malloc+0x50>
    1030:\tjmp    c600 <_ZN4mete5front13allocate_slowEm>
    1040:\tcall   c700 <elsewhere>
    1045:\tret
    1050:\tmov    %rax,%fs:(%rcx,%rsi,1)
    1056:\taddq   $0x8,0x20(%rcx,%rsi,1)
    105c:\tbnd ret
0000000000001060 <free>:
    1060:\tpush   %rbx
    1061:\tret
"""

    def test_it_counts_the_way_to_the_return_without_a_call(self):
        paths = hot_paths(parse(self.LISTING, "malloc"))
        self.assertEqual([cost_of(path) for path in paths], [Cost(10, 2, 2)])

    def test_a_push_is_a_store(self):
        paths = hot_paths(parse(self.LISTING, "free"))
        self.assertEqual([cost_of(path) for path in paths], [Cost(2, 0, 1)])

    def test_every_way_to_the_return_counts(self):
        listing = self.LISTING.replace("call   c700 <elsewhere>", "nop")
        costs = {cost_of(path) for path in hot_paths(parse(listing, "malloc"))}
        self.assertEqual(costs, {Cost(10, 2, 2), Cost(7, 2, 0)})

    def test_a_loop_ends(self):
        listing = "0 <f>:\n 1:\tdec %rax\n 2:\tjne 1 <f>\n 3:\tret\n"
        paths = hot_paths(parse(listing, "f"))
        self.assertEqual([cost_of(path) for path in paths], [Cost(3, 1, 0)])

    def test_limits(self):
        self.assertTrue(within(Cost(15, 2, 1), Cost(15, 2, 1)))
        self.assertFalse(within(Cost(14, 3, 1), Cost(15, 2, 1)))
        self.assertRaises(ValueError, parse, self.LISTING, "calloc")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: fast_path_test.py <libmete.so> <fast_path.txt> <compiler> <version>")
    FastPathTest.library, FastPathTest.golden, FastPathTest.compiler, version = sys.argv[1:]
    FastPathTest.major = version.split(".")[0]
    unittest.main(argv=sys.argv[:1], verbosity=2)
