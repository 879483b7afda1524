"""Whether others can have the commits that a change's submodules point to."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gitmill import process
from gitmill.config.values import Network
from gitmill.core.verdict import Finding, Severity
from gitmill.git.executable import Git
from gitmill.git.gitmodules import declared, git_of
from gitmill.git.objects import GITLINK
from gitmill.git.trees import Change
from gitmill.git.worktree_entries import remove
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at

_FETCH = 600.0  # seconds for one submodule


def missing_commits(mill: Mill, work: str, changes: Iterable[Change]) -> list[Finding]:
    """Return a finding for each changed pointer to a commit that nobody else can have.

    A commit counts if the clone of the submodule in the git directory has it on a branch or tag of
    its remote. The repository that an agent made in its worktree is gone with the worktree.
    """
    pointers = {c.path: c.new.oid for c in changes if c.new is not None and c.new.mode == GITLINK}
    if not pointers:
        return []
    names = {path: each.name for path, each in declared(mill.repository.git, work).items()}
    network = policy_at(mill, mill.target_tip(mill.snapshot())).sandbox.network is Network.ON
    return [
        Finding(why, Severity.HIGH, file=path)
        for path, commit in pointers.items()
        if (why := _why_missing(mill, path, names.get(path, ""), commit, network=network))
    ]


def _why_missing(mill: Mill, path: str, name: str, commit: str, *, network: bool) -> str:
    if not name:
        return f"{path} is a repository of its own, which .gitmodules does not name"
    folder = mill.repository.common / "modules" / name
    there = f"the submodule {path} points to {commit[:10]}"
    if not (folder / "HEAD").is_file():
        return f"{there}, and there is no clone of it: run `git submodule update --init {path}`"
    git = git_of(folder)
    if not has_commit(folder, commit) and network:
        fetch(folder)  # the task might point to what others have pushed meanwhile
    if not has_commit(folder, commit):
        return f"{there}, which its clone does not have: fetch it there, or point to another commit"
    refs = ("refs/remotes", "refs/tags")
    remote = git.run("for-each-ref", "--count=1", refs[0], check=False).text
    on_remote = git.run(
        "for-each-ref", "--count=1", f"--contains={commit}", *refs, check=False
    ).text
    if remote and not on_remote:
        return f"{there}, which no branch of its remote has: push it first"
    return ""


# -- clones ----------------------------------------------------------------------------------------


def has_commit(clone: Path, commit: str) -> bool:
    """Whether the clone of a submodule is there and has a commit."""
    if not (clone / "HEAD").is_file():
        return False
    done = git_of(clone).run("cat-file", "-e", f"{commit}^{{commit}}", check=False)
    return done.returncode == 0


def make_clone(clone: Path, url: str) -> list[str]:
    """Make the clone of a submodule, as `git submodule update --init` finds it; return errors."""
    if not url or url.startswith("-"):
        return [f"{url or 'an empty address'} is no address"]
    scratch = clone.parent / f".{clone.name}-{os.getpid()}-{time.time_ns()}"
    scratch.mkdir(parents=True)
    try:
        git = Git(scratch)
        git.run("init", "-q", "--bare")
        branches = "+refs/heads/*:refs/remotes/origin/*"
        git.run("config", "core.bare", "false")
        git.run("config", "remote.origin.url", url)
        git.run("config", "remote.origin.fetch", branches)
        if errors := fetch(scratch):
            return errors
        with suppress(OSError):  # another process was faster
            scratch.rename(clone)
        return []
    finally:
        remove(scratch)


def fetch(clone: Path, commit: str = "") -> list[str]:
    """Fetch the branches and tags of a submodule's remote, and a commit that none of them has.

    The user's own git does it, with the user's credentials, and with git's own limits for addresses
    of submodules. Returns the lines of an error.
    """
    for what in ((), (commit,)) if commit else ((),):
        if what and has_commit(clone, commit):
            break
        git = git_of(clone, offline=False)
        argv = git.argv("fetch", "-q", "--no-recurse-submodules", "origin", *what)
        at = git.surroundings()
        env = at["env"] | {"GIT_PROTOCOL_FROM_USER": "0"}
        try:
            done = process.run(argv, cwd=at["cwd"], env=env, check=False, timeout=_FETCH)
        except subprocess.TimeoutExpired:
            return [f"git had not fetched it in {_FETCH:.0f} s"]
        if done.returncode != 0:
            return done.error.splitlines()[-6:]
    return []
