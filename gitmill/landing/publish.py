"""The end of a landing: move target, note and state and read them back, or abort the landing.

Moving the target requires the `LandLock`. With a checkout of the target, its fast-forward is the
compare-and-swap; without one, target, note and state move in one swap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gitmill.config import Policy
from gitmill.core import changes
from gitmill.core.change import Change
from gitmill.core.item import MOVED, Item, RedTarget
from gitmill.core.lifecycle import MOVED_SINCE, RED_TARGETS_SINCE
from gitmill.core.trailers import EventRecord, one_line
from gitmill.errors import (
    CheckoutBlockedError,
    GitmillError,
    LandBusyError,
    RefMovedError,
    TargetMovedError,
)
from gitmill.git.checkout import (
    checkout_of,
    refuse_busy,
    refuse_overlap,
    refuse_second,
    refuse_unfinished,
)
from gitmill.git.locks import try_lock
from gitmill.git.missing_checkout import is_removed, refuse_missing
from gitmill.git.notes import write_notes
from gitmill.git.objects import Move
from gitmill.hints import Gitmill, Hint
from gitmill.landing.dispute import dispute
from gitmill.landing.evidence import check_entries, note_for, verify_landed
from gitmill.landing.move_checkout import interrupted_move, move_checkout
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.run_checks import CheckResult, passed_files


@dataclass(frozen=True, slots=True)
class LandLock:
    """Proof that no other process lands in this repository; only `land_lock` makes one."""

    descriptor: int
    secret: object

    def __post_init__(self) -> None:
        if self.secret is not _SECRET:
            raise TypeError("a LandLock comes from land_lock() only")


_SECRET = object()


@contextmanager
def land_lock(mill: Mill) -> Iterator[LandLock]:
    """Hold the landing lock. Raises `LandBusyError` when another process has it."""
    descriptor = try_lock(mill.repository.private / "land.lock")
    if descriptor is None:
        raise LandBusyError(
            "another process is landing",
            hints=[Hint("watch it with", Gitmill("queue"), ", then try again")],
        )
    try:
        yield LandLock(descriptor, _SECRET)
    finally:
        os.close(descriptor)


def record_passes(
    mill: Mill, item: Item, policy: Policy, candidate: str, results: list[CheckResult]
) -> None:
    """Commit new passed checks before the target moves, so that a recovery finds them."""
    files = passed_files(mill, policy, candidate, results)
    if files:
        record = EventRecord(event="checked", id=mill.new_token(), by=mill.user)
        mill.store.commit(
            lambda _: StateCommit(f"{item.id}: candidate passed its checks", record, files)
        )


def move_target(
    mill: Mill, lock: LandLock, item: Item, *, ref: str, onto: str, candidate: str
) -> None:
    """Fast-forward the checkout of the target if there is one; otherwise `finish` moves the ref.

    Raises `CheckoutBlockedError`, with nothing changed, when the user's own changes overlap, and
    `TargetMovedError` when the target is not at `onto` any more.
    """
    refuse_busy(mill.repository, ref)
    refuse_missing(mill.repository, ref, pool=mill.pool.folder, before=mill.work_trees)
    checkout = checkout_of(mill.repository, ref, pool=mill.pool.folder)
    if checkout is None:
        return
    if mill.store.backend.ref(ref) != onto:
        raise TargetMovedError(f"{ref} moved while {item.id} was being checked")
    try:
        refuse_second(mill.repository, ref, checkout, pool=mill.pool.folder)
        refuse_unfinished(checkout)
        changed = mill.changes(onto, candidate)
        refuse_overlap(checkout, [change.path for change in changed])
        move_checkout(mill, checkout, onto=onto, candidate=candidate, lock=lock.descriptor)
    except (GitmillError, OSError) as error:  # whatever fails in a work tree that is gone
        if is_removed(mill.repository, checkout):
            raise TargetMovedError(f"{checkout.path} was removed during the landing") from error
        if not isinstance(error, CheckoutBlockedError) or mill.store.backend.ref(ref) == onto:
            raise
        raise TargetMovedError(f"{ref} moved while {item.id} was being landed") from error


def has_begun_to_move(mill: Mill, ref: str, candidate: str) -> bool:
    """Whether a candidate is on the target, or the move of a checkout to it was interrupted."""
    return interrupted_move(mill, candidate) is not None or is_on(mill, ref, candidate)


def is_on(mill: Mill, ref: str, commit: str) -> bool:
    """Whether a ref is at or beyond a commit."""
    done = mill.repository.git.run("merge-base", "--is-ancestor", commit, ref, check=False)
    return done.returncode == 0


def finish(
    mill: Mill,
    item: Item,
    *,
    candidate: str,
    onto: str,
    claim: str,
    results: list[CheckResult],
) -> Item:
    """Move notes and state in one swap, and the target if no checkout has moved it; then verify.

    Raises `TargetMovedError` when the target is neither at `onto` nor at or beyond the candidate,
    and `LandingBrokenError` when the verification finds a problem.
    """
    ident = mill.repository.ident(mill.now())
    event_id, now = mill.new_token(), mill.now()
    checks = check_entries(results)

    def build(snapshot: Snapshot) -> StateCommit:
        step = _landed_step(
            mill, snapshot, item.id,
            candidate=candidate, onto=onto, claim=claim, checks=checks, ident=ident,
        )  # fmt: skip
        return draft_step(mill.store.backend, snapshot, item.id, step, event_id=event_id, now=now)

    landed = mill.store.commit(build).item(item.id)
    problems = verify_landed(mill, landed)
    if problems:
        dispute(mill, landed, problems)
    return landed


def _landed_step(
    mill: Mill,
    snapshot: Snapshot,
    item_id: str,
    *,
    candidate: str,
    onto: str,
    claim: str,
    checks: list[dict[str, Any]],
    ident: str,
) -> Step:
    ref = mill.target_ref(snapshot)
    # The item of this snapshot: after an edit during the landing an older one would not match the
    # note.
    note = note_for(
        mill, snapshot, snapshot.item(item_id), onto=onto, candidate=candidate, checks=checks
    )
    note = mill.store.redactor.file("note", note)
    return Step(
        change=changes.landed(snapshot.item(item_id), checked=checks),
        subject=f"landed as {candidate[:10]}",
        by=mill.user,
        claim=claim,
        refs={f"{layout.CANDIDATE}{item_id}": None},
        moves=(
            *_target_move(mill, ref, onto, candidate),
            write_notes(mill.store.backend, layout.NOTES, {candidate: note}, ident=ident),
        ),
        extra={"Candidate": candidate, "Onto": onto},
    )


CANCELLED = "cancelled as requested"  # the reason after a request during a landing


def abort(
    mill: Mill,
    item: Item,
    why: str,
    *,
    claim: str,
    counter: str = "",
    limit: int | None = None,
    red_target: RedTarget | None = None,
) -> Item:
    """Abort a landing: its item is queued again, or cancelled if that was requested.

    It is counted by `counter`, if one is named; with a `limit` one more than that many block the
    item. With a `red_target` it does not land before the target has moved.
    """
    rules = mill.snapshot().rules
    if counter == MOVED and rules < MOVED_SINCE:
        counter = ""
    known = red_target if rules >= RED_TARGETS_SINCE else None
    step = Step(
        change=changes.land_aborted(item, one_line(why), counter=counter, red_target=known),
        subject=f"landing aborted, {why}",
        by=mill.user,
        claim=claim,
        refs={f"{layout.CANDIDATE}{item.id}": None},
    )
    after = mill.apply(item.id, step).item(item.id)
    if after.cancel_requested:
        return record_event(mill, after, changes.cancelled(CANCELLED))
    if limit is not None and after.count(counter) > limit:
        why = f"its landing was aborted {after.count(counter)} times: {why}"
        return record_event(mill, after, changes.blocked(after, one_line(why)))
    return after


def record_event(mill: Mill, item: Item, change: Change, *, onto: str = "") -> Item:
    """Commit an event that only gives a reason; `onto` is the target's commit that it is about.

    Raises `RefMovedError` when the item moved on.
    """
    why, extra = str(change.fields["reason"]), {"Onto": onto} if onto else {}
    step = Step(change=change, subject=why, by=mill.user, after=item.event, extra=extra)
    return mill.apply(item.id, step).item(item.id)


def _target_move(mill: Mill, ref: str, onto: str, candidate: str) -> tuple[Move, ...]:
    at = mill.store.backend.ref(ref)
    if at == onto and checkout_of(mill.repository, ref, pool=mill.pool.folder) is not None:
        raise RefMovedError(f"{ref} was checked out while this was being landed")
    if at == onto:
        return (Move(ref, candidate, onto),)
    if at == candidate:
        return ()
    if is_on(mill, ref, candidate):
        return ()
    raise TargetMovedError(f"{ref} moved to {(at or 'nothing')[:10]} while this was being checked")
