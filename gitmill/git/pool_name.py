"""The name of a repository's folder of worktrees, which it keeps when it is moved.

A new name comes from the path of the repository. A file below `.git/gitmill` and one in the folder
then hold the same random token: trust in commands and the work in a worktree go with a repository
that was moved, and with no other one, nor with a copy.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from gitmill import files
from gitmill.errors import PlantedFileError
from gitmill.git.repo import Repository
from gitmill.git.worktree_entries import entries

KEPT = "pool"  # below .git/gitmill: the name of the folder, and the token
OWNER = "repository"  # in the folder: the token, and the path of the git directory


def pool_name(repository: Repository, root: Path) -> str:
    """Return the name that a repository keeps below `root`, a new one if it has none."""
    name, token = _kept(repository.common)
    if name and _is_mine(repository, token, _owner(root / name)):
        return name
    names = chain([repository.name], (f"{repository.name}-{number}" for number in count(2)))
    return next(name for name in names if not _is_foreign(repository, root / name))


def keep_name(repository: Repository, root: Path, token: str) -> None:
    """Record the name, with a new `token` unless it has one, and the place after a move."""
    name, place = pool_name(repository, root), os.fsencode(repository.common)
    own, known = _kept(repository.common)
    owner = _owner(root / name)
    is_known = own == name and _is_mine(repository, known, owner)
    if is_known and owner is not None:
        if owner[1] == repository.common:
            return
        _link(repository.common, root / name)
    (root / name).mkdir(parents=True, exist_ok=True)
    repository.private.mkdir(exist_ok=True)
    token = known if is_known else token
    files.replace(root / name / OWNER, token.encode() + b" " + place)
    if not is_known:
        files.replace(repository.private / KEPT, f"{name} {token}".encode())


def _kept(common: Path) -> tuple[str, str]:
    """Return the name and the token that a git directory has, empty without one."""
    text = _read(common / "gitmill" / KEPT)
    found = re.fullmatch(rb"([A-Za-z0-9_-][A-Za-z0-9._-]*) ([0-9a-f]+)", text)
    return (found[1].decode(), found[2].decode()) if found else ("", "")


def _owner(folder: Path) -> tuple[str, Path] | None:
    """Return the token and the git directory that a folder belongs to, None if it has no owner."""
    token, _, place = _read(folder / OWNER).partition(b" ")
    return (token.decode(errors="replace"), Path(os.fsdecode(place))) if place else None


def _is_mine(repository: Repository, token: str, owner: tuple[str, Path] | None) -> bool:
    """Whether a folder is this repository's, or has no owner, as below another root."""
    return owner is None or (owner[0] == token and not _is_copy(repository, owner))


def _is_copy(repository: Repository, owner: tuple[str, Path]) -> bool:
    """Whether the owner is elsewhere, and still there."""
    return _kept(owner[1])[1] == owner[0] and not _is_same(owner[1], repository.common)


def _is_foreign(repository: Repository, folder: Path) -> bool:
    """Whether a folder belongs to another repository, which was at this path before."""
    owner = _owner(folder)
    return owner is not None and _is_copy(repository, owner)


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def _read(path: Path) -> bytes:
    try:
        return files.read_regular(path)
    except (OSError, PlantedFileError):
        return b""


def _link(common: Path, pool: Path) -> None:
    """Let the worktrees lead to the new place of the git directory: a person may work in one."""
    for entry, folder in entries(common):
        if folder.parent == pool.resolve() and (folder / ".git").is_file():
            files.replace(folder / ".git", b"gitdir: " + os.fsencode(entry) + b"\n")
