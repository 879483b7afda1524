"""Who has moved a ref, according to its reflog."""

from __future__ import annotations

import os
import subprocess

import pytest

from gitmill.git import tamper
from gitmill.git.ref_changes import Actor, moved_refs
from gitmill.git.repo import Repository
from tests.support.repos import Repo, Sandbox

MARKER = "claim@attempts.gitmill.invalid"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return sandbox.repo()


def picture(repo: Repo) -> tamper.GitDirSnapshot:
    return tamper.take_snapshot(repo.git_dir, Repository.open(repo.path).reader)


def as_they(repo: Repo, *argv: str) -> None:
    env = os.environ | {"GIT_COMMITTER_NAME": "it", "GIT_COMMITTER_EMAIL": MARKER}
    subprocess.run(["git", *argv], cwd=repo.path, env=env, check=True)


def seen(
    repo: Repo, before: tamper.GitDirSnapshot, after: tamper.GitDirSnapshot
) -> dict[str, Actor]:
    moved = moved_refs(repo.git_dir, before, after, MARKER)
    return {change.ref: change.who for change in moved}


def test_commits_of_others_are_theirs_also_when_they_go_on(repo: Repo):
    before = picture(repo)
    repo.commit({"a": "1"})
    after = picture(repo)
    repo.commit({"a": "2"})  # between the look at the refs and the one at the reflog
    assert seen(repo, before, after) == {"refs/heads/main": Actor.OTHERS}


def test_one_move_among_those_of_others_is_enough(repo: Repo):
    before = picture(repo)
    repo.commit({"a": "1"})
    as_they(repo, "commit", "-q", "--allow-empty", "-m", "theirs")
    repo.commit({"a": "2"})
    assert seen(repo, before, picture(repo)) == {"refs/heads/main": Actor.AGENT}


def test_moves_before_the_snapshot_do_not_count(repo: Repo):
    as_they(repo, "commit", "-q", "--allow-empty", "-m", "theirs")
    before = picture(repo)
    repo.commit({"a": "2"})
    assert seen(repo, before, picture(repo)) == {"refs/heads/main": Actor.OTHERS}


def test_a_file_that_was_written_and_no_ref_moved(repo: Repo):
    before = picture(repo)
    other = repo.git("commit-tree", "-m", "x", "HEAD^{tree}")
    (repo.git_dir / "refs/heads/main").write_text(f"{other}\n")
    assert seen(repo, before, picture(repo)) == {"refs/heads/main": Actor.UNKNOWN}


def test_heads_and_refs_that_go(repo: Repo):
    repo.git("branch", "gone")
    before = picture(repo)
    repo.git("switch", "-q", "-c", "topic")
    repo.git("branch", "-D", "gone")
    assert seen(repo, before, picture(repo)) == {
        "HEAD": Actor.OTHERS, "refs/heads/gone": Actor.UNKNOWN, "refs/heads/topic": Actor.OTHERS,
    }  # fmt: skip
