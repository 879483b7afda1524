"""A tree's mounts: seen by nobody else while they stand, and gone with whatever ends first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.cli import begun
from tests.support.crash_cases import Server, eventually
from tests.support.crash_live import Live
from tests.support.repos import Sandbox


@pytest.fixture
def live(sandbox: Sandbox, server: Server) -> Iterator[Live]:
    """A repository whose checkout shares a folder with each tree."""
    files = {"package.json": '{"name": "top"}\n', ".gitignore": "node_modules/\n", "a.txt": "one\n"}
    live = Live(begun(sandbox, files=dict(files)), server)
    (live.repo.path / "node_modules/dep").mkdir(parents=True)
    yield live
    live.close()


def mounts(live: Live) -> list[str]:
    """Return the mounts of this machine at or from the repository, its worktrees and homes."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = (str(live.repo.path), os.environ["XDG_STATE_HOME"])
    return [line for line in lines if any(place in line for place in places)]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["gitmill", "bubblewrap"])
def test_a_kill_leaves_no_mount_and_the_next_run_works(live: Live, who: str):
    lasting = live.lasting("build")
    script = f"test -d node_modules/dep; echo x > node_modules/x; {lasting}; echo two >> a.txt"
    task = live.new_task("Slow", script, "--criterion", "$ test ! -e node_modules/x")
    process = live.start_until("build", "run")
    below = psutil.Process(process.pid).children(recursive=True)
    (first, *_) = [each for each in below if each.name() == "bwrap"]
    assert mounts(live) == []
    os.kill(process.pid if who == "gitmill" else first.pid, 9)
    assert eventually(lambda: live.has_ended("build"))
    live.go()
    process.communicate(timeout=60)
    assert mounts(live) == []
    if live.item(task)["status"] != "landed":
        said = live.gitmill("run")
        assert said.code == 0, said.err
    assert live.item(task)["status"] == "landed"
    assert [path.name for path in (live.repo.path / "node_modules").iterdir()] == ["dep"]


@pytest.mark.slow
def test_two_trees_at_once_see_nothing_of_each_other_in_a_shared_folder(live: Live):
    tasks = [
        live.new_task(name, f"test ! -e node_modules/mine; echo {name} > node_modules/mine; "
                      f"{live.lasting(name)}; grep -q {name} node_modules/mine; echo > {name}.txt")
        for name in ("first", "second")
    ]  # fmt: skip
    runs = [
        live.start_until(name, "run", task)
        for name, task in zip(("first", "second"), tasks, strict=True)
    ]
    live.go()
    assert [run.communicate(timeout=120)[1] for run in runs]
    assert [live.item(task)["status"] for task in tasks] == ["landed", "landed"]
    assert not (live.repo.path / "node_modules/mine").exists()
