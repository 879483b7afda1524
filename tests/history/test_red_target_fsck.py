"""fsck judges waits for the target and ends without work like any other event."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from tests.conftest import seal
from tests.support.cli import gitmill, new_task
from tests.support.forge import Forgery, json_list
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

pytestmark = pytest.mark.forges


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A history: `Red` has waited at its checks and in the queue, `Idle` had nothing to do."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        seal(tmp_path_factory.mktemp("home"), monkeypatch)
        root = tmp_path_factory.mktemp("made")
        repo = Sandbox(root).repo(
            files={".gitmill/config.toml": "[checks]\ntest = 'test ! -e broken'\n", "broken": "x\n"}
        )
        assert gitmill(repo.path, "init").code == 0
        red = new_task(repo.path, "Red", "echo b > b.txt")
        idle = new_task(repo.path, "Idle", "true", "--fixes-check", "test")
        assert gitmill(repo.path, "run").code == 3
        repo.commit({"broken": None})
        assert gitmill(repo.path, "run", "--through", "approved").code == 0
        repo.commit({"broken": "x\n"})
        assert gitmill(repo.path, "queue", "land").code == 3
        repo.commit({"broken": None})
        assert gitmill(repo.path, "queue", "land").code == 0
        yield repo.path, red, idle


@pytest.fixture
def history(made: tuple[Path, str, str], tmp_path: Path) -> tuple[Repo, str, str]:
    path, red, idle = made
    copy = tmp_path / "repo"
    shutil.copytree(path, copy, symlinks=True)
    return Repo(copy), red, idle


def faults(repo: Repo) -> list[tuple[str, str]]:
    report = fsck(Mill.open(repo.path)).report
    return [(fault.rule, fault.what) for fault in report.faults]


def test_the_history_itself_is_true(history: tuple[Repo, str, str]):
    repo, red, idle = history
    items = Mill.open(repo.path).snapshot().items
    assert (items[red].status.value, items[idle].status.value) == ("landed", "done")
    forgery = Forgery(repo)
    assert forgery.find("released", red).item.value("red_target")["check"] == "test"
    assert forgery.find("land-aborted", red).item.value("red_target")["check"] == "test"
    assert faults(repo) == []


def without_evidence(forgery: Forgery, red: str, _idle: str) -> None:
    forgery.find("released", red).relog(on_target=None)


def of_another_commit(forgery: Forgery, red: str, _idle: str) -> None:
    released = forgery.find("released", red)
    other = released.log.value("on_target") | {"commit": "a" * 40}
    released.relog(on_target=other).set(red_target={"check": "test", "commit": "a" * 40})


def of_a_criterion(forgery: Forgery, red: str, _idle: str) -> None:
    released = forgery.find("released", red)
    (check,) = json_list(released.log, "checks")
    on_target = released.log.value("on_target") | {"check": "criterion-1"}
    released.relog(checks=[check | {"name": "criterion-1"}], on_target=on_target)
    released.set(red_target=released.item.value("red_target") | {"check": "criterion-1"})


def of_a_green_check(forgery: Forgery, red: str, _idle: str) -> None:
    released = forgery.find("released", red)
    (check,) = json_list(released.log, "checks")
    released.relog(checks=[check | {"passed": True}])


def without_the_wait(forgery: Forgery, red: str, _idle: str) -> None:
    forgery.find("released", red).set(red_target=None)


def with_a_counter(forgery: Forgery, red: str, _idle: str) -> None:
    forgery.find("released", red).set(counters={"build": 1})


def at_another_stage(forgery: Forgery, red: str, _idle: str) -> None:
    forgery.find("released", red).set(stage="review").say(Stage="review")


def in_the_queue_for_another_commit(forgery: Forgery, red: str, _idle: str) -> None:
    forgery.find("land-aborted", red).set(red_target={"check": "test", "commit": "a" * 40})


def kept_by_a_claim(forgery: Forgery, red: str, _idle: str) -> None:
    waits = forgery.find("released", red).item.value("red_target")
    forgery.find("claimed", red, 1).set(red_target=waits)


def done_without_its_criterion(forgery: Forgery, _red: str, idle: str) -> None:
    forgery.find("finished", idle).relog(checks=None)


def done_with_a_red_criterion(forgery: Forgery, _red: str, idle: str) -> None:
    done = forgery.find("finished", idle)
    (check,) = json_list(done.log, "checks")
    done.relog(checks=[check | {"passed": False}])


def done_at_no_cost(forgery: Forgery, _red: str, idle: str) -> None:
    forgery.find("finished", idle).set(counters=None)


CASES: dict[Callable[[Forgery, str, str], None], tuple[str, str]] = {
    without_evidence: ("outcome", "released although the agent had completed"),
    of_another_commit: ("evidence", "has no red test on its base"),
    of_a_criterion: ("outcome", "criterion-1 is no check of the frozen plan"),
    of_a_green_check: ("evidence", "has no red test on its base"),
    without_the_wait: ("wrong-fields", "released leaves red_target as it was"),
    with_a_counter: ("counters", "the counters are build 1, not none"),
    at_another_stage: ("outcome", "it is released at review"),
    in_the_queue_for_another_commit: ("wrong-fields", "a landing waits only for the target"),
    kept_by_a_claim: ("wrong-fields", "red_target"),
    done_without_its_criterion: ("missing-check", "no passed criterion `true`"),
    done_with_a_red_criterion: ("missing-check", "no passed criterion `true`"),
    done_at_no_cost: ("counters", "the counters are none, not build 1"),
}


@pytest.mark.parametrize("forge", rest_slow(CASES, 3), ids=[case.__name__ for case in CASES])
def test_a_forged_wait_or_end_is_found(history: tuple[Repo, str, str], forge):
    repo, red, idle = history
    forgery = Forgery(repo)
    forge(forgery, red, idle)
    forgery.write()
    rule, what = CASES[forge]
    found = faults(repo)
    assert any(r == rule and what in w for r, w in found), found
