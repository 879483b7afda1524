"""Find whose fault a failure is where its error cannot know: a full disk, a spoiled worktree."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from gitmill.errors import GitmillError, OverQuotaError, SpoiledWorktreeError, StorageError
from gitmill.git import disk
from gitmill.mill import Mill

# Bytes that the files of an attempt may take. A disk without that much is too small for the work; a
# disk that an attempt fills with more is the agent's doing.
QUOTA = 4 << 30
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MACHINE = _FULL | {errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}


def judged(mill: Mill, error: GitmillError | OSError) -> GitmillError | OSError:
    """Return the error to act on after a failure: on a full disk, whatever it led to, that."""
    if isinstance(error, OverQuotaError):
        return error
    try:
        disk.require_room([mill.repository.common, mill.pool.folder])
    except StorageError as full:
        return full
    return error


def agents_fault(error: BaseException, folders: Sequence[Path]) -> GitmillError | None:
    """Return the error to raise instead if an attempt's code caused this one, None if it did not.

    `folders` are the ones that the code could write: nothing but it can spoil a file there.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or isinstance(error, StorageError):
        return _over_quota(folders)
    if not isinstance(error, OSError) or number in _MACHINE:
        return None
    names = [Path(os.fsdecode(n)) for n in (error.filename, error.filename2) if _is_path(n)]
    if not any(name.is_relative_to(folder) for name in names for folder in folders):
        return None
    reason = (error.strerror or "refused").lower()
    return SpoiledWorktreeError(
        f"the attempt left a path that gitmill cannot use: {names[0]}: {reason}"
    )


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes)


def _over_quota(folders: Sequence[Path]) -> OverQuotaError | None:
    used = sum(disk.measure(folder).size for folder in folders)
    if used <= QUOTA:
        return None
    return OverQuotaError(
        f"the attempt filled the disk: its files take {used / 1e9:.1f} GB, "
        f"at most {QUOTA / 1e9:.1f} GB are allowed"
    )
