"""What `init` leaves in the repository's own git configuration."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.mark.forges
def test_git_says_nothing_of_notes_before_there_is_one_and_carries_them_after(sandbox: Sandbox):
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    assert gitmill(repo.path, "init").code == 0
    assert heard(repo, "log", "-1", "--format=%s") == "first\n"
    heard(repo, "commit", "-q", "--amend", "--no-edit")
    (repo.path / ".gitmill/config.toml").unlink()
    new_task(repo.path, "Two", "echo two > two.txt")
    assert gitmill(repo.path, "run").code == 0
    heard(repo, "commit", "-q", "--amend", "-m", "Two and more")
    assert heard(repo, "log", "-1", "--format=%s %N").startswith("Two and more ---\nitem: ")
    assert repo.git("config", "--get-all", "notes.displayRef").count("\n") == 0


def heard(repo: Repo, *args: str) -> str:
    """Run git and return all that it says to its user."""
    done = subprocess.run(
        ["git", *args], cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    return done.stdout.decode()
