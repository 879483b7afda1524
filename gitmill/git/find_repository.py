"""Find the repository of a folder with git's own search, and word its refusals."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gitmill import process
from gitmill.errors import (
    GitmillError,
    GitMissingError,
    NotARepositoryError,
    UnusableRepositoryError,
)
from gitmill.git.executable import killed, redirects_git
from gitmill.hints import Blank, Gitmill, Hint, Shell

# By these a user of `git --git-dir=… --work-tree=…` can name a repository.
_NAMED = ("GIT_DIR", "GIT_WORK_TREE")


def ask_git(path: Path) -> tuple[str, Path | None]:
    """Return the common git directory, object format and bareness of a folder's repository.

    They are three lines. If the folder is in no repository, it is the one that the environment
    names, and the second value its work tree. Raises `NotARepositoryError`, `GitMissingError`,
    `UnusableRepositoryError`.
    """
    done, named = _rev_parse(path, {}), dict[str, str]()
    if "not a git repository" in done.error and os.environ.get("GIT_DIR"):
        # No hook runs outside of its repository; the user of a dotfiles repository does.
        named = {name: os.environ[name] for name in _NAMED if os.environ.get(name)}
        done = _rev_parse(path, named)
    if done.returncode != 0:
        raise _refusal(path, done.error)
    tree = named.get("GIT_WORK_TREE")
    return done.text.removesuffix("\n"), (path / tree).resolve() if tree else None


def _rev_parse(path: Path, named: dict[str, str]) -> process.Finished:
    """Ask git for the repository of a folder, or for the one that the environment has `named`."""
    queries = ("--path-format=absolute", "--git-common-dir", "--show-object-format")
    env = {name: value for name, value in os.environ.items() if not redirects_git(name)}
    env |= {**named, "LC_ALL": "C.UTF-8"}  # git's messages are recognized by their English wording
    argv = ("git", "-C", str(path), "rev-parse", *queries, "--is-bare-repository")
    try:
        done = process.run(argv, env=env, check=False)
    except FileNotFoundError as error:
        raise GitMissingError(
            "there is no git on PATH", hints=[Hint("install git 2.38 or newer")]
        ) from error
    if done.returncode < 0:
        raise killed(["rev-parse"], -done.returncode)
    return done


def _refusal(path: Path, message: str) -> GitmillError:
    """Return the error for a folder that git refuses, which might still be a repository."""
    evidence = message.splitlines()[:3]
    if "dubious ownership" in message:
        command = re.search(r"git config --global --add safe\.directory .*", message)
        return UnusableRepositoryError(
            f"git refuses the repository of {path}: another user owns it",
            evidence=evidence[:1],
            hints=[Hint("if you trust it:", Shell(command[0].strip()))] if command else [],
        )
    if "unknown repository extension" in message or "git repo version" in message:
        return GitMissingError(
            f"the repository of {path} has a format that this git does not know",
            evidence=[line.strip() for line in evidence],
            hints=[Hint("check", Shell("git version"), ", and install a newer git")],
        )
    if "cannot change to" in message:
        return NotARepositoryError(f"there is no folder {path}", evidence=evidence)
    return NotARepositoryError(
        f"{path} is not in a git repository",
        evidence=evidence,
        hints=[
            Hint(
                "make one with",
                Shell("git init"),
                ", or name one with",
                Gitmill("-C", Blank("DIR"), Blank("…")),
            )
        ],
    )


def top_of(path: Path) -> Path | None:
    """Return the work tree that contains a folder, None if the folder is in the git directory."""
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / ".git").exists():
            return folder
    return None
