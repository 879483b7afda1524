"""The write lock: one thread of one process at a time moves gitmill's refs in a repository."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gitmill.git import locks


@dataclass(slots=True)
class WriteLock:
    """Proof that a thread holds the write lock, for what it calls meanwhile."""

    thread: int
    released: bool = False

    def require(self) -> None:
        """Raise `RuntimeError` unless this thread holds the lock now."""
        if self.released or self.thread != threading.get_ident():
            raise RuntimeError("this thread does not hold the write lock")


@contextmanager
def take(folder: Path) -> Iterator[WriteLock]:
    """Wait for the write lock in gitmill's private folder and hold it.

    Raises `RuntimeError` if this thread holds it already.
    """
    with locks.held(folder / "write.lock"):
        lock = WriteLock(threading.get_ident())
        try:
            yield lock
        finally:
            lock.released = True


@contextmanager
def take_or_use(folder: Path, lock: WriteLock | None) -> Iterator[WriteLock]:
    """Use the lock that the caller holds, or take it if there is none."""
    if lock is not None:
        lock.require()
        yield lock
        return
    with take(folder) as taken:
        yield taken
