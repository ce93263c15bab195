# SPDX-License-Identifier: MIT
"""Ruby: GC.compact, threads, fibers, forked children, large strings and hashes."""

from pathlib import Path

import lib

SCRIPT = Path(__file__).parent / "jobs" / "ruby_job.rb"


def job(session):
    ruby = lib.find_command("ruby", "ruby")
    output, _ = session.run([ruby, SCRIPT, 4 if session.long else 1])
    return {"output": output}


if __name__ == "__main__":
    lib.main("ruby", job)
