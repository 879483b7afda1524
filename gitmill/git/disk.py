"""Whether a disk takes more, asked when a write has failed for a reason that nobody can trust.

Messages of git contain names of files, which an agent chooses, and libgit2 raises generic types.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
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
