"""Runs one example briefly in both modes and checks what it prints; servers are talked to.

usage: examples_test.py <example> <command>...

SPDX-License-Identifier: MIT
"""

import contextlib
import html
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def output_of(command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def found(pattern, text):
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in:\n{text}"
    return match.group(1)


def refused(command, *said):
    """It fails with one line on standard error, in which this is said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (1, 2), done
    assert done.stdout == "" and done.stderr.count("\n") == 1, done
    for each in said:
        assert each in done.stderr, done


def game(command):
    """Both modes play the same game; the toolkit's frames allocate nothing."""
    toolkit = output_of([*command, "60"])
    malloc = output_of([*command, "--malloc", "60"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"allocations in frames: (\d+)", toolkit) == "0", toolkit
    assert int(found(r"allocations in frames: (\d+)", malloc)) > 1000, malloc
    refused([*command, "2"], "usage: game")


def order_book(command):
    """Both modes trade the same; in the evening nearly all memory has gone back."""
    toolkit = output_of([*command, "1"])
    malloc = output_of([*command, "--malloc", "1"])
    assert found(r"checksum (\d+)", toolkit) == found(r"checksum (\d+)", malloc)
    assert found(r"night: .* (\d+) orders\n", toolkit) == "0", toolkit
    noon = int(found(r"noon: (\d+) KiB", toolkit))
    night = int(found(r"night: (\d+) KiB", toolkit))
    assert night * 10 < noon, toolkit
    refused([*command, "0"], "usage: order_book")


def log_pipeline(command):
    """The program reads its file and ends with an error if anything is wrong in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "log")
        for mode in ([], ["--malloc"]):
            all_of_them = output_of([*command, *mode, file])
            assert "200000 written, 0 dropped" in all_of_them, all_of_them
            text = output_of([*command, *mode, "--drop", "--disk=20", file])
            written = int(found(r"(\d+) written", text))
            dropped = int(found(r"(\d+) dropped", text))
            assert dropped > 0 and written + dropped == 200000, text
        stalled = output_of([*command, "--stall=500", file])
        assert "200000 written, 0 dropped" in stalled, stalled
        assert int(found(r"(\d+) logged again", stalled)) >= 1, stalled
        in_no_folder = os.path.join(folder, "none", "log")
        refused([*command, in_no_folder], in_no_folder, "No such file")
        refused([*command, "/dev/full"], "cannot write '/dev/full'", "No space left")
        for wrong in ([], [file, "more"], ["--rate=fast", file], ["--what", file]):
            refused([*command, *wrong], "usage: log_pipeline")


def containers(command):
    """Every memory of the table comes to the results of plain malloc."""
    table = output_of(command)
    memories = re.findall(r"^(\w+) .* MiB$", table, re.MULTILINE)
    assert len(memories) == 14 and table.count(" ms ") == 3 * 14, table
    for job in ("index", "lru", "graph"):
        plain = found(r"checksum (\d+)", output_of([*command, "--malloc", job]))
        for memory in memories:
            assert found(r"checksum (\d+)", output_of([*command, "--on", memory, job])) == plain, (
                memory, job)
    for wrong in (["--malloc"], ["sort"], ["--on", "paper", "lru"], ["--on"]):
        refused([*command, *wrong], "usage: containers")


# --- Servers ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(command, limits=()):
    """Started on any free port: the process and the port. Then it has to end well by itself."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                               preexec_fn=lambda: [resource.setrlimit(what, (most, most))
                                                   for what, most in limits])
    try:
        line = process.stdout.readline()
        yield process, int(found(r"listening on 127\.0\.0\.1:(\d+)", line))
    except BaseException:
        process.kill()
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.last_words = process.communicate(timeout=60)[0]
    assert process.returncode == 0, process.returncode


def opens_no_pipes(command):
    """UndefinedBehaviorSanitizer does, to see whether it can read an object; without a descriptor it
    takes the object for a wrong one."""
    return not contains(command[-1], b"__ubsan_")


def used_seconds(process):
    """Of the processors."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def expect_refusals(command):
    name = os.path.basename(command[-1])
    for arguments in (["--what"], ["7x"], [""], ["-1"], ["70000"], ["0", "0"], ["0", "1", "2"]):
        refused([*command, *arguments], "usage: " + name)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused([*command, port], name, port, "in use", "name another")


# --- http -------------------------------------------------------------------------------------------


def request(path="/", method="GET", headers="", body=b""):
    return f"{method} {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode() + body


def form(body, length=None):
    headers = f"Content-Length: {len(body) if length is None else length}\r\n"
    return request("/form", "POST", headers, body)


def answer_of(stream, has_body=True):
    """The status, the headers and the body of the next answer; None: there is none."""
    line = stream.readline()
    if not line:
        return None
    headers = {}
    while (header := stream.readline()) != b"\r\n":
        name, value = header.decode().rstrip("\r\n").split(": ", 1)
        headers[name] = value
    status = int(line.split()[1])
    if status == 200:
        return status, headers, stream.read(int(headers["Content-Length"])) if has_body else b""
    body = stream.read() # all until the end
    assert headers["Connection"] == "close" and body.startswith((b"Send ", b"No memory")), (
        headers, body)
    assert body.count(b"\n") == 1 and body.endswith(b".\n"), body
    return status, headers, body


def shown(answer):
    """What the page says was asked."""
    lines = answer[2].decode().removesuffix("\n").split("\n<p>")[1:]
    return {name: html.unescape(value) for name, value in (each.split(": ", 1) for each in lines)}


def ask(port, *parts, count=1, has_body=True):
    """The answers to what is sent, part by part, on one connection."""
    with connect(port) as connection, connection.makefile("rb") as stream:
        for part in parts:
            connection.sendall(part)
        return [answer_of(stream, has_body) for _ in range(count)]


def http_answers(port):
    """All kinds of requests; returns what was answered."""
    answers = []

    def expect(status, *parts, count=1, has_body=True):
        got = ask(port, *parts, count=count, has_body=has_body)
        assert [each and each[0] for each in got] == [status] * count, (status, parts, got)
        answers.extend(got)
        return got[0]

    page = expect(200, request("/a%20b?name=A%26B+%3C&c=1+2&c=3+4", headers="User-Agent: \t me \r\n"))
    assert b"<title>/a b</title>" in page[2] and b"<p>name: A&amp;B &lt;\n" in page[2], page
    assert page[1]["Connection"] == "keep-alive", page
    assert shown(page) == {"host": "here", "user-agent": "me", "connection": "keep-alive",
                           "content-length": "0", "name": "A&B <", "c": "3 4"}
    head = expect(200, request("/?name=x", "HEAD"), has_body=False)
    assert int(head[1]["Content-Length"]) == len(expect(200, request("/?name=x"))[2])
    fields = {"name": 'a "b" \\ & = % \n + {}', "much": "x" * 15_000, "": "empty"}
    text = "&".join(f"{key}={''.join(f'%{ord(c):02x}' if c != 'x' else c for c in value)}"
                    for key, value in fields.items())
    got = expect(200, request("/form?step=2", "POST", f"content-length: {len(text)}\r\n",
                              text.encode()))
    assert {**fields, "step": "2", "host": "here"}.items() <= shown(got).items()
    expect(200, form(b""))

    for wrong in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/3\r\nHost: a\r\n\r\n",
                  b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b" / HTTP/1.1\r\nHost: a\r\n\r\n",
                  b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                  b"GET / HTTP/1.1\nHost: a\r\n\r\n",
                  request(headers="Host: twice\r\n"), request(headers="no colon\r\n"),
                  request(headers="nocolon\r\n"), request(headers=": none\r\n"),
                  request(headers="a b: c\r\n"), request(headers="a : c\r\n"),
                  request(headers=" folded: x\r\n"),
                  request(headers="a: b\nc: d\r\n"), request(headers="a: b\rc\r\n"),
                  request(headers="a: b\0\r\n"),
                  request("/?a=%4"), request("/?a=%zz"), request("/?a=%"), request("/?a=%+1"),
                  request("/%"), form(b"a=%"), form(b"x", "-1"), form(b"x", "1x"), form(b"x", ""),
                  form(b"x", "+1"), form(b"x", "1, 1"),
                  request(headers="Content-Length: 1\r\nContent-Length: 1\r\n"),
                  request("/form", "POST", "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")):
        expect(400, wrong)

    # Limits: just within, just beyond, and while the client is still sending.
    expect(200, form(b"a=" + b"x" * 16382))
    expect(413, form(b"a=" + b"x" * 16383))
    expect(413, form(b"x" * 20_000_000)) # more than the sockets hold
    expect(413, form(b"", "99999999999999999999999"))
    room = 16384 - len(request(headers="A: \r\n"))
    expect(200, request(headers=f"A: {'x' * room}\r\n"))
    expect(431, request(headers=f"A: {'x' * (room + 1)}\r\n"))
    expect(431, b"x" * 200_000)

    # One byte at a time; many at once, with and without bodies; the connection's end.
    whole = form(b"a=1&b=2")
    expect(200, *(whole[i:i + 1] for i in range(len(whole))))
    got = ask(port, b"".join(request(f"/?number={i}") if i % 3 else form(f"number={i}".encode())
                             for i in range(3000)), count=3000)
    assert [shown(each)["number"] for each in got] == [str(i) for i in range(3000)]
    answers += got
    for wish in ("Close", "x, close"):
        got = ask(port, request(headers=f"Connection: {wish}\r\n") + request(), count=2)
        assert got[0][1]["Connection"] == "close" and got[1] is None, got
    got = ask(port, request() + b"wrong\r\n\r\n" + request(), count=3)
    assert [each and each[0] for each in got] == [200, 400, None], got

    # Who sends and does not read is not read from either; nothing is lost.
    long = "x" * 10_000
    with connect(port) as connection, connection.makefile("rb") as stream:
        sender = threading.Thread(target=connection.sendall,
                                  args=[b"".join(request(f"/?number={i}&long={long}")
                                                 for i in range(2000))])
        sender.start()
        assert ask(port, request())[0][0] == 200 # the others have their turn
        for i in range(2000):
            got = shown(answer_of(stream))
            assert got["number"] == str(i) and got["long"] == long, (i, got)
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert answer_of(stream) is None

    for end in range(0, len(whole), 3): # clients that go away
        with connect(port) as connection:
            connection.sendall(whole[:end])
    with connect(port) as connection:
        connection.sendall(request(f"/?long={long}") * 300)
    return answers


def http(command):
    """Both modes give the same answers, to bad input too; at the end nothing is lost or left."""
    answers = []
    for mode in ([], ["--malloc"]):
        for threads in (1, 3):
            with server([*command, *mode, "0", str(threads)]) as (process, port):
                answers.append(http_answers(port))
                idle, half, pressed = (connect(port) for _ in range(3))
                half.sendall(form(b"a=1")[:-2])
                pressed.sendall(request("/?a=" + "x" * 8000) * 100)
                for each in (idle, half): # both are known to a thread
                    assert ask(port, request())[0][0] == 200
                process.send_signal(signal.SIGTERM if threads == 1 else signal.SIGINT)
                with idle.makefile("rb") as stream:
                    assert stream.read() == b"", "an idle connection is closed"
                half.sendall(b"=1")
                with half.makefile("rb") as stream:
                    last = answer_of(stream)
                    assert (last[0], last[1]["Connection"]) == (200, "close"), last
                    assert shown(last)["a"] == "1" and answer_of(stream) is None, last
                with pressed.makefile("rb") as stream:
                    assert answer_of(stream)[0] == 200
                for each in (idle, half, pressed):
                    each.close()
            left = re.findall(r"(\d+) buffers left", process.last_words)
            assert left == ["0"] * threads, process.last_words
        if opens_no_pipes(command):
            descriptors_run_out([*command, *mode, "0", "2"])
        if len(command) == 1 and not contains(command[-1], b"__asan_", b"__tsan_"):
            memory_runs_out([*command, *mode, "0"]) # others reserve more than the limit
    assert all(each == answers[0] for each in answers)
    idle_connections_hold_no_buffer(command)
    expect_refusals(command)


def contains(file, *words):
    with open(file, "rb") as stream:
        content = stream.read()
    return any(each in content for each in words)


def idle_connections_hold_no_buffer(command):
    with server([*command, "0"]) as (process, port), contextlib.ExitStack() as stack:
        for _ in range(400):
            connection = stack.enter_context(connect(port))
            connection.sendall(request())
            assert answer_of(stack.enter_context(connection.makefile("rb")))[0] == 200
    peak = int(found(r"peak (\d+) bytes", process.last_words))
    assert 16384 <= peak < 400 * 16384 / 4, peak


def descriptors_run_out(command):
    """Who is connected is served; who is not waits, at no cost, until somebody has gone."""
    with (server(command, [(resource.RLIMIT_NOFILE, 40)]) as (process, port),
          contextlib.ExitStack() as stack):
        waiting = [stack.enter_context(connect(port)) for _ in range(100)]
        for each in waiting:
            each.sendall(request())
        time.sleep(0.5)
        before = used_seconds(process)
        time.sleep(1.5)
        assert used_seconds(process) - before < 0.3, used_seconds(process) - before
        served, deadline = [], time.monotonic() + 60
        while len(served) < 20:
            assert time.monotonic() < deadline, len(served)
            served = [each for each in waiting if select.select([each], [], [], 0)[0]]
        assert len(served) <= 40, len(served)
        while waiting:
            each = next(each for each in waiting if select.select([each], [], [], 30)[0])
            with each.makefile("rb") as stream:
                assert answer_of(stream)[0] == 200
            each.sendall(request()) # it is served on
            with each.makefile("rb") as stream:
                assert answer_of(stream)[0] == 200
            each.close()
            waiting.remove(each)


def memory_runs_out(command):
    """Requests that are half there take what it has; then others get 503, until some have gone."""
    half = form(b"a=" + b"x" * 10_000)[:-1]
    limits = [(resource.RLIMIT_STACK, 1 << 20), (resource.RLIMIT_AS, 24 << 20)]
    with (server(command, limits) as (process, port), contextlib.ExitStack() as stack):
        poll, held = select.poll(), {}
        while not poll.poll(0 if len(held) < 800 else 30_000):
            assert len(held) < 800, "30 seconds ago"
            connection = stack.enter_context(connect(port))
            connection.sendall(half)
            held[connection.fileno()] = connection
            poll.register(connection, select.POLLIN)
        refused_one = held.pop(poll.poll(0)[0][0])
        with refused_one.makefile("rb") as stream:
            assert answer_of(stream)[0] == 503
        assert len(held) > 50, len(held)
        some = list(held.values())
        for each in some[:10]: # are answered as they should be
            each.sendall(b"x")
            with each.makefile("rb") as stream:
                assert answer_of(stream)[0] in (200, 503)
        for each in some:
            each.close()
        deadline = time.monotonic() + 20
        while ask(port, request())[0][0] != 200:
            assert time.monotonic() < deadline


# --- chat -------------------------------------------------------------------------------------------


def chat_lines(port):
    """What two members and a stranger are told."""
    with contextlib.ExitStack() as stack:
        anna, berta, carl = (stack.enter_context(connect(port)) for _ in range(3))
        of_anna, of_berta, of_carl = (stack.enter_context(each.makefile("r"))
                                      for each in (anna, berta, carl))

        def expect(stream, line):
            got = stream.readline()
            assert got == line + "\n", (line, got)

        anna.sendall(b"join tea anna\r\n")
        expect(of_anna, "* anna joins tea")
        berta.sendall(b"jo")
        berta.sendall(b"in tea berta\n\n")
        for stream in (of_anna, of_berta):
            expect(stream, "* berta joins tea")
        anna.sendall(b"say  hello \t there \nsay again\nwhat\nsay\njoin\n")
        for line in ("anna: hello there", "anna: again"):
            expect(of_anna, line)
            expect(of_berta, line)
        for _ in range(3):
            assert of_anna.readline().startswith("! not understood: join ROOM NAME")
        carl.sendall(b"say before joining\njoin milk " + b"x" * 33 + b"\n")
        for _ in range(2):
            assert of_carl.readline().startswith("! not understood")
        carl.sendall(b"say " + b"x" * 397 + b"\njoin milk carl\nsay " + b"x" * 396 + b"\n")
        assert of_carl.readline().startswith("! the line is not sent")
        expect(of_carl, "* carl joins milk")
        expect(of_carl, "carl: " + "x" * 396)
        anna.sendall(b"join milk anna\n") # leaves the other
        expect(of_anna, "* anna joins milk")
        expect(of_carl, "* anna joins milk")
        berta.sendall(b"say alone\nquit\nsay no more\n")
        expect(of_berta, "berta: alone")
        assert of_berta.read() == ""
        carl.sendall(b"x" * 401) # a line without an end
        assert of_carl.read() == ""
        anna.sendall(b"say the last")
        anna.shutdown(socket.SHUT_WR)
        assert of_anna.read() == ""


def backlog_comes_whole(port):
    """More than the sockets hold, to a client that reads late: sent in pieces, and all of it."""
    count, words = 15_000, "w" * 380
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        late.connect(("127.0.0.1", port))
        late.sendall(b"join queue late\n")
        late.sendall("".join(f"say {i} {words}\n" for i in range(count)).encode())
        with late.makefile("r") as stream:
            assert stream.readline() == "* late joins queue\n"
            for i in range(count):
                got = stream.readline()
                assert got == f"late: {i} {words}\n", (i, got)


def join(connection, room, name):
    """Returns what comes then, line by line."""
    connection.sendall(f"join {room} {name}\n".encode())
    stream = connection.makefile("r")
    assert stream.readline() == f"* {name} joins {room}\n"
    return stream


def talk(port, room, count):
    """Somebody says long lines there, and hears each of them."""
    text = "w" * 380
    with connect(port) as talker, join(talker, room, "talker") as stream:
        sender = threading.Thread(target=talker.sendall, daemon=True, args=[
            "".join(f"say {i} {text}\n" for i in range(count)).encode()])
        sender.start()
        for i in range(count):
            got = stream.readline()
            assert got == f"talker: {i} {text}\n", (i, got)
        sender.join()


def connect_with_little_room(port):
    connection = socket.socket()
    connection.settimeout(30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.connect(("127.0.0.1", port))
    return connection


def slow_client_is_disconnected(port):
    """16 MB are more than the sockets hold and the server keeps; who talks gets all of it."""
    with connect_with_little_room(port) as slow, join(slow, "hall", "slow"):
        talk(port, "hall", 40_000)
        heard = 0
        with contextlib.suppress(ConnectionResetError):
            while part := slow.recv(1 << 20):
                heard += len(part)
        assert 0 < heard < 40_000 * 380 * 3 // 4, heard


def full_ring_loses_nothing(port):
    """Three clients say more at once than the ring has room for; all members hear one order."""
    count = 6_000
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(connect(port)) for _ in range(40)]
        streams = [stack.enter_context(join(each, "fair", f"m{i}"))
                   for i, each in enumerate(members)]
        for i, each in enumerate(streams): # who has joined since
            for later in range(i + 1, len(members)):
                assert each.readline() == f"* m{later} joins fair\n"
        lines = "".join(f"say {i}\n" for i in range(count)).encode()
        talkers = [threading.Thread(target=each.sendall, args=[lines], daemon=True)
                   for each in members[:3]]
        for each in talkers:
            each.start()
        heard = ["".join(stream.readline() for _ in range(3 * count)) for stream in streams]
        assert all(each == heard[0] for each in heard)
        for i in range(3):
            said = re.findall(rf"^m{i}: (\d+)$", heard[0], re.MULTILINE)
            assert said == [str(number) for number in range(count)], i
        for each in talkers:
            each.join()


def chat_without_descriptors(command):
    """Who finds none has to wait, those who are there are served, and the server does not spin."""
    limits = [(resource.RLIMIT_NOFILE, 30)]
    with server([*command, "0", "2"], limits) as (process, port), contextlib.ExitStack() as stack:
        all_of_them = [stack.enter_context(connect(port)) for _ in range(40)]
        first = stack.enter_context(join(all_of_them[0], "queue", "first"))
        last = all_of_them[-1]
        last.sendall(b"join queue last\n")
        assert not select.select([last], [], [], 0.5)[0], "it has been accepted"
        before = used_seconds(process)
        time.sleep(1)
        assert used_seconds(process) - before < 0.3, used_seconds(process) - before
        all_of_them[0].sendall(b"say still here\n")
        assert first.readline() == "first: still here\n"
        for each in all_of_them[1:-1]:
            each.close()
        assert first.readline() == "* last joins queue\n"
        assert last.makefile("r").readline() == "* last joins queue\n"
    assert found(r" (\d+) messages left", process.last_words) == "0", process.last_words
    none = ["/bin/sh", "-c", 'ulimit -n 8 && exec "$0" "$@"', *command, "0", "64"]
    done = subprocess.run(none, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr.count("more descriptors") == 1, done


def chat(command):
    """Messages arrive in order at every member, and the same in both modes; none is left."""
    load = os.path.join(os.path.dirname(command[-1]), "chat_load")
    sums = []
    for mode in ([], ["--malloc"]):
        for readers in (1, 3):
            with server([*command, *mode, "0", str(readers)]) as (process, port):
                chat_lines(port)
                backlog_comes_whole(port)
                full_ring_loses_nothing(port)
                slow_client_is_disconnected(port)
                talk_of_all = output_of([*command[:-1], load, str(port), "40", "3", "100"])
                sums.append(found(r"checksum (\d+)", talk_of_all))
                for _ in range(20): # members that do not listen, and go
                    with connect(port) as silent:
                        silent.sendall(b"join noise x\n" + b"say louder\n" * 500)
                stay, late = connect(port), connect_with_little_room(port)
                stay.sendall(b"join tea late\nsay bye\n")
                stay.recv(1)
                with join(late, "end", "late") as stream:
                    talk(port, "end", 15_000)
                    process.send_signal(signal.SIGTERM)
                    assert stream.readline() == "* talker joins end\n"
                    for i in range(15_000): # what was said comes, though nobody is heard any more
                        assert stream.readline().startswith(f"talker: {i} w"), i
                    assert stream.read() == ""
                late.close()
                stay.makefile("r").read() # closed by the server
                stay.close()
            assert found(r" (\d+) messages left", process.last_words) == "0", process.last_words
    assert len(set(sums)) == 1, sums
    if opens_no_pipes(command):
        chat_without_descriptors(command)
    expect_refusals(command)
    refused([*command[:-1], load, "1", "0"], "usage: chat_load")
    refused([*command[:-1], load, "1"], "chat_load: cannot connect to port 1", "start chat")


globals()[sys.argv[1]](sys.argv[2:])
