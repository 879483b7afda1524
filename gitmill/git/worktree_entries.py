"""Git's entries for worktrees, and the removal of files and folders of any kind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitmill import process


def entries(common: Path) -> Iterator[tuple[Path, Path]]:
    """Yield git's entries for worktrees, each with the worktree's folder."""
    folders: list[Path] = []
    with suppress(FileNotFoundError):
        folders = sorted((common / "worktrees").iterdir())
    for entry in folders:
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not git's
            link = os.fsdecode((entry / "gitdir").read_bytes().rstrip(b"\n"))
            yield entry, Path(link).parent


def remove_entries_for(common: Path, path: Path) -> None:
    """Remove git's entries for a worktree path, including those of a killed `worktree add`."""
    for entry, folder in entries(common):
        if folder == path.parent.resolve() / path.name:
            remove_entry(common, entry)


def remove_entry(common: Path, entry: Path) -> None:
    """Remove one of git's entries atomically: no process could tell who owns half an entry."""
    scratch = common / "gitmill" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    aside = scratch / f"{entry.name}-{time.time_ns()}"
    with suppress(FileNotFoundError):
        entry.rename(aside)
        remove(aside)


def remove(path: Path) -> None:
    """Remove a file, folder or link, never the target of a link."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # rmtree ends with RecursionError in folders that are nested too deep.
    with suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():  # nested too deep, or read-only like a Go module cache
        for argv in (("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            process.run((*argv, "--", os.fspath(path)), check=False)
