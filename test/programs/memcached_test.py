# SPDX-License-Identifier: MIT
"""memcached: several threads of it, several clients that know what each key must hold.

First everything fits, and the contents are compared. Then the cache overflows: what is evicted is
a matter of timing, but a value that is still there must be the right one.
"""

import concurrent.futures
import random

import lib

CLIENTS = 4
CONTENT = random.Random(12345).randbytes(1 << 20)


def content(key, version, size):
    """What `key` holds after its `version`-th write: recognizable, and cheap to make."""
    offset = (key * 31 + version) * 7919 % (len(CONTENT) - size)
    return CONTENT[offset:offset + size]


class Client(lib.SocketClient):
    """memcached's text protocol over a unix socket, as much of it as this test needs."""

    def line(self, request):
        self.socket.sendall(request)
        return self.file.readline().rstrip()

    def store(self, verb, key, value):
        return self.line(b"%s key%d 0 0 %d\r\n%s\r\n" % (verb, key, len(value), value))

    def get(self, key):
        header = self.line(b"get key%d\r\n" % key)
        if header == b"END":
            return None
        size = int(header.split()[3])
        value = self.file.read(size + 2)[:-2]
        lib.check(self.file.readline() == b"END\r\n", f"memcached: no END after key{key}")
        return value

    def statistics(self):
        self.socket.sendall(b"stats\r\n")
        lines = iter(self.file.readline, b"END\r\n")
        return dict(line.decode().split()[1:3] for line in lines if len(line.split()) == 3)


def work(path, worker, rounds):
    """Writes, grows, deletes and reads the keys of one client; returns what they must hold."""
    source, expected = random.Random(worker), {}
    client = Client(path)
    for number in range(rounds):
        key = source.randrange(1000) * CLIENTS + worker
        size = min(int(source.paretovariate(0.6)) * 10, 100_000)
        value = content(key, number, size)
        choice = source.random()
        if choice < 0.5:
            lib.check(client.store(b"set", key, value) == b"STORED", f"set of key{key} failed")
            expected[key] = value
        elif choice < 0.6 and len(expected.get(key, value)) < 200_000:
            stored = client.store(b"append", key, value) == b"STORED"
            lib.check(stored == (key in expected), f"append to key{key}: wrong answer")
            if stored:
                expected[key] += value
        elif choice < 0.7:
            deleted = client.line(b"delete key%d\r\n" % key) == b"DELETED"
            lib.check(deleted == (key in expected), f"delete of key{key}: wrong answer")
            expected.pop(key, None)
        else:
            lib.check(client.get(key) == expected.get(key), f"key{key} holds something else")
        if number % 200 == 0:  # a new connection: its buffers are allocated and freed
            client.close()
            client = Client(path)
    client.close()
    return expected


def overflow(path, worker, rounds):
    """Writes more than fits; returns how many of the values were still there."""
    client, hits = Client(path), 0
    for number in range(rounds):
        key, size = 1_000_000 + number * CLIENTS + worker, 3000 + number % 7 * 9000
        lib.check(client.store(b"set", key, content(key, 0, size)) == b"STORED", "set failed")
        older = number // 2
        key, size = 1_000_000 + older * CLIENTS + worker, 3000 + older % 7 * 9000
        value = client.get(key)
        lib.check(value in (None, content(key, 0, size)), f"key{key} holds something else")
        hits += value is not None
    client.close()
    return hits


def job(session):
    memcached = lib.find_command("memcached", "memcached")
    path = session.directory / "memcached.sock"
    arguments = [memcached, "-s", path, "-t", CLIENTS, "-m", 200, "-c", 200,
                 "-o", "slab_reassign,slab_automove=1"]
    rounds = 60_000 if session.long else 6_000
    results = {}

    def ready():
        try:
            Client(path).close()
        except OSError:
            return False
        return True

    def from_all(task, count):
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda worker: task(path, worker, count), range(CLIENTS)))

    with session.server(arguments, ready, **session.unprivileged):
        expected = {}
        for part in from_all(work, rounds):
            expected.update(part)
        client = Client(path)
        held = {key: client.get(key) for key in range(1000 * CLIENTS)}
        lib.check({key: value for key, value in held.items() if value is not None} == expected,
                  "memcached does not hold what was stored")
        results["stored data"] = b"\n".join(
            b"%d %s" % (key, value) for key, value in held.items() if value is not None)
        statistics = client.statistics()
        lib.check(int(statistics["threads"]) == CLIENTS, "memcached runs another number of threads")
        lib.check(statistics["evictions"] == "0", "the known data did not fit; raise -m")
        hits = from_all(overflow, rounds // 2)
        lib.check(min(hits) > 0, "nothing at all stayed in the cache")
        lib.check(client.statistics()["evictions"] != "0", "the cache did not overflow")
        lib.check(client.line(b"flush_all\r\n") == b"OK", "flush_all failed")
        client.close()
    return results


if __name__ == "__main__":
    lib.main("memcached", job)
