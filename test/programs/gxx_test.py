# SPDX-License-Identifier: MIT
"""g++: a template-heavy file gives the same object code, and its program the same sum."""

from pathlib import Path

import lib

SOURCE = Path(__file__).parent / "jobs" / "templates.cpp"
FORMS = [["-O1", "-DKINDS=1"]]
LONG_FORMS = [*FORMS, ["-O3", "-g"], ["-O2", "-flto", "-flto-partition=none"],
              ["-O0", "-D_GLIBCXX_DEBUG"]]


def job(session):
    compiler = lib.find_command("g++", "g++")
    results = {}
    for number, form in enumerate(LONG_FORMS if session.long else FORMS):
        name, built = " ".join(form), session.directory / f"form{number}.o"
        # Names of local symbols come from a random seed; fixed, so that the bytes can be compared.
        session.run([compiler, "-std=c++20", "-pthread", *form, "-frandom-seed=1", "-c", SOURCE,
                     "-o", built], worker="cc1plus")
        results[f"object code {name}"] = built.read_bytes()
        program = session.directory / f"program{number}"
        session.run([compiler, "-pthread", *form, built, "-o", program],
                    worker="lto1" if "-flto" in form else "ld", observe="-flto" in form)
        results[f"output {name}"], _ = session.run([program], announce=True)
    return results


if __name__ == "__main__":
    lib.main("gxx", job)
