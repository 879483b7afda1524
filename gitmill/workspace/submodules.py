"""Whether others can have the commits that a change's submodules point to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from gitmill.core.verdict import Finding, Severity
from gitmill.git import trees
from gitmill.git.executable import Git
from gitmill.git.objects import GITLINK
from gitmill.git.trees import Change
from gitmill.mill import Mill

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


def missing_commits(mill: Mill, work: str, changes: Iterable[Change]) -> list[Finding]:
    """Return a finding for each changed pointer to a commit that nobody else can have.

    A commit counts if the clone of the submodule in the git directory has it on a branch or tag of
    its remote. The repository that an agent made in its worktree is gone with the worktree.
    """
    pointers = {c.path: c.new.oid for c in changes if c.new is not None and c.new.mode == GITLINK}
    if not pointers:
        return []
    names = _names(mill, work)
    return [
        Finding(why, Severity.HIGH, file=path)
        for path, commit in pointers.items()
        if (why := _why_missing(mill, path, names.get(path, ""), commit))
    ]


def _why_missing(mill: Mill, path: str, name: str, commit: str) -> str:
    if not name:
        return f"{path} is a repository of its own, which .gitmodules does not name"
    folder = mill.repository.common / "modules" / name
    there = f"the submodule {path} points to {commit[:10]}"
    if not (folder / "HEAD").is_file():
        return f"{there}, and there is no clone of it: run `git submodule update --init {path}`"
    git = Git(folder, offline=True)
    if git.run("cat-file", "-e", f"{commit}^{{commit}}", check=False).returncode != 0:
        return f"{there}, which its clone does not have: fetch it there, or point to another commit"
    refs = ("refs/remotes", "refs/tags")
    remote = git.run("for-each-ref", "--count=1", refs[0], check=False).text
    on_remote = git.run(
        "for-each-ref", "--count=1", f"--contains={commit}", *refs, check=False
    ).text
    if remote and not on_remote:
        return f"{there}, which no branch of its remote has: push it first"
    return ""


def _names(mill: Mill, work: str) -> dict[str, str]:
    """Return the names of the submodules by path; see gitmodules(5)."""
    if trees.read_file(mill.store.backend, mill.tree_of(work), ".gitmodules") is None:
        return {}
    argv = (
        "config",
        "--blob",
        f"{work}:.gitmodules",
        "-z",
        "--get-regexp",
        r"^submodule\..*\.path$",
    )
    names = {}
    for entry in filter(None, mill.repository.git.run(*argv, check=False).text.split("\0")):
        key, _, path = entry.partition("\n")
        name = key.removeprefix("submodule.").removesuffix(".path")
        if _NAME.fullmatch(name) and ".." not in PurePosixPath(name).parts and name[0] != "/":
            names[path.rstrip("/")] = name
    return names
