"""A true history to forge; every test of this folder leaves one in which `fsck` finds no fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gitmill.flows import land_queue
from gitmill.flows.init import init
from gitmill.flows.run import RunRequest, run
from gitmill.history.undo import undo_event
from gitmill.history.undo_target import target_for_item
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import NewTask, new_task
from tests.conftest import seal
from tests.support.repos import Repo, Sandbox
from tests.support.true_history import true_history

__all__ = ["true_history"]
CHECK = "test ! -e broken"


@dataclass(frozen=True)
class History:
    """A repository in which one task was returned once and landed, one landed, one was dropped, one undone."""

    repo: Repo
    first: str  # returned once
    second: str  # landed on a target that had moved
    third: str  # cancelled
    fourth: str  # blocked, which was undone


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    root = tmp_path_factory.mktemp("fsck")
    with pytest.MonkeyPatch.context() as patch:
        seal(root, patch)
        policy = f"[checks]\ntest = '{CHECK}'\n"
        files: dict = {".gitmill/config.toml": policy, "a.txt": "a\n", "b.txt": "b\n"}
        repo = Sandbox(root).repo(files=files)
        mill = Mill.open(repo.path)
        init(mill)
        again = NewTask(
            title="Twice", script='echo "$GITMILL_ATTEMPT" > a.txt', criteria=["$ grep -q 2 a.txt"]
        )
        plain = NewTask(
            title="Once",
            script="echo more >> b.txt",
            body="Say more.",
            criteria=["$ grep -q more b.txt"],
        )
        first = new_task(mill, again, ready=True).id
        run(mill, RunRequest(), *silent())
        second = new_task(mill, plain, ready=True).id
        run(mill, RunRequest(through="approved"), *silent())
        repo.commit({"c.txt": "c\n"}, "a person's own")
        land_queue.land_queue(mill, lambda _: None)
        third = new_task(
            mill, NewTask(title="Never", script="true", criteria=["$ true"]), ready=True
        ).id
        decisions.block(mill, third, "not now")
        decisions.unblock(mill, third, reset=True)
        decisions.cancel(mill, third, "no")
        fourth = new_task(
            mill, NewTask(title="Later", script="true", criteria=["$ true"]), ready=True
        ).id
        decisions.block(mill, fourth, "not now")
        undo_event(mill, target_for_item(mill, fourth))
        repo.git("repack", "-adq")  # each test copies it, and files are what copying costs
        yield History(repo, first, second, third, fourth)


def silent() -> tuple[Callable, Callable]:
    """Return a progress and a landing listener that say nothing."""
    return (lambda _: None), (lambda _: None)


@pytest.fixture
def history(original: History, tmp_path: Path) -> History:
    """A copy that the test may damage."""
    copy = shutil.copytree(original.repo.path, tmp_path / "repo", symlinks=True)
    return replace(original, repo=Repo(copy))
