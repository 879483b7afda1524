"""The walk of the guide, done for real: every command of docs/guide/walk.md, on real packages.

It downloads two source distributions and the tools they are tested with, so it needs a package
index that pip can reach; without one it fails. The tools are kept in pytest's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import gitmill
from tests.support.console import Shell, Step, Transcript, sections
from tests.support.repos import Repo

PAGE = "docs/guide/walk.md"
ROOT = Path(__file__).parents[2]
READY, *PACKAGES = sections((ROOT / PAGE).read_text("utf-8")).items()


@pytest.fixture
def shell(tmp_path: Path, pytestconfig: pytest.Config):
    """A shell in an empty folder, with `gitmill` and the tools that the page asks for on PATH."""
    steps = READY[1]
    python = subprocess.run(["python3", "-VV"], capture_output=True, text=True, check=True).stdout
    key = "\n".join([python, *(step.command for step in steps)])
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir(f"walk-{hashlib.sha256(key.encode()).hexdigest()[:12]}")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gitmill").symlink_to(Path(sys.executable).with_name("gitmill"))
    place = tmp_path / "walk"
    place.mkdir()
    with Shell(kept, {}) as shell, (kept / "lock").open("w") as lock:
        shell.run(
            f'unset PYTHONPATH PYTHONDONTWRITEBYTECODE GITMILL_TRUST; PATH="{programs}:$PATH"'
        )
        fcntl.flock(lock, fcntl.LOCK_EX)
        follow(shell, steps)
        fcntl.flock(lock, fcntl.LOCK_UN)
        shell.run(f"cd {place}")
        yield shell


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "steps"), PACKAGES, ids=[name for name, _ in PACKAGES])
def test_the_walk(shell: Shell, tmp_path: Path, name: str, steps: Sequence[Step]):
    follow(shell, steps)
    (folder,) = (path.parent for path in tmp_path.glob("walk/*/.git"))
    assert folder.name.startswith(name)
    repo = Repo(folder)
    the_story_is_whole(repo)
    the_evidence_is_there(repo)
    main_is_green(shell, repo, tmp_path / "clone")


def follow(shell: Shell, steps: Sequence[Step]) -> None:
    """Run the commands of a page; all have to exit 0 but those after which it asks for `$?`."""
    transcript, wrong = Transcript(), []
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        status, real = shell.run(step.command)
        if status and (after is None or after.command != "echo $?"):
            pytest.fail("\n".join([f"{PAGE}:{step.line} exited {status}", *real, *wrong]))
        if not is_pip(step) and not transcript.agrees(step.printed, real):
            wrong += ["", f"{PAGE}:{step.line} printed this:", f"$ {step.command}", *real]
    assert not wrong, "\n".join(wrong)


def is_pip(step: Step) -> bool:
    """Whether a command is one of pip's, which warns about the machine that it runs on."""
    return re.match(r"(\S*/)?pip ", step.command) is not None


def the_story_is_whole(repo: Repo) -> None:
    """Five tasks landed at least; one was returned by review, one was ejected, none is open."""
    items = told(repo, "task", "list", "--all")["items"]
    landed = [item for item in items if item["status"] == "landed"]
    assert len(landed) >= 5
    assert {item["status"] for item in items} == {"landed", "cancelled"}
    happened = {item["id"]: attempts_of(repo, item) for item in items}
    for stage, verdict in (("review", "return"), ("land", "return")):
        assert any((stage, verdict) in happened[item["id"]] for item in landed)
    (broken,) = (item for item in items if item["status"] == "cancelled")
    assert happened[broken["id"]] == [("build", "return")] * 2


def attempts_of(repo: Repo, item: dict[str, Any]) -> list[tuple[str, str]]:
    """Return stage and verdict of the attempts of an item."""
    attempts = told(repo, "task", "show", item["id"])["attempts"]
    return [(attempt["stage"], attempt["verdict"]) for attempt in attempts]


def told(repo: Repo, *args: str) -> dict[str, Any]:
    """Return the answer of a gitmill command."""
    said = gitmill(repo.path, *args, "--json")
    assert said.code == 0, said.err
    return said.json


def the_evidence_is_there(repo: Repo) -> None:
    """Each landed item is one commit of main with a note about it; nothing else is left."""
    landed = {
        item["landed"]: item["id"]
        for item in told(repo, "task", "list", "-s", "landed")["items"]
    }  # fmt: skip
    form = "%H %(trailers:key=Gitmill-Item,valueonly,separator=%x2C)"
    commits = (line.partition(" ") for line in repo.git("log", f"--format={form}").splitlines())
    assert {commit: item for commit, _, item in commits if item} == landed
    for commit, item in landed.items():
        note = repo.git("notes", "--ref=gitmill", "show", commit)
        assert f'item: "{item}"' in note
        assert '"name": "test"' in note
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("for-each-ref", "refs/gitmill/candidate") == ""
    assert "error" not in repo.git("fsck", "--full", "--strict")


def main_is_green(shell: Shell, repo: Repo, clone: Path) -> None:
    """The package's own tests pass in a clone of main, a hundred of them at least."""
    subprocess.run(["git", "clone", "-q", repo.path, clone], check=True)
    status, lines = shell.run(f"cd {clone} && PYTHONPATH=src:. python -m pytest -q")
    assert status == 0, "\n".join(lines[-20:])
    passed = re.search(r"(\d+) passed", lines[-1])
    assert passed
    assert int(passed[1]) >= 100
