"""Keep what a repository takes on this machine below `[worktree] max_disk`.

What has not been used for longest is removed first, but nothing in use, no home and no worktree of
a person while work on its item can continue. Work is saved under a rescue ref before it is removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from gitmill.errors import GitmillError, SlotBusyError
from gitmill.git.disk import readable
from gitmill.git.locks import held, try_lock
from gitmill.git.pool import TAKEN
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.workspace import agent_homes, download_caches
from gitmill.workspace.disk_use import LOCK, SIZES, Kept, Kind, find, measured
from gitmill.workspace.rescue import keep_worktree

Report = Callable[[str], None]
_AGAIN = 60.0  # seconds


def keep_within(mill: Mill, limit: int) -> None:
    """Make room before a workspace is opened, at most once a minute: it takes time to measure.

    Nothing happens while another process does it, and no failure keeps the work from its beginning.
    """
    with suppress(GitmillError, OSError):  # `gc` reports it
        lock = try_lock(mill.pool.folder / SIZES / LOCK)
        if lock is None:
            return
        try:
            mark = b"%d\n" % limit
            is_new = 0 <= time.time() - os.fstat(lock).st_mtime < _AGAIN
            if not (is_new and os.pread(lock, 64, 0) == mark):
                _make_room(mill, limit, lambda _: None, remember=True)
                os.ftruncate(lock, os.pwrite(lock, mark, 0))
        finally:
            os.close(lock)


def make_room(mill: Mill, limit: int, report: Report) -> list[Kept]:
    """Remove what exceeds a limit in bytes, and return it.

    `report` gets a sentence for each work that was saved, and for each that could not be.
    """
    with held(mill.pool.folder / SIZES / LOCK):
        return _make_room(mill, limit, report, remember=False)


def excess(mill: Mill, kept: Sequence[Kept], limit: int) -> list[Kept]:
    """Return what would be removed under a limit in bytes, in this order."""
    over, removed = total(kept) - limit, list[Kept]()
    for one in _removable(mill, kept) if over > 0 else ():
        if over > 0 and not one.is_busy:
            removed.append(one)
            over -= one.size
    return removed


def total(kept: Sequence[Kept]) -> int:
    """Return the bytes of all."""
    return sum(one.size for one in kept)


def bound(kept: Sequence[Kept], limit: int) -> str:
    """Return in words what is taken, and the limit."""
    return f"{readable(total(kept))} of at most {readable(limit)} (worktree.max_disk)"


def _make_room(mill: Mill, limit: int, report: Report, *, remember: bool) -> list[Kept]:
    download_caches.drop_half_removed(mill)
    kept = measured(mill, remember=remember)
    over, removed = total(kept) - limit, list[Kept]()
    for one in _removable(mill, kept) if over > 0 else ():
        if over > 0 and _remove(mill, one, report):
            removed.append(one)
            over -= one.size
    return removed


def _removable(mill: Mill, kept: Sequence[Kept]) -> Iterator[Kept]:
    """Yield what may be removed unless a process uses it, the oldest first."""
    snapshot = mill.snapshot()
    for one in sorted(kept, key=lambda one: (one.used, one.name)):
        bound = one.kind is Kind.HOME or one.name.startswith(TAKEN)
        if not bound or agent_homes.has_ended(snapshot, one.item):
            yield one


def _remove(mill: Mill, one: Kept, report: Report) -> bool:
    """Remove one; False if it is in use, or its work cannot be saved."""
    try:
        if one.kind is Kind.CACHE:
            return download_caches.remove_cache(mill, one.name)
        if one.kind is Kind.HOME:
            return agent_homes.remove_home(one.folders[0])
        return _remove_slot(mill, one, report)
    except SlotBusyError:
        return False
    except (GitmillError, OSError) as error:  # the others can still be removed
        report(f"could not remove the {one.kind} {one.name}, so it stays: {error}")
        return False


def _remove_slot(mill: Mill, one: Kept, report: Report) -> bool:
    slot = mill.pool.acquire_named(one.name)
    try:
        # Since it was measured, another process can have used it.
        if not any(new.name == one.name and new.stamp == one.stamp for new in find(mill)):
            return False
        _save(mill, slot, report)
        slot.discard()
        remove(slot.side)
    finally:
        slot.release()
    return True


def _save(mill: Mill, slot: Slot, report: Report) -> None:
    """Save the work in a slot, and mark the slot as one without work."""

    def keep(slot: Slot, item: str, commit: str) -> None:
        if ref := keep_worktree(mill, slot, item, commit):
            report(f"saved the work in a worktree of {item} as {ref}")

    slot.rescue(keep)
    onto = slot.side / "onto"
    if slot.path.name.startswith(TAKEN) and onto.exists():
        if slot.path.is_dir():
            keep(slot, slot.path.name.removeprefix(TAKEN), onto.read_text())
        onto.unlink()
