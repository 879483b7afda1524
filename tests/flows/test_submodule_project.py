"""A project with submodules, from `init` to landed, without a set-up line typed by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.submodules import ALLOW, nested

TEST = """
from pathlib import Path

def test_it_is_made_of_what_the_submodules_have():
    lib = Path("vendor/my lib")
    parts = [lib / "lib.txt", lib / "in/deep/deep.txt"]
    assert Path("made.txt").read_text() == "".join(part.read_text() for part in parts)
"""
MAKE = 'cd "vendor/my lib"; cat lib.txt in/deep/deep.txt > ../../made.txt'


@pytest.fixture
def lib(sandbox: Sandbox) -> Repo:
    return nested(sandbox)


@pytest.fixture
def repo(sandbox: Sandbox, lib: Repo) -> Repo:
    """A recursive clone, as its user made it."""
    origin = sandbox.repo(
        "origin",
        files={
            "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p no:cacheprovider"\n',
            "tests/test_made.py": TEST,
            "made.txt": "1\ndeep\n",
        },
    )
    origin.git(*ALLOW, "submodule", "--quiet", "add", os.fspath(lib.path), "vendor/my lib")
    origin.git("commit", "-q", "-m", "with lib")
    repo = Repo(sandbox.root / "repo")
    origin.git(*ALLOW, "clone", "-q", "--recursive", os.fspath(origin.path), os.fspath(repo.path))
    return repo


@pytest.mark.slow
def test_a_submodule_is_read_and_moved_and_a_red_pointer_does_not_land(
    repo: Repo, lib: Repo, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    said = gitmill(repo.path, "init")
    assert "test" in (repo.path / ".gitmill/config.toml").read_text().partition("[checks]")[2]
    repo.git("add", ".gitmill")
    repo.git("commit", "-q", "-m", "Add gitmill policy")
    assert gitmill(repo.path, "config", "trust").code == 0
    new_task(repo.path, "Read", f"{MAKE}; touch ../../more.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert repo.git("show", "main:made.txt") == "1\ndeep"

    newer = lib.commit({"lib.txt": "2\n"})
    Repo(repo.path / "vendor/my lib").git("fetch", "-q")  # its address is hidden in the sandbox
    move = 'git -C "vendor/my lib" checkout -q origin/main'
    half = new_task(repo.path, "Bump, and forget the rest", move)
    whole = new_task(repo.path, "Bump", f"{move}; {MAKE}")
    said = gitmill(repo.path, "run")
    assert said.code == 3
    assert "submodule vendor/my lib needs your approval" in said.err
    for task in (half, whole):
        assert gitmill(repo.path, "task", "approve", task).code == 0
    said = gitmill(repo.path, "run")
    assert f"waiting {half}; landed {whole}" in said.err, said.err
    assert '"check test failed"' in said.err
    assert repo.git("rev-parse", "main:vendor/my lib") == newer
    assert repo.git("show", "main:made.txt") == "2\ndeep"
    repo.git(*ALLOW, "submodule", "--quiet", "update", "--recursive")
    assert repo.git("status", "--porcelain") == ""
