"""Commits on the state branch as people make them."""

from __future__ import annotations

import os
import subprocess

from tests.support.repos import Repo

STATE = "refs/heads/gitmill/state"
BOB = {"GIT_AUTHOR_NAME": "Bob", "GIT_AUTHOR_EMAIL": "bob@example.com"}


def by_hand(repo: Repo, changes: dict[str, str | None], *, parent: str = STATE) -> str:
    """Commit files to the state branch as a person would, in a worktree of it."""
    place = repo.path.parent / "by-hand"
    repo.git("worktree", "add", "-q", "--detach", str(place), parent)
    for name, text in changes.items():
        path = place / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for argv in (("add", "-A"), ("commit", "-q", "-m", "by hand")):
        subprocess.run(["git", *argv], cwd=place, check=True, env=os.environ | BOB)
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=place, capture_output=True, check=True)
    commit = done.stdout.decode().strip()
    repo.git("worktree", "remove", "--force", str(place))
    if parent == STATE:
        repo.git("update-ref", STATE, commit)
    return commit
