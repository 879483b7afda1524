"""Histories that earlier versions wrote stay verifiable, and gitmill goes on from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmill.core.lifecycle import RULES, Event, Status
from gitmill.core.trailers import parse_message
from gitmill.errors import TargetMovedError
from gitmill.flows.land_queue import land_queue
from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from tests.support.cli import gitmill
from tests.support.faults import raising
from tests.support.repos import Repo, Sandbox

BUNDLES = sorted((Path(__file__).parents[1] / "histories").glob("*/*.bundle"))
# Events that no version has recorded yet, and those that are younger than the histories.
UNRECORDED = {"split", "expanded", "disputed", "upheld"}


def restored(sandbox: Sandbox, bundle: Path) -> Repo:
    """Return a repository with all refs of a bundle, its target checked out."""
    path = sandbox.root / "old"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "elsewhere")
    repo.git("fetch", "-q", str(bundle), "refs/*:refs/*")
    repo.git("checkout", "-q", "main")
    return repo


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_old_history_is_clean(sandbox: Sandbox, bundle: Path):
    verified = fsck(Mill.open(restored(sandbox, bundle).path))
    assert verified.report.faults == verified.report.unknown == verified.report.notices == []
    assert verified.report.commits > 3


def events(repo: Repo) -> list[tuple[str, str]]:
    """Return the event and the version of the rules of each state commit, newest first."""
    messages = repo.git("log", "--format=%B%x00", "gitmill/state").split("\0")
    records = [parse_message(message.strip("\n") + "\n")[1] for message in messages]
    return [(record.event, record.rules) for record in records if record]


def test_the_histories_of_the_first_rules_have_every_event(sandbox: Sandbox, tmp_path: Path):
    seen: set[str] = set()
    for number, bundle in enumerate(path for path in BUNDLES if path.parent.name == "1"):
        repo = Repo(tmp_path / f"{number}.git")
        sandbox.root.joinpath(repo.path.name).mkdir(exist_ok=True)
        repo.git("init", "-q", "--bare")
        repo.git("fetch", "-q", str(bundle), "refs/heads/gitmill/state:refs/heads/gitmill/state")
        seen |= {event for event, _ in events(repo)}
    assert {event.value for event in Event} - seen == UNRECORDED


@pytest.mark.slow
def test_the_version_of_the_rules_stays_until_it_is_upgraded(sandbox: Sandbox):
    bundle = next(path for path in BUNDLES if path.stem.startswith("high-risk"))
    repo = restored(sandbox, bundle)
    mill = Mill.open(repo.path)
    task = new_task(mill, NewTask(title="Go on", script="echo x > x.txt", criteria=["$ true"]))
    assert events(repo)[0] == ("created", "")
    doctor = gitmill(repo.path, "doctor").out
    assert "the branch follows version 1 of the rules, this gitmill knows 2" in doctor
    assert gitmill(repo.path, "upgrade").plain() == (
        0, "",
        "the state branch follows version 2 of the rules, before 1\nnext: `gitmill doctor`\n",
    )  # fmt: skip
    assert events(repo)[0] == ("upgraded", str(RULES))
    assert gitmill(repo.path, "upgrade").code == 5
    assert gitmill(repo.path, "task", "ready", task.id).code == 0
    assert gitmill(repo.path, "run", task.id).code == 0
    assert {rules for _, rules in events(repo)[:4]} == {str(RULES)}
    assert fsck(Mill.open(repo.path)).holds


@pytest.mark.slow
def test_a_landing_lost_to_a_moving_target_is_not_counted_under_the_first_rules(sandbox: Sandbox):
    repo = restored(sandbox, next(path for path in BUNDLES if path.stem.startswith("high-risk")))
    mill = Mill.open(repo.path)
    task = new_task(mill, NewTask(title="Go on", script="echo x > x.txt", criteria=["$ true"]))
    assert gitmill(repo.path, "task", "ready", task.id).code == 0
    assert gitmill(repo.path, "run", task.id, "--through", "approved").code == 0
    counted = []

    def lost(*_: object) -> bool:
        counted.append(mill.snapshot().item(task.id).count("moved"))
        return True

    error = TargetMovedError("main moved")
    with raising("gitmill.landing.land:move_target", error, lost, times=2):
        land_queue(mill, lambda _: None, only=[task.id])
    assert (counted, mill.snapshot().item(task.id).status) == ([0, 0], Status.LANDED)
    assert mill.snapshot().rules == 1
    assert fsck(Mill.open(repo.path)).holds


@pytest.mark.forges
def test_newer_rules_than_this_gitmill_knows_are_read_and_never_written(sandbox: Sandbox):
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    tree, tip = (
        repo.git("rev-parse", "gitmill/state^{tree}"),
        repo.git("rev-parse", "gitmill/state"),
    )
    message = f"later\n\nGitmill-Event: upgraded\nGitmill-Id: feed\nGitmill-Rules: {RULES + 1}\n"
    newer = repo.git("commit-tree", tree, "-p", tip, "-m", message)
    repo.git("update-ref", "refs/heads/gitmill/state", newer)
    assert gitmill(repo.path, "task", "list").code == 0
    refused = gitmill(repo.path, "task", "new", "No", "--criterion", "$ true")
    assert refused.code == 1
    assert (
        f"follows version {RULES + 1} of the rules, this gitmill knows up to {RULES}" in refused.err
    )
    assert "hint: update gitmill: `pip install --upgrade gitmill`" in refused.err
    assert repo.git("rev-parse", "gitmill/state") == newer


@pytest.mark.slow
def test_no_item_waits_for_a_red_target_under_the_first_rules(sandbox: Sandbox):
    repo = restored(sandbox, next(path for path in BUNDLES if path.stem.startswith("high-risk")))
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'false'\n[limits]\nreturns = 1\n"})
    mill = Mill.open(repo.path)
    made = NewTask(title="Go on", script="echo $GITMILL_ATTEMPT > x.txt", criteria=["$ true"])
    task = new_task(mill, made)
    idle = new_task(mill, NewTask(title="Idle", script="true", criteria=["$ true"]))
    for one in (task, idle):
        assert gitmill(repo.path, "task", "ready", one.id).code == 0
        assert gitmill(repo.path, "run", one.id).code == 1
        assert mill.snapshot().item(one.id).status is Status.BLOCKED
        assert mill.snapshot().item(one.id).red_target is None
    assert mill.snapshot().rules == 1
    assert fsck(Mill.open(repo.path)).holds


@pytest.mark.slow
def test_a_red_target_holds_a_candidate_back_under_the_first_rules_too(sandbox: Sandbox):
    repo = restored(sandbox, next(path for path in BUNDLES if path.stem.startswith("high-risk")))
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'test ! -e broken'\n"})
    mill = Mill.open(repo.path)
    task = new_task(mill, NewTask(title="Go on", script="echo x > x.txt", criteria=["$ true"]))
    assert gitmill(repo.path, "task", "ready", task.id).code == 0
    assert gitmill(repo.path, "run", task.id, "--through", "approved").code == 0
    repo.commit({"broken": "x\n"})
    assert gitmill(repo.path, "queue", "land", task.id).code in (3, 4)
    after = mill.snapshot().item(task.id)
    assert (after.status, after.red_target, after.count("aborts")) == (Status.QUEUED, None, 0)
    assert fsck(Mill.open(repo.path)).holds
    repo.commit({"broken": None})
    assert gitmill(repo.path, "queue", "land", task.id).code == 0
