# SPDX-License-Identifier: MIT
"""Redis: redis-benchmark from several threads, known data of every type, and a dump by fork.

The data set is compared as Redis itself sums it up (DEBUG DIGEST) and value by value, and again
after a restart from the dump that a forked child wrote while the parent was writing on.
"""

import random

import lib

# These threads of the server's wait by spinning: on two cores they cost far more than they bring,
# so only a short part of the job runs on them.
THREADS = ["--io-threads", "2", "--io-threads-do-reads", "yes"]
# Random keys out of few, each written many times: which values remain does not depend on chance.
KEYS = 500


class Client(lib.SocketClient):
    """The Redis protocol over a unix socket, as much of it as this test needs."""

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(parts))

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        lib.check(line, "redis-server closed the connection")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise lib.Failure(f"redis-server answered: {rest.decode()}")
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind != b"$":
            return rest
        return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2]

    def call(self, *words):
        self.send(*words)
        return self.answer()

    def calls(self, commands, batch=200):
        """Many commands in a pipeline."""
        for first in range(0, len(commands), batch):
            for command in commands[first:first + batch]:
                self.send(*command)
            for _ in commands[first:first + batch]:
                self.answer()


def known_data(count):
    """Commands in a fixed random order that create, grow, shrink and delete keys of every type."""
    source = random.Random(12345)
    text = source.randbytes(60_000)
    commands = []
    for number in range(count):
        key, size = source.randrange(count // 8), int(source.paretovariate(0.7)) * 8
        value = text[number % 1000:][:min(size, 50_000)] + b"."
        commands.append(source.choice([
            ("SET", f"string{key}", value), ("APPEND", f"string{key}", value),
            ("SETRANGE", f"string{key}", source.randrange(2000), value),
            ("RPUSH", f"list{key % 50}", value, value[:20]), ("LPOP", f"list{key % 50}"),
            ("HSET", f"hash{key % 40}", f"field{key}", value), ("SADD", f"set{key % 40}", number),
            ("ZADD", f"ranked{key % 40}", source.randrange(10_000), f"member{key}"),
            ("XADD", f"stream{key % 10}", f"{number + 1}-1", "body", value[:200]),
            ("UNLINK", f"string{source.randrange(count // 8)}"), ("DEL", f"list{key % 90}"),
            ("EVAL", "local t = {} for i = 1, 50 do t[i] = ARGV[1] .. i end "
             "return redis.call('SET', KEYS[1], table.concat(t))", 1, f"script{key}", value[:100]),
        ]))
    return commands


def stored_strings(client):
    keys = sorted(key for key in client.call("KEYS", "*") if key.startswith((b"string", b"script")))
    return b"\n".join(key + b" " + client.call("GET", key) for key in keys)


def state_after_benchmark(client):
    """What redis-benchmark must leave behind whatever its random keys were."""
    client.call("SELECT", 1)
    lines = [f"{name} {client.call(command, name).decode()}" for command, name in (
        ("LLEN", "mylist"), ("SCARD", "myset"), ("HLEN", "myhash"), ("ZCARD", "myzset"))]
    keys = sorted(client.call("KEYS", "*"))
    values = client.call("MGET", *[key for key in keys if key.startswith(b"key:")])
    lines.append(f"{len(values)} strings {lib.digest(b','.join(values))}")
    counters = client.call("MGET", *[key for key in keys if key.startswith(b"counter:")])
    lines.append(f"sum of counters {sum(map(int, counters))}")
    client.call("SELECT", 0)
    return "\n".join(lines)


def dump_while_writing(client):
    """BGSAVE: the child walks the data set as it was at the fork while this side goes on."""
    client.call("BGSAVE")
    client.call("SELECT", 2)
    client.calls([("SET", f"late{number}", "x" * (number % 3000)) for number in range(20_000)])
    client.call("FLUSHDB", "ASYNC")
    client.call("SELECT", 0)

    def saved():
        state = client.call("INFO", "persistence")
        return b"rdb_bgsave_in_progress:0" in state and state
    state = lib.wait_until(saved, "redis-server: the end of BGSAVE")
    lib.check(b"rdb_last_bgsave_status:ok" in state, "redis-server: BGSAVE failed")


def job(session):
    server = lib.find_command("redis-server", "redis-server")
    benchmark = lib.find_command("redis-benchmark", "redis-tools")
    path = session.directory / "redis.sock"
    arguments = [server, "--port", 0, "--unixsocket", path, "--dir", session.directory,
                 "--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
    results = {}

    def load(requests, *tests):
        session.run([benchmark, "-s", path, "--dbnum", 1, "--threads", 2, "-c", 20, "-P", 8, "-q",
                     "-n", requests, "-r", KEYS, "-d", 300, "-t", ",".join(tests)],
                    expect_stderr=True, observe=requests > 10_000)

    def ready():
        try:
            client = Client(path)
        except OSError:
            return False
        # While the dump is being read the answer is an error, not PONG.
        client.send("PING")
        pong = client.file.readline() == b"+PONG\r\n"
        client.close()
        return pong

    with session.server(arguments, ready):
        client = Client(path)
        client.calls(known_data(150_000 if session.long else 25_000))
        results["digest of the known data"] = client.call("DEBUG", "DIGEST")
        results["strings"] = stored_strings(client)
        load(150_000 if session.long else 20_000, "set", "get", "incr", "lpush", "rpush", "lpop",
             "rpop", "sadd", "hset", "zadd", "lrange_100", "mset")
        results["state after the benchmark"] = state_after_benchmark(client)
        before = client.call("DEBUG", "DIGEST")
        dump_while_writing(client)
        lib.check(client.call("DEBUG", "DIGEST") == before, "the data changed during BGSAVE")
        client.send("SHUTDOWN", "NOSAVE")
        lib.wait_until(lambda: not path.exists(), "redis-server: shutdown")
        client.close()
    with session.server(arguments + THREADS, ready):
        client = Client(path)
        lib.check(client.call("DEBUG", "DIGEST") == before, "the reloaded dump has other data")
        lib.check(stored_strings(client) == results["strings"], "reloaded strings are not the same")
        load(5_000 if session.long else 2_000, "set", "get", "lpush", "lrange_100")
        client.call("FLUSHALL", "ASYNC")
        lib.check(client.call("DBSIZE") == b"0", "FLUSHALL left keys behind")
        client.close()
    return results


if __name__ == "__main__":
    lib.main("redis", job)
