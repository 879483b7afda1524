"""The submodules that a commit names in `.gitmodules`; see gitmodules(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gitmill.git.executable import Git
from gitmill.git.objects import GITLINK

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_KEY = re.compile(r"submodule\.(.*)\.(path|url)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry of `.gitmodules`; the name is a relative path that leads nowhere else."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """A submodule of a commit: where it is, which commit it points to, and what is declared."""

    path: str
    commit: str
    declared: Declared


def git_of(clone: Path, *, offline: bool = True) -> Git:
    """Return git for a submodule's clone, whatever work tree its configuration names."""
    return Git(clone, work_tree=clone, offline=offline)


def declared(git: Git, commit: str) -> dict[str, Declared]:
    """Return the submodules that a commit declares, by path."""
    argv = ("config", "--blob", f"{commit}:.gitmodules", "-z", "--get-regexp", r"^submodule\.")
    values: dict[str, dict[str, str]] = {}
    for entry in filter(None, git.run(*argv, check=False).text.split("\0")):
        key, _, value = entry.partition("\n")
        if match := _KEY.fullmatch(key):
            values.setdefault(match[1], {})[match[2]] = value
    return {
        each["path"].rstrip("/"): Declared(name, each.get("url", ""))
        for name, each in values.items()
        if "path" in each and _is_inside(name) and _is_inside(each["path"].rstrip("/"))
    }


def _is_inside(name: str) -> bool:
    parts = {part.lower() for part in PurePosixPath(name).parts}
    return bool(_NAME.fullmatch(name)) and not {"..", ".git", "/"} & parts and name[0] != "/"


def pointers(git: Git, commit: str) -> Iterator[Pointer]:
    """Yield the declared submodules of a commit, by path."""
    known = declared(git, commit)
    if not known:
        return
    literal = {"GIT_LITERAL_PATHSPECS": "1"}
    out = git.run("ls-tree", "-z", commit, "--", *sorted(known), check=False, env=literal)
    for line in filter(None, out.text.split("\0")):
        facts, _, path = line.partition("\t")
        mode, _, oid = facts.split(" ")
        if mode == GITLINK and path in known:
            yield Pointer(path, oid, known[path])
