"""Advisory file locks, taken before a compare-and-swap; the kernel drops them on kill -9."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill.files import open_regular
from gitmill.hints import Gitmill, Hint, Shell

PACKED = "packed-refs.lock"
PACKING = 60.0  # seconds: no packing of refs takes longer, even with millions of them
_own = threading.local()  # `paths`: the locks that this thread holds


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Wait for a lock and hold it; yield its file descriptor.

    Raises `RuntimeError` if this thread holds it already: it would wait for itself. Raises
    `PlantedFileError` for a link.
    """
    own: set[Path] = _own.__dict__.setdefault("paths", set())
    if path in own:
        raise RuntimeError(f"this thread holds {path} already")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        own.add(path)
        yield descriptor
    finally:
        own.discard(path)
        os.close(descriptor)


@contextmanager
def shared(path: Path) -> Iterator[int]:
    """Wait for a lock and hold it together with others; yield its file descriptor.

    Meanwhile no process gets it with `try_lock`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Take a lock without waiting; return its descriptor, for the caller to close, or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def stale(common: Path, refs: Sequence[str], *, age: float = 5.0) -> Iterator[Path]:
    """Yield the old `.lock` files of these refs and of refs below them, relative to `common`.

    The lock of packed-refs, which every removal of a ref takes, is included once it is very old.
    """
    candidates = [
        lock for ref in refs for lock in (common / f"{ref}.lock", *_locks_below(common / ref))
    ]
    for lock, least in (*((lock, age) for lock in candidates), (common / PACKED, PACKING)):
        with suppress(FileNotFoundError):  # its owner was alive and has released it
            if time.time() - lock.stat().st_mtime >= least:
                yield lock.relative_to(common)


def clear_stale(common: Path, refs: Sequence[str], aside: Path, *, age: float = 5.0) -> list[str]:
    """Move aside the old `.lock` files of these refs and of refs below them; return their names.

    Only for refs that gitmill alone writes. The caller must prevent gitmill from writing meanwhile;
    any other writer, such as a fetch by the user, holds such a lock for milliseconds, and the lock
    of packed-refs for seconds if there are very many refs.
    """
    moved: list[str] = []
    for lock in stale(common, refs, age=age):
        name = str(lock)
        aside.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (common / lock).rename(aside / f"{name.replace('/', '-')}-{time.time_ns()}")
            moved.append(name)
    return moved


def named_lock(said: str) -> str:
    """Return the lock that git names as the reason of a failure, with its age; empty if none."""
    found = re.search(r"Unable to create '(.+\.lock)': File exists", said)
    if not found:
        return ""
    path, age = Path(found[1]), ""
    with suppress(FileNotFoundError):  # its owner has let go of it just now
        age = f", {max(0, time.time() - path.stat().st_mtime):.0f} seconds old"
    return f"{path}{age}"


def lock_hint(then: Gitmill) -> Hint:
    """Return what to do about such a lock before the command `then`."""
    return Hint(
        "check whether git is still running:",
        Shell("ps -C git -f"),
        "; if not, move the lock away, then",
        then,
    )


def _locks_below(folder: Path) -> Iterator[Path]:
    # Not rglob, which fails if a `git pack-refs` removes a folder during the walk.
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(".lock"))
