# SPDX-License-Identifier: MIT
"""git: a repository of many commits is built, packed, checked and cloned."""

import random

import lib

IDENTITY = "Someone <someone@example.org>"


def history(commits):
    """A stream for `git fast-import`: files that change a little with each commit, two branches."""
    source = random.Random(12345)
    files = {f"folder{number % 9}/file{number}": [f"line {line} of {number}" for line in range(80)]
             for number in range(60)}
    stream = []
    for number in range(1, commits + 1):
        branch = "side" if number % 4 == 0 else "main"
        message = f"Change {number}\n"
        stream.append(f"commit refs/heads/{branch}\nmark :{number}\n"
                      f"committer {IDENTITY} {1_600_000_000 + number * 60} +0000\n"
                      f"data {len(message)}\n{message}")
        if number == 4:
            stream.append("from :3\n")
        if number % 20 == 1 and number > 20:
            stream.append(f"merge :{(number - 1) // 4 * 4}\n")
        for name in source.sample(sorted(files), 4):
            lines = files[name]
            lines[source.randrange(len(lines))] = f"changed by {number} {source.random()}"
            lines.insert(source.randrange(len(lines)), f"new in {number}")
            text = "\n".join(lines) + "\n"
            stream.append(f"M 100644 inline {name}\ndata {len(text)}\n{text}\n")
        stream.append("\n")
    return "".join(stream).encode()


def job(session):
    git = lib.find_command("git", "git")
    repository, clone = session.directory / "repository", session.directory / "clone"
    settings = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    for role in ("AUTHOR", "COMMITTER"):
        settings.update({f"GIT_{role}_NAME": "Someone", f"GIT_{role}_EMAIL": "some@example.org"})

    def run(*arguments, place=repository, observe=False, **options):
        return session.run([git, "-C", place, *arguments], environment=settings, observe=observe,
                           **options)[0]

    results = {}
    run("init", "--quiet", "--initial-branch=main", repository, place=session.directory)
    run("fast-import", "--quiet", stdin=history(4000 if session.long else 700), observe=True)
    run("checkout", "--quiet", "--force", "main")
    (repository / "folder1" / "added").write_text("added by hand\n")
    run("add", "--all")
    run("commit", "--quiet", "--message=By hand")
    run("merge", "--quiet", "--strategy=ours", "--message=Merge", "side")
    # One thread and no reuse: with several, which delta is found first is a matter of timing.
    run("repack", "-adfq", "--threads=1", observe=True)
    [pack] = (repository / ".git/objects/pack").glob("*.pack")
    results["pack"] = pack.read_bytes()
    run("-c", "pack.threads=2", "gc", "--quiet", "--aggressive", "--prune=now", observe=True)
    results["check"] = run("fsck", "--full", "--strict", "--no-progress", "--root", observe=True)
    results["log with changes"] = run("log", "--all", "--patch", "--stat", "-M", observe=True)
    results["objects"] = run("rev-list", "--objects", "--all")
    results["blame"] = run("blame", "--line-porcelain", "folder1/file1")
    results["found lines"] = run("-c", "grep.threads=4", "grep", "-nE", "changed by [0-9]*7 ")
    run("clone", "--quiet", "--no-local", f"file://{repository}", clone, place=session.directory,
        observe=True)
    results["references of the clone"] = run("for-each-ref", place=clone)
    results["files of the clone"] = run("archive", "--format=tar", "HEAD", place=clone)
    return results


if __name__ == "__main__":
    lib.main("git", job)
