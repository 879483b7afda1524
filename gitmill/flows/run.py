"""Work through what is ready, one attempt after the other, landing what gets approved."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from gitmill.core.graph import hopeless
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import eligible
from gitmill.errors import (
    CheckoutBlockedError,
    Exit,
    GitmillError,
    IllegalTransitionError,
    LandBusyError,
    NothingToDoError,
    PausedError,
    RefMovedError,
)
from gitmill.flows.attempt import Progress, run_attempt
from gitmill.flows.interrupt import interruptible
from gitmill.flows.land import Tell, land_all
from gitmill.flows.queue import enqueue
from gitmill.flows.recover import recover
from gitmill.mill import Mill
from gitmill.store.events import Step
from gitmill.store.snapshot import Snapshot


@dataclass
class Summary:
    """What a run came to."""

    items: dict[str, Item] = field(default_factory=dict)
    attempts: int = 0
    cooling: set[str] = field(default_factory=set)  # given back by an outage: not again in this run
    held: GitmillError | None = None

    @property
    def code(self) -> Exit:
        """The exit code: the first that applies of failed, needs a person, busy, ok."""
        statuses = {item.status for item in self.items.values()}
        if Status.BLOCKED in statuses:
            return Exit.FAILED
        if Status.WAITING in statuses:
            return Exit.PERSON
        return self.held.code if self.held else Exit.OK


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do: these items (all when empty), how far, and at most how many items."""

    wanted: Collection[str] = ()
    through: str = "landed"
    limit: int = 0


def run(mill: Mill, order: Order, progress: Progress, tell: Tell) -> Summary:
    """Run until nothing is eligible any more.

    Raises `NothingToDoError` when nothing was from the start, `PausedError`, and
    `KeyboardInterrupt` after the lease of an attempt under way was given back.
    """
    mill.repository.require_usable()
    summary = Summary()
    with interruptible():
        recover(mill)
        _refuse_wanted(mill.snapshot(), order)
        while _turn(mill, order, summary, progress, tell):
            pass
    if not summary.items and summary.held is None:
        raise NothingToDoError(
            "nothing is ready", hints=["see what waits for what with `gitmill status`"]
        )
    return summary


def _turn(mill: Mill, order: Order, summary: Summary, progress: Progress, tell: Tell) -> bool:
    """Do one thing; whether there may be another one."""
    _block_hopeless(mill)
    if order.through == "landed" and _land(mill, order, summary, tell):
        return True
    snapshot = mill.snapshot()
    if snapshot.control.paused:
        raise PausedError(
            "work is paused",
            evidence=[snapshot.control.reason] if snapshot.control.reason else [],
            hints=["go on with `gitmill resume`"],
        )
    ready = [
        item
        for item in eligible(snapshot.items, order.wanted)
        if item.id in summary.items or not order.limit or len(summary.items) < order.limit
        if item.id not in summary.cooling
    ]
    if not ready:
        return False
    try:
        attempted = run_attempt(mill, ready[0].id, progress, after=ready[0].event)
    except RefMovedError:
        return True  # somebody else took it
    summary.attempts += 1
    summary.items[attempted.item.id] = attempted.item
    if attempted.event is Event.RELEASED:
        summary.cooling.add(attempted.item.id)
    return True


def _land(mill: Mill, order: Order, summary: Summary, tell: Tell) -> bool:
    """Queue and land what is approved; whether anything was landed or sent back."""
    snapshot = mill.snapshot()
    if not mill.policy_at(mill.target_tip(snapshot)).land.auto or summary.held is not None:
        return False
    scope = [
        item
        for item in snapshot.items.values()
        if not order.wanted or item.id in order.wanted
        if not order.limit or item.id in summary.items or len(summary.items) < order.limit
    ]
    for item in scope:
        if item.status is Status.APPROVED:
            enqueue(mill, item.id)
    names = [item.id for item in scope]
    if not any(item.status in (Status.APPROVED, Status.QUEUED) for item in scope):
        return False
    try:
        landed = land_all(mill, tell, only=names)
    except (CheckoutBlockedError, LandBusyError, PausedError) as error:
        summary.held = error
        summary.items |= {n: i for n, i in mill.snapshot().items.items() if n in summary.items}
        return True
    summary.items |= {item.id: item for item in landed}
    return bool(landed)


def _block_hopeless(mill: Mill) -> None:
    snapshot = mill.snapshot()
    for item in snapshot.items.values():
        if item.status is Status.READY and (gone := hopeless(snapshot.items, item)):
            why = f"it comes after {gone[0]}, which was cancelled"
            step = Step(event=Event.BLOCKED, subject=why, by=mill.user, fields={"reason": why})
            mill.apply(item.id, step)


def _refuse_wanted(snapshot: Snapshot, order: Order) -> None:
    for item_id in order.wanted:
        item = snapshot.item(item_id)
        if item.status in (Status.READY, Status.APPROVED, Status.QUEUED):
            continue
        raise IllegalTransitionError(
            f"{item.id} is {item.status.value}, so it cannot be run",
            evidence=[item.reason] if item.reason else [],
            hints=[f"see `gitmill task show {item.id}`"],
        )
