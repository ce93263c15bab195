# SPDX-License-Identifier: MIT
"""Perl: hashes, regular expressions, interpreter threads, forked children."""

from pathlib import Path

import lib

SCRIPT = Path(__file__).parent / "jobs" / "perl_job.pl"


def job(session):
    perl = lib.find_command("perl", "perl")
    # Perl orders its hashes by a random seed; fixed, so that both runs do the same work.
    output, _ = session.run([perl, SCRIPT, 4 if session.long else 1],
                            environment={"PERL_HASH_SEED": "0"})
    return {"output": output}


if __name__ == "__main__":
    lib.main("perl", job)
