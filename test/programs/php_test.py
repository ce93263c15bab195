# SPDX-License-Identifier: MIT
"""PHP: with its own allocator on top of large blocks, and with USE_ZEND_ALLOC=0 (all by malloc)."""

from pathlib import Path

import lib

SCRIPT = Path(__file__).parent / "jobs" / "php_job.php"


def job(session):
    php = lib.find_command("php", "php-cli")
    results = {}
    for own_allocator in ("1", "0"):
        output, _ = session.run(
            [php, "-d", "memory_limit=-1", "-d", "display_errors=stderr", SCRIPT,
             4 if session.long else 1],
            environment={"USE_ZEND_ALLOC": own_allocator})
        results[f"output with USE_ZEND_ALLOC={own_allocator}"] = output
    lib.check(len(set(results.values())) == 1, "php's output depends on USE_ZEND_ALLOC")
    return results


if __name__ == "__main__":
    lib.main("php", job)
