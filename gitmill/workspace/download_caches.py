"""The download caches of package managers, kept from item to item for one repository.

Only a set-up on the target's own tip writes them: nothing that the code of another tree has written
is in there. For all other commands they are below an upper layer, and what they write vanishes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill.failpoints import chokepoint
from gitmill.files import is_plain_below
from gitmill.git.locks import shared, try_lock
from gitmill.git.worktree_entries import remove
from gitmill.mill import Mill
from gitmill.supervision.bubblewrap import Lent

FOLDER = "caches"  # in the pool's folder
LOCK = "lock"  # beside the caches
_REMOVED = ".removed"
# Below a home. They hold what was downloaded, by name and version or by hash. Caches of builds,
# keyed by path, time or size, are not among them.
_NAMES = {
    "pip": ".cache/pip",
    "uv": ".cache/uv",
    "npm": ".npm",
    "pnpm": ".local/share/pnpm/store",
    "yarn": ".cache/yarn",
    "yarn-berry": ".yarn/berry/cache",
    "cargo": ".cargo/registry",
    "go": "go/pkg/mod",
    "pre-commit": ".cache/pre-commit",
}


@contextmanager
def in_use(mill: Mill) -> Iterator[int]:
    """Keep all caches from being removed; yield the descriptor of a lock, for runs to inherit."""
    with shared(mill.pool.folder / FOLDER / LOCK) as lock:
        yield lock


def filled(mill: Mill) -> list[Path]:
    """Return the folders of the caches that hold something."""
    folders = (mill.pool.folder / FOLDER / name for name in _NAMES)
    return [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]


def remove_cache(mill: Mill, name: str) -> bool:
    """Remove a cache as a whole; False while a run uses the caches."""
    folder = mill.pool.folder / FOLDER / name
    aside = folder.with_name(f"{name}{_REMOVED}")
    remove(aside)
    lock = try_lock(folder.parent / LOCK)
    if lock is None:
        return False
    try:
        with suppress(FileNotFoundError), chokepoint(f"remove cache {name}"):
            folder.rename(aside)  # no run ever gets half a cache
    finally:
        os.close(lock)
    remove(aside)
    return True


def drop_half_removed(mill: Mill) -> None:
    """Remove what a killed `remove_cache` left."""
    for path in (mill.pool.folder / FOLDER).glob(f"*{_REMOVED}"):
        remove(path)


def writable(mill: Mill, home: Path) -> Iterator[Lent]:
    """Yield all caches for the home of a run that may fill them."""
    for name, below in _NAMES.items():
        if _is_free(home, below):
            folder = mill.pool.folder / FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)  # its size is about to change
            yield Lent(folder, home / below, direct=True)


def layered(mill: Mill, home: Path, layers: Path) -> Iterator[Lent]:
    """Yield the filled caches for the home of a run; what it writes goes below `layers`."""
    for folder in filled(mill):
        below = _NAMES[folder.name]
        if _is_free(home, below):
            yield Lent(folder, home / below, layers / f"cache-{folder.name}")


def _is_free(home: Path, below: str) -> bool:
    """Whether a cache can be shown there: the code of a run may have put a link or a file there."""
    return is_plain_below(home, below) and not (home / below).is_file()
