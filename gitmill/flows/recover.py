"""Recovery after a killed process: end its remains, save its work, release its items."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress

from gitmill import files
from gitmill.attempts import transcripts
from gitmill.core import changes
from gitmill.core.item import Item
from gitmill.core.lifecycle import FINAL, Status
from gitmill.errors import GitmillError, IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git import disk
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import Slot
from gitmill.landing.detect_reverts import detect_reverts
from gitmill.landing.publish import CANCELLED, record_event
from gitmill.landing.recovery import recover_landings
from gitmill.mill import Mill
from gitmill.people.hand_edits import reconcile
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.supervision import processes
from gitmill.workspace import agent_homes
from gitmill.workspace.blame import judged
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.signals import stop_on_signals, workers
from gitmill.workspace.stop_token import StopToken

SCRATCH_AGE = 3600.0  # seconds; a live process needs its scratch folder only briefly


def recover(
    mill: Mill,
    report: Callable[[str], None] = lambda _: None,
    *,
    stop: StopToken | None = None,
) -> list[str]:
    """Recover from dead processes; safe at any time, in any process.

    Returns one sentence for each action. Work of living processes is left alone. `stop` is the
    token of a flow that handles signals already.
    """
    done: list[str] = []

    def record(sentence: str) -> None:
        done.append(sentence)
        report(sentence)

    try:
        _make_room(mill, record)
        with nullcontext(stop) if stop else stop_on_signals(mill) as token:
            _recover(mill, record, token)
    except (GitmillError, OSError) as error:  # the work of a dead attempt can fill the disk too
        if (cause := judged(mill, error)) is not error:
            raise cause from error
        raise
    return done


def _recover(mill: Mill, record: Callable[[str], None], token: StopToken) -> None:
    for path in mill.store.clear_stale():
        record(f"moved the stale lock {path} aside")
    for sentence in reconcile(mill):
        record(sentence)
    lapsed = {item.id for item in _expired(mill) if _lapse(mill, item, record)}
    recover_landings(mill, record, token)
    _rescue(mill, lapsed, record)
    for name in mill.pool.drop_leftover_entries():
        record(f"removed git's entry for the incomplete worktree {name}")
    for sentence in (*transcripts.move_old(mill), *transcripts.collect(mill)):
        record(sentence)
    _cancel(mill, record)
    detect_reverts(mill, record)
    for sentence in agent_homes.clean_up(mill):
        record(sentence)
    _sweep(mill)


def _make_room(mill: Mill, record: Callable[[str], None]) -> None:
    """Remove what dead attempts left and no one needs, before anything is written.

    An attempt can have filled the disk: then not even its lapse could be recorded. Its work stays
    until it is saved.
    """
    expired = _expired(mill)
    for item in expired:
        _end_processes(item, record)
    is_full = any(map(disk.is_nearly_full, (mill.pool.folder, mill.repository.common)))
    mill.pool.drop_scratch(dead={item.id for item in expired}, everywhere=is_full)
    if is_full:
        agent_homes.drop_caches(mill)


def _end_processes(item: Item, record: Callable[[str], None]) -> None:
    assert item.lease is not None
    if ended := processes.end_claimed(item.lease.claim):
        record(f"ended {ended} processes of {item.id}")


def _expired(mill: Mill) -> list[Item]:
    """Return the running items whose worker is dead."""
    return [
        item
        for item in mill.snapshot().items.values()
        if item.status is Status.RUNNING and item.lease and has_lapsed(mill, item.lease)
    ]


def _lapse(mill: Mill, item: Item, record: Callable[[str], None]) -> bool:
    assert item.lease is not None
    _end_processes(item, record)
    step = Step(
        change=changes.lapsed(),
        subject=f"{item.stage} lapsed, {item.lease.who} is gone",
        by=mill.user,
        claim=item.lease.claim,
        after=item.event,
        # The outcome may have reached the ref but not the state.
        refs={f"{layout.WORK}{item.id}": item.work or None},
    )
    try:
        mill.apply(item.id, step)
    except (LeasedError, IllegalTransitionError, RefMovedError):
        return False  # another recovery released it first
    record(f"{item.id} continues at {item.stage}")
    return True


def _rescue(mill: Mill, lapsed: set[str], record: Callable[[str], None]) -> None:
    def rescue(slot: Slot, holder: str, commit: str) -> None:
        if ref := keep_worktree(mill, slot, holder, commit):
            record(f"saved the work in a worktree of {holder} as {ref}")

    def failed(slot: Slot, error: GitmillError) -> None:
        record(f"could not save the work in {slot.path}, so the worktree stays: {error.message}")

    mill.pool.rescue_all(rescue, failed, dead=lapsed)


def _cancel(mill: Mill, record: Callable[[str], None]) -> None:
    """Cancel the items whose cancellation had to wait for the end of a landing."""
    for item in mill.snapshot().items.values():
        if item.cancel_requested and item.status not in FINAL | {Status.LANDING}:
            record_event(mill, item, changes.cancelled(CANCELLED))
            record(f"{item.id} was cancelled as requested")


def _sweep(mill: Mill) -> None:
    """Remove files that killed processes left in gitmill's private folder."""
    workers(mill)  # it removes the records of dead workers
    private = mill.repository.private
    folders = (private, *(private / "transcripts").glob("*/"))
    left = (path for folder in folders for path in files.leftovers(folder))
    for path in (*(private / "scratch").glob("*"), *left):
        with suppress(FileNotFoundError):  # removed by a process that has just ended
            if time.time() - path.stat().st_mtime > SCRATCH_AGE:
                remove(path)
