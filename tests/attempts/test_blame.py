"""What ends an attempt costs what its blame says: each class of errors, at each of its places."""

from __future__ import annotations

from collections import Counter

import pytest

from gitmill.attempts.attempt import run_stages
from gitmill.attempts.claim import claim
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import group
from gitmill.errors import Blame, GitmillError, LeasedError
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.supervision import processes
from tests.support.cli import gitmill
from tests.support.faults import at_place, classes, raising
from tests.support.repos import Repo, Sandbox

POLICY = "[checks]\ntest = 'true'\n[limits]\nattempts = 20\n"
QUIET = (Event.CLAIMED, Event.RELEASED)
# Where it is raised: the function, and the stage of the item.
PLACES = {
    "set-up": ("gitmill.git.worktrees:Slot.prepare", "build"),
    "build": ("gitmill.agents.shell:run", "build"),
    "taking the tree": ("gitmill.git.worktrees:Slot.take_tree", "build"),
    "sanity": ("gitmill.attempts.attempt:inspect_change", "build"),
    "checks": ("gitmill.workspace.run_checks:_run", "build"),
    "review": ("gitmill.agents.rules:run", "review"),
    "recording": ("gitmill.mill:Mill.apply", "build"),
    "recording a review": ("gitmill.mill:Mill.apply", "review"),
}


def quiet(_line: object) -> None:
    """Report nothing."""


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={".gitmill/config.toml": POLICY, "a.txt": "a\n"})
    repo.unfence()
    assert gitmill(repo.path, "init").code == 0
    return repo


def is_outcome(_mill: Mill, _item: str, step: object, *_: object) -> bool:
    return getattr(step, "event", None) not in QUIET


def attempt(mill: Mill, item_id: str) -> None:
    """Make one attempt at an item."""
    state = claim(mill, item_id)
    run_stages(mill, state, group(state.plan, state.item.stage), quiet)


def is_still(mill: Mill, repo: Repo) -> None:
    """Nothing runs and nothing is held: no process, no slot, no lease."""
    assert processes.end_claimed(claim_of(repo)) == 0
    for slot in mill.pool.hold_all():
        slot.release()
    for item in mill.snapshot().items.values():
        assert item.lease is None


def check(repo: Repo, place: str, kinds: list[type[GitmillError]]) -> None:
    """Raise each class at a place of an attempt, always at the same item; then let it pass."""
    mill = Mill.open(repo.path)
    where, stage = PLACES[place]
    made = NewTask(title="One", script="echo b > a.txt", criteria=("$ true",))
    task = new_task(mill, made, ready=True).id
    if stage == "review":
        attempt(mill, task)
    for kind in kinds:
        before = mill.snapshot().item(task)
        head = before.stage or "build"
        when = is_outcome if "recording" in place else lambda *_: True
        with raising(where, kind("it broke"), when) as raised:
            if costs(kind):
                attempt(mill, task)
            else:
                with pytest.raises(kind, match="it broke"):
                    attempt(mill, task)
        assert raised, kind
        after = mill.snapshot().item(task)
        cost = Counter(after.counters)
        cost.subtract(before.counters)
        assert +cost == ({head: 1} if costs(kind) else {}), kind
        assert after.attempt == before.attempt + costs(kind), kind
        assert after.status is Status.READY, kind
        assert after.stage in ({head, place} if costs(kind) else {head}), kind
        assert after.work == before.work or (costs(kind) and after.work), kind
        is_still(mill, repo)
    attempt(mill, task)
    assert mill.snapshot().item(task).status is (
        Status.APPROVED if stage == "review" else Status.READY
    )
    assert mill.snapshot().item(task).stage == "review"


def costs(kind: type[GitmillError]) -> bool:
    return kind.blame in (Blame.ITEM, Blame.AGENT)


@pytest.mark.parametrize("place", PLACES)
def test_an_attempt_costs_what_the_blame_of_its_error_says(repo: Repo, place: str):
    check(repo, place, at_place(list(PLACES).index(place)))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_an_attempt_costs_what_the_blame_of_any_error_says(repo: Repo, place: str):
    # A lease that somebody else has is not released; here nobody has taken it over.
    taken = [LeasedError] if "recording" in place else []
    check(repo, place, [kind for kind in classes() if kind not in taken])


def claim_of(repo: Repo) -> str:
    """Return the last claim of the history."""
    return repo.git(
        "log", "-1", "--format=%(trailers:key=Gitmill-Claim,valueonly)", "gitmill/state"
    ).strip()
