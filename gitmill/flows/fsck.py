"""Verify the history of the repository that a folder is in."""

from __future__ import annotations

from pathlib import Path

from gitmill.history import fsck as verification
from gitmill.history.fsck import Verified
from gitmill.mill import Mill


def fsck(folder: Path, *, commits: str = "", since: str = "", again: bool = False) -> Verified:
    """Verify state, landings, notes and refs offline, all or a range; see `history.fsck`.

    Hand edits are verified as they are: the mill is opened without applying them.
    """
    return verification.fsck(Mill.open(folder), commits=commits, since=since, again=again)
