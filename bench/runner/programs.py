# SPDX-License-Identifier: MIT
"""Real programs as workloads: a command each, and a check that its result is the same on every
allocator. What is measured is the program from Debian's packages; the inputs are our own."""

import hashlib
import os
import random
import shutil
import subprocess
import time

from .allocators import Unavailable
from .workloads import Workload

INPUTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")

# program: Debian package
PACKAGES = {"/usr/bin/python3": "python3", "sqlite3": "sqlite3", "lua5.4": "lua5.4",
            "perl": "perl", "g++": "g++", "git": "git", "gs": "ghostscript", "z3": "z3",
            "redis-server": "redis-server", "redis-benchmark": "redis-tools"}


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def output_digest(output, _work):
    if not output.strip():
        raise ValueError("the program printed nothing")
    return digest(output)


def file_digest(name):
    def check(_output, work):
        with open(os.path.join(work, name), "rb") as file:
            return digest(file.read())
    return check


def expect(text):
    def check(output, _work):
        if output.decode().strip() != text:
            raise ValueError(f"the program should have printed {text}: {output[:200]!r}")
        return text
    return check


# --- SQLite: an in-memory database under many small statements -----------------------------------

def write_statements(count):
    def prepare(work):
        source = random.Random(1)
        with open(os.path.join(work, "statements.sql"), "w", encoding="ascii") as out:
            out.write("create table item(id integer primary key, name text, weight real);\n"
                      "create index by_name on item(name);\n")
            for i in range(count):
                out.write(f"insert into item values({i},'item {source.randrange(10**6)}',"
                          f"{source.random():.6f});\n")
                if i % 4 == 0:
                    out.write(f"select name from item where id={source.randrange(i + 1)};\n")
                if i % 10 == 0:
                    out.write(f"update item set name=name||'!' where id={source.randrange(i + 1)};"
                              f"\ndelete from item where id={source.randrange(i + 1)};\n")
            out.write("select count(*), sum(length(name)), total(weight) from item;\n"
                      "select substr(name,1,8) n, count(*) from item group by n order by 2, 1;\n")
    return prepare


# --- z3: a prime has no two factors, asked of multiplied bit-vectors ------------------------------

def write_puzzle(prime, bits):
    """Both factors have less than `bits` bits, more than the prime's half: a real search."""
    def prepare(work):
        with open(os.path.join(work, "puzzle.smt2"), "w", encoding="ascii") as out:
            out.write("(set-logic QF_BV)\n")
            for factor in "xy":
                out.write(f"(declare-const {factor} (_ BitVec 64))\n"
                          f"(assert (bvugt {factor} (_ bv1 64)))\n"
                          f"(assert (bvult {factor} (_ bv{1 << bits} 64)))\n")
            out.write(f"(assert (= (bvmul x y) (_ bv{prime} 64)))\n(check-sat)\n")
    return prepare


# --- git: packing a repository with a long history ------------------------------------------------

def make_repository(commits):
    """A prepare() that makes the history once and copies it for each run."""
    def build(folder):
        source = random.Random(1)
        files = [[f"line {i} of file {f}\n" for i in range(200)] for f in range(20)]
        stream = []
        for number in range(commits):
            touched = source.randrange(len(files))
            files[touched][source.randrange(200)] = f"changed {source.randrange(10**9)}\n"
            text = "".join(files[touched])
            stream.append(f"commit refs/heads/main\nmark :{number + 1}\n"
                          f"committer A <a@example.org> {1600000000 + number} +0000\n"
                          f"data 8\ncommit \n\nM 100644 inline f{touched}.txt\n"
                          f"data {len(text)}\n{text}\n")
        subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
        subprocess.run(["git", "-c", "core.compression=1", "-c", "fastimport.unpackLimit=1000000",
                        "-C", folder, "fast-import", "--quiet"], check=True,
                       input="".join(stream).encode(), stdout=subprocess.DEVNULL)

    def prepare(work):
        original = os.path.join(os.path.dirname(work), f"history-{commits}.git")
        if not os.path.exists(original):
            build(original)
        shutil.copytree(original, os.path.join(work, "repository.git"))
    return prepare


def check_repository(_output, work):
    git = ["git", "-C", os.path.join(work, "repository.git")]
    subprocess.run(git + ["fsck", "--full"], check=True, capture_output=True)
    return digest(subprocess.run(git + ["rev-list", "--objects", "--all"], check=True,
                                 capture_output=True).stdout)


# --- Redis: a server, its own benchmark as the client ---------------------------------------------

REDIS_TESTS = ("set", "get", "lpush", "lrange_100")


def redis_ask(socket, *words):
    done = subprocess.run(["redis-cli", "-s", socket, *words], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip()


def drive_redis(work, quick):
    socket = os.path.join(work, "redis.socket")
    for _ in range(500):
        if os.path.exists(socket) and redis_ask(socket, "ping") == "PONG":
            break
        time.sleep(0.01)
    else:
        raise RuntimeError("redis-server did not answer within 5 s")
    redis_ask(socket, "set", "witness", "x" * 1000)
    metrics = {}
    seconds = 0.0
    for test in REDIS_TESTS:
        count = (20_000 if quick else 200_000) // (8 if test == "lrange_100" else 1)
        done = subprocess.run(["redis-benchmark", "-s", socket, "-t", test, "-n", str(count), "-r",
                               "100000", "-d", "200", "-c", "20", "-P", "8", "--csv"],
                              capture_output=True, text=True, check=True)
        # "test","rps",...: the last line is the test itself, lines before it fill the list.
        rate = float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))
        metrics[test] = [rate, "operations/s"]
        seconds += count / rate
    right = (redis_ask(socket, "get", "witness") == "x" * 1000
             and int(redis_ask(socket, "dbsize")) > 1
             and int(redis_ask(socket, "llen", "mylist")) > 0)
    redis_ask(socket, "shutdown", "nosave")
    if not right:
        raise RuntimeError("redis-server lost data")
    return {"metrics": metrics, "wall_s": seconds}


def redis():
    return Workload("redis", ["redis-server", "--port", "0", "--unixsocket", "{work}/redis.socket",
                              "--save", "", "--appendonly", "no", "--dir", "{work}"],
                    brings_malloc=True, drive=drive_redis)


# --- the table ------------------------------------------------------------------------------------

def real_programs(quick):
    def size(usual, when_quick):
        return when_quick if quick else usual

    python = "/usr/bin/python3"
    seed = {"PYTHONHASHSEED": "0"}
    sources = ["asyncio", "email", "http", "json"] + size(
        ["unittest", "xml", "multiprocessing", "distutils", "idlelib",
         "concurrent", "logging"], [])
    pages = size(12, 2)
    table = [
        redis(),
        Workload("python_json", [python, f"{INPUTS}/json_round_trips.py", str(size(24, 5))],
                 environment=seed, check=output_digest),
        Workload("python_dicts", [python, f"{INPUTS}/dicts.py", str(size(60_000, 15_000))],
                 environment=seed, check=output_digest),
        Workload("python_dicts_malloc", [python, f"{INPUTS}/dicts.py", str(size(60_000, 15_000))],
                 environment={**seed, "PYTHONMALLOC": "malloc"}, check=output_digest),
        Workload("python_compile", [python, f"{INPUTS}/compile_library.py", *sources],
                 environment=seed, check=output_digest),
        Workload("sqlite", ["sqlite3", ":memory:"], input="statements.sql",
                 prepare=write_statements(size(120_000, 30_000)), check=output_digest),
        Workload("lua", ["lua5.4", f"{INPUTS}/records.lua", "40000", str(size(3, 1))],
                 check=output_digest),
        Workload("perl", ["perl", f"{INPUTS}/words.pl", "12000", str(size(5, 1))],
                 environment={"PERL_HASH_SEED": "0"}, check=output_digest),
        Workload("g++", ["g++", "-std=c++20", f"-DINSTANTIATIONS={size(4, 1)}", "-c",
                         f"{INPUTS}/templates.cpp", "-o", "{work}/templates.o"],
                 check=file_digest("templates.o")),
        Workload("git_gc", ["git", "-C", "{work}/repository.git", "-c", "pack.threads=2", "gc",
                            "--aggressive", "--quiet", "--prune=now"],
                 prepare=make_repository(size(1500, 500)), check=check_repository),
        Workload("ghostscript", ["gs", "-q", "-dSAFER", "-dNOPAUSE", "-dBATCH",
                                 "-sDEVICE=ppmraw", "-r150", "-sOutputFile={work}/page.ppm",
                                 "-c", f"/PAGES {pages} def", "-f", f"{INPUTS}/drawing.ps"],
                 check=file_digest("page.ppm")),
        Workload("z3", ["z3", "{work}/puzzle.smt2"], check=expect("unsat"),
                 prepare=write_puzzle(*size((67108859, 16), (16777213, 14)))),
    ]
    for workload in table:
        workload.group = "programs"
    return {workload.name: workload for workload in table}


def require(workload):
    """Raises Unavailable when the program of a workload is not installed."""
    needed = [workload.command[0]] + (["redis-benchmark"] if workload.name == "redis" else [])
    for program in needed:
        if not shutil.which(program):
            package = PACKAGES.get(program)
            remedy = f"apt-get install {package}" if package else "build the target mete_bench"
            raise Unavailable(f"{workload.name}: {program} does not exist; {remedy}")
