# SPDX-License-Identifier: MIT
"""PostgreSQL: initdb, pgbench with several clients, and queries whose answers are compared.

Every process of the server must have the library, and the server its data again after a restart.
"""

import signal
from pathlib import Path

import lib

QUERIES = Path(__file__).parent / "jobs" / "postgresql.sql"
DUMPED_TABLES = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "event"]
SETTINGS = {
    "listen_addresses": "", "fsync": "off", "max_connections": 20, "shared_buffers": "32MB",
    "log_min_messages": "warning",
}


def job(session):
    # Debian keeps the server's programs of each version apart, outside of PATH.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    initdb, postgres, pgbench, psql, pg_dump = (
        lib.find_command(name, "postgresql", places[-1:])
        for name in ("initdb", "postgres", "pgbench", "psql", "pg_dump"))
    data, user = session.directory / "data", session.unprivileged
    where = ["-h", session.directory, "-U", "postgres"]
    results = {}

    session.run([initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C",
                 "--encoding=UTF8"], worker="postgres", **user)
    arguments = [postgres, "-D", data, "-k", session.directory]
    for name, value in SETTINGS.items():
        arguments += ["-c", f"{name}={value}"]

    def query(text):
        return session.run([psql, *where, "-XqAt", "-v", "ON_ERROR_STOP=1", "postgres"],
                           stdin=text.encode(), observe=False)[0]

    def ready():
        # The server itself writes this line to its lock file when it accepts connections.
        try:
            return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def check_processes(server):
        processes = lib.process_tree(server.pid)
        lib.check(len(processes) > 4, f"postgres: too few processes: {processes}")
        for pid in processes:
            session.check_mapped(pid, f"postgres process {pid}")

    # Fast shutdown: open sessions are ended, data is written.
    with session.server(arguments, ready, stop=signal.SIGINT, **user) as server:
        session.run([pgbench, *where, "-i", "-q", "-s", 5 if session.long else 1, "postgres"],
                    expect_stderr=True, observe=False)
        query("SELECT 1")
        check_processes(server)
        session.run([pgbench, *where, "-n", "-c", 4, "-j", 2, "--random-seed=12345", "-M",
                     "prepared", "-t", 5000 if session.long else 300, "postgres"],
                    expect_stderr=True)
        results["answers"] = query(QUERIES.read_text())
        check_processes(server)
    with session.server(arguments, ready, stop=signal.SIGINT, **user):
        tables = [option for name in DUMPED_TABLES for option in ("-t", name)]
        dump, _ = session.run([pg_dump, *where, "--data-only", *tables, "postgres"], observe=False)
        # Rows are stored in the order in which concurrent clients wrote them; newer versions of
        # pg_dump begin and end with a random word.
        lines = [line for line in dump.splitlines()
                 if not line.startswith((b"\\restrict", b"\\unrestrict"))]
        results["dump after a restart"] = b"\n".join(sorted(lines))
    return results


if __name__ == "__main__":
    lib.main("postgresql", job)
