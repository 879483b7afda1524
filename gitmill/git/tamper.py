"""Snapshots of a git directory, and the repair of files that an agent's code planted in it.

Hooks and executable keys of configuration are restored; other changes are only reported. Formats:
gitrepository-layout(5), git-config(1).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gitmill import files
from gitmill.errors import DamagedRepositoryError, GitKilledError, GitmillError
from gitmill.failpoints import chokepoint
from gitmill.git.executable import Git
from gitmill.git.executable_settings import is_executable
from gitmill.git.objects import Backend
from gitmill.hints import Hint, Shell

_FILES = (
    "config", "config.worktree", "shallow", "info/attributes", "info/exclude", "info/grafts",
    "info/sparse-checkout", "objects/info/alternates",
)  # fmt: skip
_GLOBS = (
    "hooks/*", "worktrees/*/config.worktree", "modules/*/config", "modules/*/hooks/*",
)  # fmt: skip
_CONFIG = re.compile(r"config(\.worktree)?|\.gitconfig")
_EVERYDAY = re.compile(r"branch\..*")  # git writes these keys for every new branch


@dataclass(frozen=True, slots=True)
class File:
    """A file at one time: permission bits and type, and its bytes (for a link: its target)."""

    mode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class GitDirSnapshot:
    """The state of a git directory: the small files that steer git, the refs, and `HEAD`."""

    files: Mapping[Path, File]
    refs: Mapping[str, str]
    head: bytes


@dataclass(frozen=True, slots=True)
class TamperNote:
    """One change of a file, and the key that changed if the file is configuration."""

    text: str
    key: str = ""


def take_snapshot(common: Path, backend: Backend) -> GitDirSnapshot:
    """Return a snapshot of a repository's common git directory.

    Raises `DamagedRepositoryError` if it is no longer a repository.
    """
    try:
        head = (common / "HEAD").read_bytes()
    except OSError as error:
        raise DamagedRepositoryError(
            f"the repository {common} is damaged: it has no HEAD",
            evidence=[str(error)],
            hints=[Hint("check the rest with", Shell("git fsck"), ", or clone it again")],
        ) from error
    return GitDirSnapshot(dict(_files(common)), backend.refs("refs/"), head)


def _files(common: Path) -> Iterator[tuple[Path, File]]:
    paths = [common / name for name in _FILES]
    paths += [path for glob in _GLOBS for path in common.glob(glob) if path.suffix != ".sample"]
    for path in [*paths, *_personal()]:
        if (file := _read(path)) is not None:
            yield path, file


def _personal() -> list[Path]:
    """Return the user's own configuration files of git, which also apply to gitmill's calls."""
    if named := os.environ.get("GIT_CONFIG_GLOBAL"):
        return [Path(named)]
    home = Path.home()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [home / ".gitconfig", xdg / "git" / "config"]


def _read(path: Path) -> File | None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return File(mode, os.fsencode(path.readlink()))
        return File(mode, path.read_bytes()) if stat.S_ISREG(mode) else None
    except OSError:
        return None


def undo_planted(
    git: Git, before: GitDirSnapshot, after: GitDirSnapshot, aside: Path
) -> list[TamperNote]:
    """Undo changes that git would execute, after a copy to `aside`; return a note for each change.

    Hooks and executable keys of configuration are restored as in `before`; anything else is
    reported and left.
    """
    notes: list[TamperNote] = []
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if old == new:
            continue
        if _CONFIG.fullmatch(path.name) or path.parent.name == "git":
            notes += _undo_in_config(git, path, old, new, aside)
        elif path.parent.name == "hooks":
            if new is not None:
                copy = _copy_aside(path, new, aside)
                _restore(path, old)
                notes.append(TamperNote(f"the hook {path} was planted; it was moved to {copy}"))
            else:
                notes.append(TamperNote(f"the hook {path} was removed"))
        else:
            notes.append(TamperNote(f"{path} was {'removed' if new is None else 'changed'}"))
    return notes


def _copy_aside(path: Path, file: File, aside: Path) -> Path:
    aside.mkdir(parents=True, exist_ok=True)
    copy = aside / f"{time.time_ns()}-{path.name}"
    copy.write_bytes(file.data)  # not executable; a link becomes a file that holds its target
    return copy


def _restore(path: Path, file: File | None) -> None:
    """Restore a file completely or not at all."""
    if file is None:
        with chokepoint(f"remove {path.name}"):
            path.unlink(missing_ok=True)
    elif stat.S_ISLNK(file.mode):
        with files.replacing(path) as new:
            new.symlink_to(os.fsdecode(file.data))
    else:
        files.replace(path, file.data, mode=stat.S_IMODE(file.mode), durable=True)


def _undo_in_config(
    git: Git, path: Path, old: File | None, new: File | None, aside: Path
) -> list[TamperNote]:
    if new is None:
        return [TamperNote(f"{path} was removed")]
    copy = _copy_aside(path, new, aside)
    try:
        before = _entries(git, copy.with_name(f"{copy.name}-before"), old)
        after = _entries(git, copy, new)
    except GitKilledError:
        raise
    except GitmillError:  # no git could work with such a file
        _restore(path, old)
        return [TamperNote(f"{path} became unreadable; it was restored, a copy is {copy}")]
    planted = sorted({key for key, _ in after - before if is_executable(key)})
    others = {key for key, _ in (after - before) + (before - after)} - set(planted)
    notes = [
        TamperNote(f"{path}: {key} was planted; it was undone, a copy is {copy}", key)
        for key in planted
    ]
    reported = sorted(key for key in others if not _EVERYDAY.fullmatch(key))
    notes += [TamperNote(f"{path}: {key} was changed", key) for key in reported]
    if planted and not others:
        _restore(path, old)
    elif planted:
        for key in planted:
            _reset(git, path, key, [value for name, value in before.elements() if name == key])
    if not planted:
        copy.unlink()
    return notes


def _entries(git: Git, path: Path, file: File | None) -> Counter[tuple[str, str]]:
    """Return the keys and values of one configuration file, without included files."""
    if file is None:
        return Counter()
    path.write_bytes(file.data)
    out = git.out("config", "--file", str(path), "--no-includes", "-z", "--list")
    if path.name.endswith("-before"):
        path.unlink()
    return Counter((e.partition("\n")[0], e.partition("\n")[2]) for e in out.split("\0") if e)


def _reset(git: Git, path: Path, key: str, values: list[str]) -> None:
    git.run("config", "--file", str(path), "--unset-all", key)
    for value in values:
        git.run("config", "--file", str(path), "--add", key, value)
