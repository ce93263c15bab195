# SPDX-License-Identifier: MIT
"""nginx: worker processes with thread pools, every kind of body it makes, and reloads in between.

Each request has one right answer. Clients on kept-alive connections send the same requests before,
during and after SIGHUP replaces the workers; the answers, uncompressed, are compared. As root the
master gives up root in its workers by setuid: every thread of theirs must have changed its user.
"""

import concurrent.futures
import gzip
import http.client
import os
import re
import random
import signal
import socket

import lib

CONFIGURATION = """
{user}
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
thread_pool default threads=3;
events {{ worker_connections 200; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  proxy_cache_path {directory}/cache keys_zone=cache:2m;
  client_max_body_size 4m;
  keepalive_requests 50;
  server {{
    listen unix:{directory}/http.sock;
    root {directory}/files;
    gzip on;
    gzip_types *;
    gzip_min_length 100;
    location / {{ sendfile off; output_buffers 3 20k; }}
    location /threaded/ {{
      alias {directory}/files/; aio threads; sendfile off; output_buffers 3 20k;
    }}
    location /changed/ {{
      alias {directory}/files/;
      sub_filter_types *; sub_filter_once off;
      sub_filter 'aa' '[a pair]'; sub_filter 'bc' '';
    }}
    location /included/ {{ alias {directory}/files/; ssi on; ssi_types *; }}
    location /proxied/ {{ proxy_pass http://unix:{directory}/http.sock:/; proxy_buffers 8 4k; }}
    location /cached/ {{
      proxy_pass http://unix:{directory}/http.sock:/; proxy_cache cache; proxy_cache_valid 1h;
    }}
    location ~ ^/matched/(?<word>[a-z]+)/(?<number>[0-9]+)$ {{
      rewrite ^/matched/(.*)$ /$word/$1 break; return 200 "$word $number $uri $args\\n";
    }}
    location /stored/ {{ root {directory}; dav_methods PUT DELETE; client_body_buffer_size 8k; }}
  }}
}}
"""


PLACES = ["", "changed/", "included/", "proxied/", "cached/", "proxied/changed/",
          "cached/included/", "proxied/proxied/proxied/"]
# nginx 1.22 does not wait for its thread pool when a worker has to go, and drops the request.
# So these are asked for only when no reload is under way.
THREADED_PLACES = ["threaded/", "proxied/threaded/"]


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def prepare(directory):
    """The files to serve, the folders that the workers write to, the configuration."""
    for folder in ("files", "stored", "body", "proxy", "fastcgi", "uwsgi", "scgi", "cache"):
        (directory / folder).mkdir()
        (directory / folder).chmod(0o777)
    source = random.Random(12345)
    for number in range(40):
        size = int(1.4 ** number) + number
        text = "".join(source.choices("abcdefgh \n", k=size))
        (directory / "files" / f"{number}").write_text(text)
    includes = "".join(f'<!--#include virtual="/{number}" -->' for number in range(20))
    (directory / "files" / "page").write_text(f'<!--#echo var="uri" -->{includes}')
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, user=user))
    return configuration


def requests(places, count):
    """(method, target, body) in a fixed random order."""
    source = random.Random(54321)
    for number in range(count):
        file = source.choice([*range(36), "page"])
        yield "GET", f"/{source.choice(places)}{file}", None
        if number % 10 == 0:
            word = "".join(source.choices("abc", k=source.randrange(1, 2000)))
            yield "GET", f"/matched/{word}/{number}?argument={word[::-1]}", None
            yield "GET", f"/absent/{word}", None
        if number % 15 == 0:
            body = source.randbytes(source.choice([10, 5_000, 300_000]))
            yield "PUT", f"/stored/{number}", body
            yield "GET", f"/stored/{number}", None


def ask(connection, method, target, body):
    """One line about the answer. A kept connection may be closed by a reload between two requests,
    before any byte of an answer; only then is the request sent again."""
    while True:
        try:
            connection.request(method, target, body, {"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            break
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            lib.check(connection.asked, f"nginx closed a fresh connection: {method} {target[:80]}")
            connection.close()
            connection.asked = False
    connection.asked = not answer.will_close
    content = answer.read()
    if answer.getheader("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    return f"{method} {target[:100]} {answer.status} {len(content)} {lib.digest(content)}"


def client(path, number, places, count):
    connection = Connection(path)
    connection.asked = False
    lines = [ask(connection, method, target.replace("/stored/", f"/stored/{number}-"), body)
             for method, target, body in requests(places, count)]
    connection.close()
    return "\n".join(lines)


def workers(master):
    return {pid for pid in lib.process_tree(master) if pid != master
            and "worker process" in lib.read_proc(pid, "cmdline")
            and "shutting down" not in lib.read_proc(pid, "cmdline")}


def check_workers(session, pids, user):
    for pid in pids:
        session.check_mapped(pid, "nginx worker")
        for task in os.listdir(f"/proc/{pid}/task"):
            lines = lib.read_proc(pid, f"task/{task}/status").splitlines()
            [users] = [set(line.split()[1:]) for line in lines if line.startswith("Uid:")]
            lib.check(users == {str(user)}, f"a thread of an nginx worker kept user {users}")


def reload(session, master, user):
    """SIGHUP; returns when a new set of workers has taken over and the old ones are gone."""
    old = workers(master)
    os.kill(master, signal.SIGHUP)
    new = lib.wait_until(lambda: len(workers(master) - old) == 2 and workers(master) - old,
                         "nginx: new workers after SIGHUP")
    check_workers(session, new, user)
    lib.wait_until(lambda: not old & lib.process_tree(master).keys(), "nginx: end of old workers")


def job(session):
    nginx = lib.find_command("nginx", "nginx")
    configuration, path = prepare(session.directory), session.directory / "http.sock"
    user = session.unprivileged.get("user", os.geteuid())
    count, clients = (1500, 8) if session.long else (350, 4)
    results = {}

    def ready():
        try:
            Connection(path).connect()
        except OSError:
            return False
        return True

    arguments = [nginx, "-c", configuration, "-e", "stderr", "-g", "daemon off;"]
    with session.server(arguments, ready, stop=signal.SIGQUIT) as master:
        lib.wait_until(lambda: len(workers(master.pid)) == 2, "nginx: two workers")
        check_workers(session, workers(master.pid), user)
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:

            def start(places):
                return [pool.submit(client, path, number, places, count)
                        for number in range(clients)]
            answers = start(PLACES)
            for _ in range(5 if session.long else 2):
                reload(session, master.pid, user)
            for number, answer in enumerate(answers):
                results[f"answers to client {number}"] = answer.result()
            for number, answer in enumerate(start(THREADED_PLACES)):
                results[f"answers to client {number} by threads"] = answer.result()
        check_workers(session, workers(master.pid), user)
    log = lib.check_messages("nginx", (session.directory / "error.log").read_text())
    # A worker that shuts down has been seen, twice and on a busy machine, to log that sockets were
    # left open. It says nothing of memory and did not come back on either allocator, so whose race
    # it is stays unknown; it is no reason to fail here.
    faults = [line for line in log.splitlines() if any(
        word in line for word in ("[alert]", "[emerg]", "[crit]", "exited on signal"))
        and not re.search(r"open socket #\d+ left in connection \d+$|: aborting$", line)]
    lib.check(not faults, f"nginx logged: {faults[:3]}")
    return results


if __name__ == "__main__":
    lib.main("nginx", job)
