"""What takes room on this machine for one repository: slots, homes, download caches.

To measure a folder means to visit each of its files, so a size is remembered until its folder is
used again. The files with the sizes are disposable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gitmill.errors import PlantedFileError
from gitmill.files import open_regular, read_regular
from gitmill.git.disk import Measured, measure
from gitmill.git.locks import try_lock
from gitmill.git.pool import TAKEN
from gitmill.git.worktrees import holder_of
from gitmill.mill import Mill
from gitmill.workspace import agent_homes, download_caches

SIZES = "sizes"  # in the pool's folder
LOCK = "lock"  # beside the sizes: its holder removes what is too much


class Kind(StrEnum):
    """The kinds of what is kept."""

    SLOT = "slot"
    HOME = "home"
    CACHE = "cache"


@dataclass(frozen=True, slots=True)
class Kept:
    """A slot, the homes of an item, or a download cache.

    `stamp` changes with each use, in nanoseconds; `used` is the time of the last use in seconds
    since 1970, `size` is in bytes.
    """

    kind: Kind
    name: str
    folders: tuple[Path, ...]
    locks: tuple[Path, ...]
    item: str
    stamp: int
    size: int = 0
    used: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a process uses it now."""
        for path in self.locks:
            lock = try_lock(path) if path.exists() else -1
            if lock is None:
                return True
            if lock >= 0:
                os.close(lock)
        return False


def find(mill: Mill) -> Iterator[Kept]:
    """Yield all that is kept, not measured."""
    pool = mill.pool.folder
    for side in sorted(pool.glob("*.d")):
        name, lock = side.stem, side.with_suffix(".lock")
        item = holder_of(side)[0] or (name.removeprefix(TAKEN) if name.startswith(TAKEN) else "")
        if stamp := _newest(side, tree := pool / name):
            yield Kept(Kind.SLOT, name, (tree, side), (lock,), item, stamp)
    for home in sorted((pool / agent_homes.FOLDER).glob("*")):
        locks = tuple(sorted(home.glob("*.lock")))
        yield Kept(Kind.HOME, home.name, (home,), locks, home.name, _newest(home))
    for cache in download_caches.filled(mill):
        lock = cache.with_name(download_caches.LOCK)
        with suppress(FileNotFoundError):
            stamp = cache.stat().st_mtime_ns
            yield Kept(Kind.CACHE, cache.name, (cache,), (lock,), "", stamp)


def _newest(folder: Path, tree: Path | None = None) -> int:
    """Return the newest time of a folder and its entries; 0 for an empty one without a tree."""
    try:
        times = [entry.stat(follow_symlinks=False).st_mtime_ns for entry in os.scandir(folder)]
        times += [folder.stat().st_mtime_ns] if times or tree is None or tree.exists() else []
    except FileNotFoundError:  # it is just removed
        return 0
    return max(times, default=0)


def measured(mill: Mill, *, remember: bool = False) -> list[Kept]:
    """Return all that is kept with its size, the biggest first.

    Only what was used since it was measured is measured again. Nothing changes but, with
    `remember`, the remembered sizes.
    """
    found = [_sized(mill, kept, remember=remember) for kept in find(mill)]
    if remember:
        known = {_record(mill, kept).name for kept in found} | {LOCK}
        for path in (mill.pool.folder / SIZES).glob("*"):
            if path.name not in known:
                path.unlink(missing_ok=True)
    return sorted(found, key=lambda kept: (-kept.size, kept.name))


def _sized(mill: Mill, kept: Kept, *, remember: bool) -> Kept:
    path = _record(mill, kept)
    stamp, known = _remembered(path)
    if stamp != kept.stamp:
        stamp = 0 if kept.is_busy else kept.stamp  # a use that is not over changes it still
        parts = [measure(folder) for folder in kept.folders]
        known = Measured(sum(part.size for part in parts), max(part.used for part in parts))
        if remember:
            _remember(path, stamp, known)
    # Each run gets every cache, so a cache is used when a file in it is.
    used = known.used if kept.kind is Kind.CACHE else kept.stamp / 1e9
    return Kept(
        kept.kind, kept.name, kept.folders, kept.locks, kept.item, kept.stamp, known.size, used
    )


def _record(mill: Mill, kept: Kept) -> Path:
    return mill.pool.folder / SIZES / f"{kept.kind}-{kept.name}"


def _remembered(path: Path) -> tuple[int, Measured]:
    """Return stamp and size that were remembered; -1 as stamp without a record."""
    try:
        stamp, size, used = (int(word) for word in read_regular(path).split())
        return stamp, Measured(size, used)
    except (OSError, ValueError, PlantedFileError):
        return -1, Measured()


def _remember(path: Path, stamp: int, size: Measured) -> None:
    with suppress(OSError, PlantedFileError):
        path.parent.mkdir(parents=True, exist_ok=True)
        record = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        with os.fdopen(record, "wb") as file:
            file.write(f"{stamp} {size.size} {size.used:.0f}\n".encode())
