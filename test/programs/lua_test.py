# SPDX-License-Identifier: MIT
"""Lua: every byte it holds comes from realloc, in small pieces, under both of its collectors."""

from pathlib import Path

import lib

SCRIPT = Path(__file__).parent / "jobs" / "lua_job.lua"


def job(session):
    lua = lib.find_command("lua5.4", "lua5.4")
    output, _ = session.run([lua, SCRIPT, 4 if session.long else 1])
    return {"output": output}


if __name__ == "__main__":
    lib.main("lua", job)
