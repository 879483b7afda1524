"""Advisory file locks, politeness before compare-and-swap; the kernel drops them on kill -9."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PACKED = "packed-refs.lock"
PACKING = 60.0  # seconds that packing refs takes at most, be there millions


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Wait for a lock and hold it; yields its file descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Take a lock without waiting: its file descriptor, to be closed by the caller, or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def stale(common: Path, refs: Sequence[str], *, age: float = 5.0) -> Iterator[Path]:
    """Yield the old `.lock` files of these refs and of those below them, by their paths in git.

    That of the packed refs too, which whoever removes a ref takes; it must be very old.
    """
    found = [lock for ref in refs for lock in (common / f"{ref}.lock", *_locks_below(common / ref))]
    for lock, least in (*((lock, age) for lock in found), (common / PACKED, PACKING)):
        with suppress(FileNotFoundError):  # its owner was alive and has ended
            if time.time() - lock.stat().st_mtime >= least:
                yield lock.relative_to(common)


def clear_stale(common: Path, refs: Sequence[str], aside: Path, *, age: float = 5.0) -> list[str]:
    """Move old `.lock` files of these refs and of those below them aside; return their names.

    Only for refs that nobody else writes. The caller sees to it that none of us is writing; any
    other writer, like a fetch of the user's, holds such a lock for milliseconds, and that of the
    packed refs for seconds where there are very many.
    """
    found: list[str] = []
    for lock in stale(common, refs, age=age):
        name = str(lock)
        aside.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (common / lock).rename(aside / f"{name.replace('/', '-')}-{time.time_ns()}")
            found.append(name)
    return found


def _locks_below(folder: Path) -> Iterator[Path]:
    # Not rglob: that fails over a folder that a `git pack-refs` removes meanwhile.
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(".lock"))
