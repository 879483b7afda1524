"""A target that moves while checks run costs no attempt and never blocks."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitmill.core.blame_rules import MOVES
from gitmill.core.lifecycle import Status
from gitmill.errors import Exit, TargetMovedError
from gitmill.flows.land_queue import enqueue, land_queue
from gitmill.flows.run import RunRequest, run
from gitmill.landing.land import land_all
from gitmill.mill import Mill
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import begun, gitmill, new_task
from tests.support.faults import raising
from tests.support.repos import Repo, Sandbox

PLACE = "gitmill.landing.land:move_target"
MOVED = TargetMovedError("main moved")

# A user who commits on main until the file `stop` appears: in the checkout of main, or beside it.
USER = """
import os, pathlib, subprocess, sys, time
repo, stop, pause, checkout = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:]
def git(*argv):
    return subprocess.run(["git", "-C", repo, *argv], capture_output=True, text=True)
def here(n):
    (repo / "user.txt").write_text(f"{n}\\n")
    while git("add", "user.txt").returncode or git("commit", "-qm", f"user {n}", "user.txt").returncode:
        time.sleep(0.01)
def beside(n):
    os.environ["GIT_INDEX_FILE"] = str(stop.with_name("index"))
    done = 1
    while done:
        tip = git("rev-parse", "main").stdout.strip()
        git("read-tree", "main")
        text = subprocess.run(["git", "-C", repo, "hash-object", "-w", "--stdin"], input=f"{n}\\n",
            capture_output=True, text=True).stdout.strip()
        git("update-index", "--add", "--cacheinfo", f"100644,{text},user.txt")
        tree = git("write-tree").stdout.strip()
        new = git("commit-tree", "-p", tip, "-m", f"user {n}", tree).stdout.strip()
        done = git("update-ref", "refs/heads/main", new, tip).returncode
n, due = 0, time.monotonic()
while not stop.exists():
    n += 1
    (here if checkout == "here" else beside)(n)
    due += float(pause)
    time.sleep(max(0.0, due - time.monotonic()))
print(n)
"""


@contextmanager
def user(repo: Repo, *, pause: float, place: str) -> Iterator[None]:
    """Commit on main every `pause` seconds in another process."""
    stop = repo.path.parent / "stop"
    argv = [sys.executable, "-c", USER, str(repo.path), str(stop), str(pause), place]
    process = subprocess.Popen(argv)
    try:
        yield
    finally:
        stop.touch()
        assert process.wait(30) == 0
        stop.unlink()


def begun_with(sandbox: Sandbox, check: str) -> Repo:
    policy = f"[checks]\ntest = {check!r}\n"
    return begun(sandbox, files={".gitmill/config.toml": policy, "a.txt": "a\n"})


def approved(repo: Repo, count: int, *more: str) -> list[str]:
    tasks = [new_task(repo.path, f"Task {n}", f"echo {n} > {n}.txt", *more) for n in range(count)]
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    return tasks


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def log_events(repo: Repo, task: str) -> list[str]:
    events = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in events[::-1]]


def landed_beside_a_user(
    sandbox: Sandbox, place: str, *, tasks: int, check: str, pause: float
) -> float:
    """Land tasks beside a user who commits all the time; return the seconds that it took.

    `pause` is the user's, in seconds, on a machine that is quick enough for it.
    """
    repo = begun_with(sandbox, check)
    first, *names = approved(repo, tasks + 1)
    began = time.monotonic()
    assert gitmill(repo.path, "queue", "land", first).code == 0
    # Beside other tests a landing takes longer than the pause: nothing could land then.
    pause = max(pause, 2 * (time.monotonic() - began))
    if place == "beside":
        repo.git("switch", "-q", "-c", "elsewhere")
    with user(repo, pause=pause, place=place):
        began = time.monotonic()
        said = gitmill(repo.path, "queue", "land")
        took = time.monotonic() - began
    assert said.code == 0, said.err
    items = [Mill.open(repo.path).snapshot().item(name) for name in names]
    assert {(one.status, one.count("moved")) for one in items} == {(Status.LANDED, 0)}
    subjects = repo.git("log", "--format=%s", "main").splitlines()
    users = [subject for subject in subjects if subject.startswith("user ")]
    assert users == [f"user {n}" for n in range(len(users), 0, -1)]
    assert repo.git("show", "main:user.txt") == str(len(users))
    assert repo.git("status", "--porcelain") == ""
    return took


@pytest.mark.slow
def test_a_task_lands_beside_a_user_who_commits_all_the_time(sandbox: Sandbox):
    assert landed_beside_a_user(sandbox, "here", tasks=1, check="true", pause=2.0) < 60


@pytest.mark.slow
@pytest.mark.parametrize("place", ["here", "beside"])
def test_five_tasks_land_within_two_minutes_beside_a_user_who_commits_every_second(
    sandbox: Sandbox, place: str
):
    took = landed_beside_a_user(sandbox, place, tasks=5, check="sleep 0.2", pause=1.0)
    assert took < 120


def once(file: Path, act: Callable[[], object]) -> None:
    """Act when a file appears."""
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.02)
    act()


def quiet(_line: object) -> None:
    """Report nothing."""


def test_losses_to_a_moving_target_are_counted_apart_and_forgotten_at_the_landing(
    sandbox: Sandbox,
):
    repo = begun_with(sandbox, "true")
    (task,) = approved(repo, 1)
    mill, seen = Mill.open(repo.path), list[int]()

    def counts(*_: object) -> bool:
        seen.append(mill.snapshot().item(task).count("moved"))
        return True

    with raising(PLACE, MOVED, counts, times=4):
        (after,) = land_queue(mill, quiet)
    assert seen == [0, 1, 2, 3]
    assert (after.status, after.count("moved"), after.count("aborts")) == (Status.LANDED, 0, 0)
    lost = ["land-started", "land-aborted"] * 4
    assert log_events(repo, task)[-10:] == [*lost, "land-started", "landed"]


@pytest.mark.slow
def test_a_target_that_never_rests_blocks_nothing_and_is_named_with_the_figures(sandbox: Sandbox):
    repo = begun_with(sandbox, "sleep 0.2")
    first, second = approved(repo, 2)
    assert gitmill(repo.path, "task", "edit", first, "--priority", "0").code == 0
    mill = Mill.open(repo.path)
    with raising(PLACE, MOVED, lambda _, __, item: item.id == first, times=99) as raised:
        summary = run(mill, RunRequest(), quiet, quiet)
    after = mill.snapshot().item(first)
    assert (after.status, after.count("aborts")) == (Status.QUEUED, 0)
    assert (after.count("moved"), summary.code) == (len(raised), Exit.BUSY)
    assert len(raised) == 2 * MOVES  # the second task has landed, and it is tried once more
    told = (
        rf"{first} lost 20 landings; at the last one main moved \d\.\d s after the landing began; "
        rf"its checks take at least 0\.\d s; make its checks quicker, or let the target rest and "
        rf"`gitmill queue land {first}`"
    )
    assert re.fullmatch(told, summary.moving)
    assert re.search(
        rf"^target keeps moving: {told}$", gitmill(repo.path, "status").out, re.MULTILINE
    )
    assert re.fullmatch(told, gitmill(repo.path, "status", "--json").json["moving"])
    assert mill.snapshot().item(second).status is Status.LANDED
    assert [item.status for item in land_queue(mill, quiet)] == [Status.LANDED]
    assert gitmill(repo.path, "status", "--json").json["moving"] is None


@pytest.mark.slow
def test_the_exit_code_is_busy_while_the_target_is_too_quick_and_ok_afterwards(sandbox: Sandbox):
    repo = begun_with(sandbox, "sleep 0.3")
    approved(repo, 1)
    repo.git("switch", "-q", "-c", "elsewhere")
    with user(repo, pause=0.05, place="beside"):
        landed, ran = gitmill(repo.path, "queue", "land"), gitmill(repo.path, "run")
    assert (landed.code, ran.code) == (4, 4)
    assert all("target keeps moving: " in said.err for said in (landed, ran))
    assert gitmill(repo.path, "run").code == 0


def test_checks_end_as_soon_as_the_target_moves(sandbox: Sandbox):
    begun_file = sandbox.root / "began"
    slow = f"touch {begun_file}; sleep 60"
    repo = begun_with(sandbox, f"test ! -f slow.txt || test -f moved.txt || {{ {slow}; }}")
    (task,) = approved(repo, 1)
    repo.commit({"slow.txt": ""})
    mover = threading.Thread(target=once, args=[begun_file, lambda: repo.commit({"moved.txt": ""})])
    mover.start()
    began = time.monotonic()
    said = gitmill(repo.path, "queue", "land")
    assert (said.code, time.monotonic() - began < 60) == (0, True)
    mover.join()
    ends = ["land-started", "land-aborted", "land-started", "landed"]
    assert log_events(repo, task)[-4:] == ends
    assert repo.git("rev-parse", "main") == item(repo, task)["landed"]


def test_a_stop_during_the_checks_is_not_taken_for_a_moving_target(sandbox: Sandbox):
    begun_file = sandbox.root / "began"
    repo = begun_with(sandbox, f"test ! -f slow.txt || {{ touch {begun_file}; sleep 60; }}")
    (task,) = approved(repo, 1)
    repo.commit({"slow.txt": ""})
    enqueue(Mill.open(repo.path), task)
    stop, mill = StopToken(), Mill.open(repo.path)
    threading.Thread(target=once, args=[begun_file, stop.request]).start()
    with pytest.raises(KeyboardInterrupt):
        land_all(mill, quiet, stop=stop)
    after = mill.snapshot().item(task)
    assert (after.status, after.counters.get("moved"), after.reason) == (
        Status.QUEUED, None, "stopped",
    )  # fmt: skip


@pytest.mark.slow
def test_what_lost_three_landings_goes_before_a_higher_priority(sandbox: Sandbox):
    repo = begun_with(sandbox, "true")
    first, second = approved(repo, 2)
    mill = Mill.open(repo.path)
    enqueue(mill, first)
    with raising(PLACE, MOVED, times=99):
        land_queue(mill, quiet, only=[first])
    assert gitmill(repo.path, "task", "edit", second, "--priority", "0").code == 0
    assert [item.id for item in land_queue(mill, quiet)] == [first, second]
