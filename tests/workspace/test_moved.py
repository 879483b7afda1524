"""A repository that is moved or deleted during a run: nothing is lost, and it goes on there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.mill import Mill
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox

# The code that runs says that it has begun, and goes on when it may.
WAITS = "touch begun; until test -e go; do sleep 0.02; done; rm -f begun go"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n"})


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def during(folder: Path, command: str, slot: Path, action: Callable[[], object]) -> tuple[int, str]:
    """Run a command, act while the code in a slot waits; return exit code and standard error."""
    argv = [sys.executable, "-m", "gitmill", *command.split()]
    running = subprocess.Popen(argv, cwd=folder, stderr=subprocess.PIPE, text=True)
    wait_for(slot / "begun")
    action()
    (slot / "go").touch()
    err = running.communicate(timeout=60)[1]
    return running.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("sandboxed", ["auto", "off"])
def test_moved_while_an_agent_works_it_goes_on_in_its_new_place(repo: Repo, sandboxed: str):
    repo.git("config", "gitmill.sandbox", sandboxed)
    task = new_task(repo.path, "Append", f"echo b >> a.txt; {WAITS}")
    taken = new_task(repo.path, "Mine", "true")
    assert gitmill(repo.path, "task", "take", taken).code == 0
    pool, moved = Mill.open(repo.path).pool.folder, Repo(repo.path.parent / "moved")
    code, err = during(
        repo.path, f"run {task}", pool / "build-1", lambda: repo.path.rename(moved.path)
    )
    assert (code, err) == (
        1,
        f"error[repository-gone]: {repo.path} was moved or deleted while gitmill worked in it\n"
        f"    the files of {task} are in {pool}/build-1\n"
        "hint: if it was moved, go on there: `gitmill -C DIR run`\n",
    )
    assert not repo.path.exists()
    said = gitmill(moved.path, "recover")
    assert f"{task} continues at build" in said.out, said
    assert moved.git("show", f"refs/gitmill/rescue/{task}/1:a.txt") == "a\nb"
    code, err = during(moved.path, f"run {task}", pool / "build-1", lambda: None)
    assert code == 0, err
    assert (moved.path / "a.txt").read_text() == "a\nb\n"
    assert Mill.open(moved.path).pool.folder == pool
    assert Repo(pool / f"take-{taken}").git("status", "--porcelain") == ""
    assert gitmill(moved.path, "fsck").code == 0


def test_deleted_while_an_agent_works_leaves_its_files_and_one_sentence(repo: Repo):
    task = new_task(repo.path, "Append", f"echo b >> a.txt; {WAITS}")
    slot = Mill.open(repo.path).pool.folder / "build-1"
    code, err = during(repo.path, "run", slot, lambda: shutil.rmtree(repo.path))
    assert code == 1
    assert err.startswith(f"error[repository-gone]: {repo.path} was moved or deleted")
    assert f"the files of {task} are in {slot}\n" in err
    assert not repo.path.exists()
    assert (slot / "a.txt").read_text() == "a\nb\n"


@pytest.mark.slow
def test_another_repository_at_its_place_is_not_touched(repo: Repo):
    new_task(repo.path, "Append", f"echo b >> a.txt; {WAITS}")

    def replaced() -> None:
        repo.path.rename(repo.path.parent / "moved")
        Sandbox(repo.path.parent).repo(repo.path.name, files={"x.txt": "x\n"})

    slot = Mill.open(repo.path).pool.folder / "build-1"
    code, err = during(repo.path, "run", slot, replaced)
    assert code == 1
    assert err.startswith(f"error[repository-gone]: {repo.path} was moved or deleted")
    assert repo.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert repo.git("status", "--porcelain") == ""


def test_moved_before_the_landing_it_lands_there_without_being_trusted_again(repo: Repo):
    task = new_task(repo.path, "Append", "echo b >> a.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    moved = Repo(repo.path.rename(repo.path.parent / "moved"))
    said = gitmill(moved.path, "run")
    assert said.code == 0, said.err
    assert moved.git("show", "main:a.txt") == "a\nb"
    assert gitmill(moved.path, "task", "show", task, "--json").json["item"]["status"] == "landed"


@pytest.mark.slow
def test_moved_while_its_candidate_is_checked_it_lands_in_its_new_place(repo: Repo):
    check = f"$ test $(wc -l < a.txt) = 2 || {{ {WAITS}; }}"
    new_task(repo.path, "Append", "echo b >> a.txt", "--criterion", check)
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    repo.commit({"a.txt": "0\na\n"})
    moved = Repo(repo.path.parent / "moved")
    slot = Mill.open(repo.path).pool.folder / "clean-1"
    code, err = during(repo.path, "queue land", slot, lambda: repo.path.rename(moved.path))
    assert code == 1
    assert err.splitlines()[-2].startswith(f"error[repository-gone]: {repo.path} was moved"), err
    assert moved.git("log", "-1", "--format=%s", "main") == "change"
    assert moved.git("status", "--porcelain", "-uno") == ""
    code, err = during(moved.path, "queue land", slot, lambda: None)
    assert code == 0, err
    assert (moved.path / "a.txt").read_text() == "0\na\nb\n"
    assert not repo.path.exists()
