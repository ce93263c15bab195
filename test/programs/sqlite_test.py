# SPDX-License-Identifier: MIT
"""SQLite: an in-memory database under tens of thousands of small statements, then a stored copy."""

import random

import lib

SCHEMA = """
CREATE TABLE item(id INTEGER PRIMARY KEY, owner TEXT, body TEXT, price INTEGER);
CREATE INDEX item_owner ON item(owner, price);
CREATE VIRTUAL TABLE note USING fts5(body);
PRAGMA threads = 2;
"""

QUERIES = """
SELECT owner, count(*), sum(price), max(length(body)) FROM item GROUP BY owner ORDER BY owner;
SELECT id, sum(price) OVER (PARTITION BY owner ORDER BY id ROWS 5 PRECEDING) FROM item
  ORDER BY id LIMIT 2000;
SELECT group_concat(id) FROM (SELECT rowid AS id FROM note WHERE note MATCH 'w1* AND w22'
  ORDER BY rowid);
WITH RECURSIVE step(n, text) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, text || n FROM step
  WHERE n < 1500) SELECT max(length(text)), sum(length(text)) FROM step;
SELECT json_group_array(json_object('owner', owner, 'body', body)) FROM item WHERE id % 7 = 0;
CREATE TABLE sorted AS SELECT * FROM item ORDER BY body DESC, id;
SELECT count(*), sum(rowid * price) FROM sorted;
"""


def statements(count):
    """Inserts, updates, deletes and look-ups in a fixed random order, as one script."""
    source = random.Random(12345)
    lines = []
    for number in range(count):
        choice, owner = source.random(), f"owner{source.randrange(500)}"
        if choice < 0.5:
            body = "b" * source.randrange(400) + str(number)
            lines.append(f"INSERT INTO item VALUES({number}, '{owner}', '{body}', "
                         f"{source.randrange(1000)});")
        elif choice < 0.6:
            words = " ".join(f"w{source.randrange(60)}" for _ in range(20))
            lines.append(f"INSERT INTO note VALUES('{words}');")
        elif choice < 0.75:
            lines.append(f"UPDATE item SET body = body || '{number}', price = price + 1 "
                         f"WHERE id = {source.randrange(number + 1)};")
        elif choice < 0.85:
            lines.append(f"DELETE FROM item WHERE id = {source.randrange(number + 1)};")
        else:
            lines.append(f"SELECT sum(price), max(body) FROM item WHERE owner = '{owner}';")
    return "\n".join(lines)


def job(session):
    sqlite = lib.find_command("sqlite3", "sqlite3")
    stored = session.directory / "stored.db"
    script = "\n".join([SCHEMA, statements(200_000 if session.long else 40_000), QUERIES,
                        "PRAGMA integrity_check;", ".dump", f".backup {stored}"])
    output, _ = session.run([sqlite, "-batch", "-bail", ":memory:"], stdin=script.encode())
    lib.check(b"\nok\n" in output, "sqlite3: the integrity check did not answer ok")
    return {"output and dump": output, "stored file": stored.read_bytes()}


if __name__ == "__main__":
    lib.main("sqlite", job)
