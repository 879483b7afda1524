"""Git's entries for worktrees, and how whatever stands at a path is removed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def entries(common: Path) -> Iterator[tuple[Path, Path]]:
    """Yield git's entries for worktrees, each with the folder that it is about."""
    found: list[Path] = []
    with suppress(FileNotFoundError):
        found = sorted((common / "worktrees").iterdir())
    for entry in found:
        with suppress(FileNotFoundError, NotADirectoryError):  # gone meanwhile, or none of git's
            place = os.fsdecode((entry / "gitdir").read_bytes().rstrip(b"\n"))
            yield entry, Path(place).parent


def remove_entries_for(common: Path, path: Path) -> None:
    """Remove git's entries for a worktree path, those of a killed `worktree add` included."""
    for entry, place in entries(common):
        if place == path.parent.resolve() / path.name:
            remove_entry(common, entry)


def remove_entry(common: Path, entry: Path) -> None:
    """Remove one of git's entries at once: nobody could tell whose half of one is."""
    scratch = common / "gitmill" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    aside = scratch / f"{entry.name}-{time.time_ns()}"
    with suppress(FileNotFoundError):
        entry.rename(aside)
        remove(aside)


def remove(path: Path) -> None:
    """Remove whatever stands at a path, a link but not what it leads to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _unlock(path)
        shutil.rmtree(path, ignore_errors=True)


def _unlock(folder: Path) -> None:
    """Make folders removable: a module cache of Go is read-only, for one."""
    with suppress(OSError):
        folder.chmod(0o700)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                _unlock(Path(entry))
