"""Recovery: what a killed process left behind is ended, saved and put back where it can go on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress

from gitmill.attempts import transcripts
from gitmill.core.item import Item
from gitmill.core.lifecycle import FINAL, Event, Status
from gitmill.errors import GitmillError, IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git.worktrees import Slot
from gitmill.landing.detect_reverts import detect_reverts
from gitmill.landing.publish import record_event
from gitmill.landing.recovery import recover_landings
from gitmill.mill import Mill
from gitmill.people.hand_edits import reconcile
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.supervision import processes
from gitmill.workspace import agent_homes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.signals import interruptible, workers

SCRATCH_AGE = 3600.0  # seconds; whoever makes a folder there needs it for a moment


def recover(mill: Mill, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """Put right whatever stands from processes that are gone; safe at any time, by anyone.

    Returns one sentence for each thing that was done. Work of processes that live is not touched.
    """
    done: list[str] = []

    def did(what: str) -> None:
        done.append(what)
        tell(what)

    with interruptible(mill):
        for path in mill.store.clear_stale():
            did(f"moved the stale lock {path} aside")
        for told in reconcile(mill):
            did(told)
        gone = {item.id for item in _lapsed(mill) if _lapse(mill, item, did)}
        recover_landings(mill, did)
        _rescue(mill, gone, did)
        for name in mill.pool.drop_leftover_entries():
            did(f"removed git's entry for the half-made worktree {name}")
        for told in transcripts.collect(mill):
            did(told)
        _cancel(mill, did)
        detect_reverts(mill, did)
        for told in agent_homes.clean_up(mill):
            did(told)
        _sweep(mill)
    return done


def _lapsed(mill: Mill) -> list[Item]:
    return [
        item
        for item in mill.snapshot().items.values()
        if item.status is Status.RUNNING and item.lease and has_lapsed(mill, item.lease)
    ]


def _lapse(mill: Mill, item: Item, did: Callable[[str], None]) -> bool:
    assert item.lease is not None
    ended = processes.end_claimed(item.lease.claim)
    if ended:
        did(f"ended {ended} processes of {item.id}")
    step = Step(
        event=Event.LAPSED,
        subject=f"{item.stage} lapsed, {item.lease.who} is gone",
        by=mill.user,
        claim=item.lease.claim,
        after=item.event,
        # Its outcome may have got as far as the ref and not into the state.
        refs={f"{layout.WORK}{item.id}": item.work or None},
    )
    try:
        mill.apply(item.id, step)
    except (LeasedError, IllegalTransitionError, RefMovedError):
        return False  # another recovery was quicker
    did(f"{item.id} goes on at {item.stage}")
    return True


def _rescue(mill: Mill, gone: set[str], did: Callable[[str], None]) -> None:
    def rescue(slot: Slot, holder: str, commit: str) -> None:
        if ref := keep_worktree(mill, slot, holder, commit):
            did(f"saved what a worktree of {holder} held as {ref}")

    def failed(slot: Slot, error: GitmillError) -> None:
        did(f"could not save what {slot.path} holds, so it stays: {error.message}")

    mill.pool.rescue_all(rescue, failed, dead=gone)


def _cancel(mill: Mill, did: Callable[[str], None]) -> None:
    """Cancel what was to be cancelled once its landing had ended."""
    for item in mill.snapshot().items.values():
        if item.cancel_requested and item.status not in FINAL | {Status.LANDING}:
            record_event(mill, item, Event.CANCELLED, "cancelled as requested")
            did(f"{item.id} was cancelled as requested")


def _sweep(mill: Mill) -> None:
    """Remove files that killed processes left in our private folder."""
    workers(mill)
    for path in (mill.repository.private / "scratch").glob("*"):
        with suppress(FileNotFoundError):  # a replay of another process has just ended
            if time.time() - path.stat().st_mtime > SCRATCH_AGE:
                shutil.rmtree(path, ignore_errors=True)
