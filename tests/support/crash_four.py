"""Four tasks, one of them returned, one in conflict, one red at first; killed at random moments."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.support.crash_cases import (
    DIRTY,
    RETRIED,
    Case,
    Server,
    Template,
    age_locks,
    check_checkout,
    check_history,
    check_leftovers,
    copied,
    document,
    running,
    statuses,
    story,
)
from tests.support.repos import Sandbox

DEATHS = 6
_SECOND_TRY = 'if test -s "$GITMILL_FINDINGS"; then echo good > {0}; else echo bad > {0}; fi'
_LANDS = ("claimed review", "approved", "queued", "land-started", "landed")
_BUILT = ("created", "readied", "claimed build", "advanced")
_AGAIN = ("claimed build", "advanced")
# What each goes through when nobody dies: as planned; in conflict with the first; returned by the
# reviewer; red at its checks.
STORIES = (
    (*_BUILT, *_LANDS),
    (*_BUILT, *_LANDS[:-1], "ejected", *_AGAIN, *_LANDS),
    (*_BUILT, "claimed review", "returned", *_AGAIN, *_LANDS),
    (*_BUILT[:-1], "returned", *_AGAIN, *_LANDS),
)


@cache
def four(server: Server) -> Template:
    """Return a repository in which two of the tasks are approved already, on the same base."""
    folder = Path(tempfile.mkdtemp(prefix="gitmill-four-"))
    atexit.register(shutil.rmtree, folder)
    repo = Sandbox(folder).repo(files={"a.txt": "one\n", "mine.txt": "committed\n"})
    shutil.rmtree(repo.git_dir / "hooks")
    assert server.gitmill(repo.path, "init").code == 0
    policy = "[checks]\nit = '! grep -q bad red.txt 2>/dev/null'\n"
    repo.commit({".gitmill/config.toml": policy}, "policy")
    tasks = (
        server.new_task(repo.path, "First", "echo A >> a.txt"),
        server.new_task(repo.path, "Conflict", "echo B >> a.txt"),
    )
    assert server.gitmill(repo.path, "run", "--through", "approved").code == 0
    tasks += (
        server.new_task(repo.path, "Returned", _SECOND_TRY.format("r.txt"),
                        "--criterion", "$ grep -q good r.txt"),
        server.new_task(repo.path, "Red", _SECOND_TRY.format("red.txt")),
    )  # fmt: skip
    shutil.rmtree(repo.git_dir / "worktrees")
    (repo.path / "mine.txt").write_text(DIRTY)
    return Template(folder, "main", tasks)


def survives(folder: Path, server: Server, seed: int) -> int:
    """Kill one run after the other, then let one come to its end; return how many were killed."""
    chance, deaths = random.Random(seed), 0
    with copied(four(server), folder / f"case-{seed}", server) as case:
        try:
            for _ in range(DEATHS):
                tree = chance.random() < 0.5
                if case.run("run", lifetime=chance.uniform(0.05, 0.8)) != -signal.SIGKILL:
                    break
                deaths += 1
                if tree:
                    kill_all(case)
                age_locks(case)
            code = case.run("run")
            assert code in (0, 5), code
            check_four(case, deaths)
        except AssertionError as error:
            error.add_note(f"seed {seed}\n" + "\n".join(case.said))
            raise
    return deaths


def kill_all(case: Case) -> None:
    """Kill what a run has left, all of it at once."""
    for pid in running_pids(case):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def running_pids(case: Case) -> list[int]:
    return [pid for pid, _ in running(case)]


def check_four(case: Case, deaths: int) -> None:
    """Assert that all four have landed once, by the way that each has to go, and nothing is left."""
    assert statuses(case) == ["landed"] * 4
    check_history(case)
    repo = case.repo
    named = repo.git("log", "--format=%(trailers:key=Gitmill-Item,valueonly)", "main").split()
    assert sorted(named) == sorted(case.tasks)
    died = 0
    for task, planned in zip(case.tasks, STORIES, strict=True):
        kept: list[str] = []
        for event in story(case, task):
            if event in RETRIED:
                assert kept.pop().startswith(RETRIED[event])
                died += 1
            else:
                kept.append(event)
        assert tuple(kept) == planned, task
        assert document(case, task).value("lease") is None
    assert died <= deaths
    assert repo.git("show", "main:a.txt").split() == ["one", "A", "B"]
    check_checkout(case)
    check_leftovers(case)
    assert case.run("fsck") == 0
