"""What `fsck` costs, whole and again, beside `git log` of the same history.

`python -m tests.bench.verification [TASKS]`: CPU time in milliseconds, medians of five runs.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.repos import Repo, Sandbox

TASKS = int(sys.argv[1]) if len(sys.argv) > 1 else 40


def history(folder: Path) -> Repo:
    """Return a repository in which so many tasks landed one after the other."""
    from gitmill.flows.init import init
    from gitmill.flows.run import RunRequest, run
    from gitmill.mill import Mill
    from gitmill.people.intake import NewTask, new_task

    policy = {".gitmill/config.toml": '[checks]\ntest = "true"\n', "a.txt": "a\n"}
    repo = Sandbox(folder).repo(files=dict(policy))
    mill = Mill.open(repo.path)
    init(mill)
    for number in range(TASKS):
        task = NewTask(
            title=f"Task {number}", script=f"echo {number} > {number}.txt",
            criteria=[f"$ test -e {number}.txt"],
        )  # fmt: skip
        new_task(mill, task, ready=True)
        run(mill, RunRequest(), lambda _: None, lambda _: None)
    return repo


def cpu(work: Callable[[], object]) -> float:
    """Return the milliseconds of CPU that this process and its children used."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    began = used()
    work()
    return (used() - began) * 1000


def median(work: Callable[[], object]) -> float:
    return statistics.median(cpu(work) for _ in range(5))


def measure(repo: Repo) -> None:
    from gitmill.attempts.stage_types import all_types
    from gitmill.history.fsck import fsck
    from gitmill.mill import Mill
    from gitmill.store.audit.replay_history import audit, line_of

    mill = Mill.open(repo.path)
    tip = mill.snapshot().commit
    line = line_of(mill.store.backend, tip)
    log = ["git", "-C", str(repo.path), "log", "--format=%H", "gitmill/state"]
    read = median(lambda: subprocess.run(log, check=True, capture_output=True))
    replay = median(
        lambda: audit(Mill.open(repo.path).store.backend, line, all_types())
    )  # fmt: skip
    whole = median(lambda: fsck(Mill.open(repo.path), again=True))
    again = median(lambda: fsck(Mill.open(repo.path)))
    events = len(line.commits)
    print(
        f"{events} events, {TASKS} landings: {whole:.0f} ms, budget {events * 0.3 + TASKS * 30:.0f}"
    )
    print(f"  an event          {replay / events:6.2f} ms, budget 0.3")
    print(f"  a landing         {(whole - replay) / TASKS:6.2f} ms, budget 30")
    print(f"  again             {again:6.0f} ms for all of it, verified before")
    print(f"  `git log`         {read:6.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gitmill-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        os.environ |= {"HOME": str(home), "XDG_STATE_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
        os.environ["GITMILL_TRUST"] = "1"
        (home / ".gitconfig").write_text("[user]\n\tname = B\n\temail = b@example.com\n")
        measure(history(Path(folder)))


if __name__ == "__main__":
    main()
