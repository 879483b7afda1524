"""What ends a landing costs what its blame says: each class of errors, at each of its places."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.core.blame_rules import RACES
from gitmill.core.lifecycle import Status
from gitmill.errors import (
    Blame,
    GitKilledError,
    GitmillError,
    RefMovedError,
    StateMovedError,
)
from gitmill.flows.land_queue import enqueue, land_queue
from gitmill.landing.land import _land, land_all
from gitmill.landing.publish import land_lock
from gitmill.mill import Mill
from gitmill.supervision import processes
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import begun, gitmill, new_task
from tests.support.faults import at_place, classes, killing, raising
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

ROOT = Path(__file__).parents[2]
POLICY = "[checks]\ntest = 'true'\n[limits]\naborts = 50\n"
PLACES = {
    "replay": "gitmill.landing.land:replayed",
    "candidate": "gitmill.landing.land:patch_of",
    "checks": "gitmill.landing.candidate_checks:run_checks",
    "passes": "gitmill.landing.land:record_passes",
    "moving": "gitmill.landing.land:move_target",
    "publishing": "gitmill.landing.land:finish",
}


def quiet(_line: object) -> None:
    """Report nothing."""


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = begun(sandbox, files={".gitmill/config.toml": POLICY, "a.txt": "a\n"})
    repo.unfence()
    return repo


def queued(repo: Repo, script: str = "echo b > a.txt") -> str:
    """Return a queued task. Its checks run again at its landing, for the target has moved."""
    task = new_task(repo.path, "Change", script)
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    repo.commit({"moved.txt": "moved\n"})
    enqueue(Mill.open(repo.path), task)
    return task


def costs(kind: type[GitmillError]) -> bool:
    return kind.blame in (Blame.ITEM, Blame.AGENT)


def land_once(mill: Mill, task: str) -> None:
    with land_lock(mill) as lock:
        _land(mill, lock, mill.snapshot().item(task), quiet, StopToken())


def check(repo: Repo, place: str, kinds: list[type[GitmillError]]) -> None:
    """Raise each class at a place of a landing, always of the same item; then let it land."""
    mill, task = Mill.open(repo.path), queued(repo)
    repo.git("switch", "-q", "-c", "elsewhere")  # target, note and state move together then
    tip = repo.git("rev-parse", "main")
    for kind in kinds:
        before = mill.snapshot().item(task)
        with raising(PLACES[place], kind("it broke")) as raised:
            if costs(kind):
                land_once(mill, task)
            else:
                with pytest.raises(kind, match="it broke"):
                    land_once(mill, task)
        assert raised, kind
        after = mill.snapshot().item(task)
        assert (after.status, after.lease, after.landing) == (Status.QUEUED, None, None), kind
        assert after.count("aborts") == before.count("aborts") + costs(kind), kind
        assert (after.attempt, after.work) == (before.attempt, before.work), kind
        assert (repo.git("rev-parse", "main"), repo.git("status", "--porcelain")) == (tip, "")
        assert repo.git("for-each-ref", "refs/gitmill/candidate") == ""
        is_still(mill, repo)
    assert gitmill(repo.path, "queue", "land").code == 0
    assert mill.snapshot().item(task).status is Status.LANDED


def is_still(mill: Mill, repo: Repo) -> None:
    """Nothing runs and nothing is held: no process, no slot, no lock."""
    format_ = "--format=%(trailers:key=Gitmill-Claim,valueonly)"
    for claim in repo.git("log", "-2", format_, "gitmill/state").split():
        assert processes.end_claimed(claim) == 0
    for slot in mill.pool.hold_all():
        slot.release()
    with land_lock(mill):
        pass


@pytest.mark.parametrize("place", rest_slow(PLACES, 3))
def test_a_landing_costs_what_the_blame_of_its_error_says(repo: Repo, place: str):
    check(repo, place, at_place(list(PLACES).index(place)))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_landing_costs_what_the_blame_of_any_error_says(repo: Repo, place: str):
    check(repo, place, list(classes()))


def test_a_race_is_tried_again_and_the_item_lands(repo: Repo):
    task, mill = queued(repo), Mill.open(repo.path)
    with raising("gitmill.landing.land:move_target", RefMovedError("main moved")) as raised:
        assert [item.status for item in land_queue(mill, quiet)] == [Status.LANDED]
    assert raised
    events = gitmill(repo.path, "log", task, "--json").json["events"]
    assert [event["event"] for event in events][:4] == [
        "landed", "land-started", "land-aborted", "land-started",
    ]  # fmt: skip
    assert mill.snapshot().item(task).count("aborts") == 0


def test_a_race_that_never_ends_is_reported_after_some_tries(repo: Repo):
    task, mill = queued(repo), Mill.open(repo.path)
    place, error = "gitmill.landing.land:move_target", StateMovedError("refs moved each time")
    with raising(place, error, times=99) as raised, pytest.raises(StateMovedError):
        land_all(mill, quiet, stop=StopToken())
    assert len(raised) == RACES
    item = mill.snapshot().item(task)
    assert (item.status, item.count("aborts")) == (Status.QUEUED, 0)


def test_the_environments_fault_stops_the_queue_once(repo: Repo):
    tasks, mill = [queued(repo), queued(repo, "echo c > c.txt")], Mill.open(repo.path)
    place, error = "gitmill.landing.candidate_checks:run_checks", GitKilledError("git was killed")
    with raising(place, error, times=99) as raised, pytest.raises(GitKilledError):
        land_queue(mill, quiet)
    assert len(raised) == 1
    assert [mill.snapshot().item(task).status for task in tasks] == [Status.QUEUED] * 2


@pytest.mark.forges
def test_a_replay_that_always_fails_blocks_its_item_and_not_the_queue(repo: Repo):
    """The work of the first one is lost, so each of its landings is aborted and counted."""
    repo.commit({".gitmill/config.toml": POLICY.replace("50", "1")})
    lost, other = queued(repo), queued(repo, "echo c > c.txt")
    work = Mill.open(repo.path).snapshot().item(lost).work
    (repo.git_dir / "objects" / work[:2] / work[2:]).unlink()
    landed = land_queue(Mill.open(repo.path), quiet)
    statuses = {item.id: item.status for item in landed}
    assert statuses == {lost: Status.BLOCKED, other: Status.LANDED}


# What happens after the fast-forward of the user's checkout is nothing to abort any more.
DIES = """
import sys
from gitmill.cli.dispatch import dispatch
from gitmill.errors import {kind}
from tests.support.faults import raising
with raising("gitmill.landing.land:finish", {kind}("it broke")):
    sys.exit(dispatch(["queue", "land"]))
"""


@pytest.mark.parametrize("kind", rest_slow(["GitFailedError", "GitKilledError"], 1))
def test_a_landing_whose_target_has_moved_is_finished_by_the_next_command(repo: Repo, kind: str):
    task, tip = queued(repo), repo.git("rev-parse", "main")
    argv = [sys.executable, "-c", DIES.format(kind=kind)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run(argv, cwd=repo.path, env=env, capture_output=True, text=True, check=False)
    assert (died.returncode, "it broke" in died.stderr) == (1, True), died.stderr
    assert repo.git("rev-parse", "main^") == tip
    assert gitmill(repo.path, "recover").code == 0
    item = Mill.open(repo.path).snapshot().item(task)
    assert (item.status, item.landed) == (Status.LANDED, repo.git("rev-parse", "main"))


def test_a_git_that_is_killed_while_it_moves_the_checkout_costs_nothing(repo: Repo):
    """It has written the new files, not the index: they would look like the user's own changes."""
    task = queued(repo)
    env = killing(repo.path.parent, "--ff-only", first="rm a.txt; echo b > a.txt")
    killed = gitmill(repo.path, "queue", "land", env=env)
    assert (killed.code, "error[git-killed]: `git merge` was" in killed.err) == (1, True), (
        killed.err
    )
    assert gitmill(repo.path, "run").code == 0
    item = Mill.open(repo.path).snapshot().item(task)
    assert (item.status, item.count("aborts")) == (Status.LANDED, 0)
    assert repo.git("status", "--porcelain") == ""
