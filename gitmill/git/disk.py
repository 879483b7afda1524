"""Whether a disk takes more, asked when a write has failed for a reason that nobody can trust.

Messages of git contain names of files, which an agent chooses, and libgit2 raises generic types.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import StorageError
from gitmill.hints import Gitmill, Hint, Shell

ROOM = 16 << 20  # bytes; with less free, writes fail soon whatever their size


def require_room(folders: Iterable[Path]) -> None:
    """Raise `StorageError` unless `ROOM` more bytes can be written in each of these folders.

    Folders that do not exist are left out.
    """
    for folder in folders:
        if not folder.is_dir():
            continue
        try:
            _take(folder)
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            raise StorageError(
                f"{folder} cannot be written: {reason}",
                hints=[
                    Hint(
                        "see how full its disk is with",
                        Shell(f"df -h {shlex.quote(str(folder))}"),
                        "and make room there",
                    ),
                    Hint("then continue with", Gitmill("run")),
                ],
            ) from error


@dataclass(frozen=True, slots=True)
class Measured:
    """The bytes that a folder takes on the disk, and when a file in it was last used.

    Holes in a file take none. The time is in seconds since 1970, 0 without a file.
    """

    size: int = 0
    used: float = 0.0


def measure(folder: Path) -> Measured:
    """Measure a folder; what vanishes meanwhile or cannot be read is left out."""
    size, used, folders = 0, 0.0, [os.fspath(folder)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            size += facts.st_blocks * 512
            if stat.S_ISDIR(facts.st_mode):
                folders.append(entry.path)
            else:
                used = max(used, facts.st_mtime, facts.st_atime)
    return Measured(size, used)


def readable(size: int) -> str:
    """Return a number of bytes as people read it: 12 KB, 1.2 GB."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= divisor:
            number = size / divisor
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size} bytes"


def is_nearly_full(folder: Path) -> bool:
    """Whether less than `ROOM` is free on the disk of a folder; it writes nothing to find out."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < ROOM


def _take(folder: Path) -> None:
    """Take the room in a file without a name, which a kill cannot leave behind."""
    import tempfile  # noqa: PLC0415  (only after a failure, and it costs 10 ms)

    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, ROOM)
        else:
            file.write(bytes(ROOM))
            file.flush()
