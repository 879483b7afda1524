"""Run: attempt ready items one after the other, and land the approved ones."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from gitmill.attempts.attempt import Progress, run_stages
from gitmill.attempts.claim import claim
from gitmill.core.dependencies import never_met
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import eligible, group
from gitmill.errors import (
    AgentMissingError,
    BadDocumentError,
    CheckoutBlockedError,
    Exit,
    GitmillError,
    IllegalTransitionError,
    ItemBudgetError,
    LandBusyError,
    NothingToDoError,
    NotNowError,
    PausedError,
    RefMovedError,
    UntrustedError,
)
from gitmill.flows.land_queue import enqueue
from gitmill.flows.recover import recover
from gitmill.landing.land import LandingListener, land_all
from gitmill.landing.publish import record_event
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.policy import policy_at, policy_now
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.signals import interruptible, interruptible_section, raise_if_stopped
from gitmill.workspace.trust import require_runnable

POLL = 0.5  # seconds between two checks whether another process still lands


@dataclass
class Summary:
    """The results of a run."""

    items: dict[str, Item] = field(default_factory=dict)
    attempts: int = 0
    given_back: set[str] = field(default_factory=set)  # not again in this run
    resting: dict[str, NotNowError] = field(default_factory=dict)  # why an item cannot start now
    waited: float = 0.0  # seconds spent waiting until an attempt could start
    untrusted: dict[str, GitmillError] = field(
        default_factory=dict
    )  # items with untrusted commands
    held: GitmillError | None = None
    busy: bool = False  # another process lands, and there is something to land

    @property
    def code(self) -> Exit:
        """The exit code: the first that applies of failed, needs a person, busy, ok."""
        statuses = {item.status for item in self.items.values()}
        ready = {item.id for item in self.items.values() if item.status is Status.READY}
        codes = {error.code for error in self.resting.values()}
        if Status.BLOCKED in statuses or self.given_back & ready or Exit.FAILED in codes:
            return Exit.FAILED
        if Status.WAITING in statuses or Exit.PERSON in codes or self.untrusted:
            return Exit.PERSON
        return self.held.code if self.held else Exit.BUSY if codes else Exit.OK

    @property
    def rests(self) -> NotNowError | None:
        """Why the remaining items cannot start now; of several reasons the one that ends first."""
        return min(self.resting.values(), key=_ends, default=None)


def _ends(error: NotNowError) -> tuple[bool, float]:
    return (error.until is None, error.until.timestamp() if error.until else 0.0)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request of a run: its items (all when empty), where to stop, and a maximum of items."""

    wanted: Collection[str] = ()
    through: str = "landed"
    limit: int = 0


def run(mill: Mill, order: RunRequest, progress: Progress, tell: LandingListener) -> Summary:
    """Run until no item is eligible.

    Raises `NothingToDoError` when none was from the start, a `NotNowError` when none could start,
    `PausedError`, and `KeyboardInterrupt` after the lease of a running attempt was released.
    """
    mill.repository.require_usable()
    summary = Summary()
    with interruptible(mill):
        summary.items |= _recovered(mill)
        _refuse_wanted(mill.snapshot(), order)
        while _turn(mill, order, summary, progress, tell):
            raise_if_stopped()
        # Other processes may have advanced them in the meantime.
        snapshot = mill.snapshot()
        summary.items = {n: snapshot.items.get(n, item) for n, item in summary.items.items()}
    if not summary.items and summary.untrusted and summary.held is None:
        raise next(iter(summary.untrusted.values()))
    if not summary.items and summary.held is None:
        if summary.rests is not None:
            raise summary.rests
        raise NothingToDoError(
            "nothing is ready", hints=["see what waits for what with `gitmill status`"]
        )
    return summary


def _recovered(mill: Mill) -> dict[str, Item]:
    """Recover; return the items whose landing was finished by that."""
    landing = [i.id for i in mill.snapshot().items.values() if i.status is Status.LANDING]
    recover(mill)
    items = mill.snapshot().items
    return {n: items[n] for n in landing if n in items and items[n].status is Status.LANDED}


def _turn(
    mill: Mill, order: RunRequest, summary: Summary, progress: Progress, tell: LandingListener
) -> bool:
    """Do one action; return whether there may be another one."""
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
        if item.id not in summary.given_back
        if item.id not in summary.resting
        if item.id not in summary.untrusted
    ]
    alike: dict[tuple[object, ...], NotNowError] = {}  # thousands may wait for one agent
    for item in ready:
        key = (item.plan, item.stage, item.builder, tuple(r.by for r in item.reviewed))
        try:
            if key not in alike:
                return _attempt(mill, item, summary, progress)
        except NotNowError as error:
            alike[key] = error
        summary.resting[item.id] = alike[key]
    return _wait(mill, summary)


def _attempt(mill: Mill, item: Item, summary: Summary, progress: Progress) -> bool:
    """Make one attempt at an item. Raises a `NotNowError` when it cannot start now."""
    try:
        _trusted(mill, mill.snapshot(), item)
        now = claim(mill, item.id, after=item.event)
    except RefMovedError:
        return True  # another worker claimed it
    except UntrustedError as error:
        summary.untrusted[item.id] = error
        return True
    except (BadDocumentError, AgentMissingError) as error:
        why = f"it cannot be run: {error.message}"
        summary.items[item.id] = record_event(mill, item, Event.BLOCKED, why)
        return True
    except ItemBudgetError as error:
        summary.items[item.id] = record_event(mill, item, Event.BLOCKED, error.message)
        return True
    # From here on a lost race is an error to report, not another worker's win.
    attempted = run_stages(mill, now, group(now.plan, now.item.stage), progress)
    summary.attempts += 1
    summary.items[attempted.item.id] = attempted.item
    if attempted.event is Event.RELEASED and not attempted.outage:
        summary.given_back.add(attempted.item.id)
    return True


def _trusted(mill: Mill, snapshot: Snapshot, item: Item) -> None:
    """Raise `UntrustedError` before an item is claimed whose commands may not run here."""
    tip = mill.target_tip(snapshot)
    require_runnable(mill, item, policy_at(mill, tip), plan_for(mill, snapshot, item, tip))


def _wait(mill: Mill, summary: Summary) -> bool:
    """With nothing to start: recover from dead processes, else wait if the wait is short."""
    before = mill.snapshot().commit
    recover(mill)
    if mill.snapshot().commit != before:
        return True
    if summary.busy:
        with interruptible_section():
            time.sleep(POLL)
        return True
    return _cool_down(mill, summary)


def _cool_down(mill: Mill, summary: Summary) -> bool:
    """Wait until an attempt can start, if that is soon enough; return whether it may."""
    rests = summary.rests
    if rests is None or rests.until is None:
        return False
    left = max(0.0, (rests.until - mill.now()).total_seconds())
    longest = policy_now(mill).limits.wait
    if summary.waited + left > longest:
        return False
    tip, began = mill.snapshot().commit, time.monotonic()
    with interruptible_section():
        while mill.snapshot().commit == tip and (over := left + began - time.monotonic()) > 0:
            time.sleep(min(POLL, over))
    # A clock that is set back repeatedly must not make this endless.
    summary.waited += time.monotonic() - began + 0.1
    summary.resting.clear()
    return True


def _land(mill: Mill, order: RunRequest, summary: Summary, tell: LandingListener) -> bool:
    """Queue and land approved items; return whether any landed or was sent back."""
    snapshot = mill.snapshot()
    if not policy_at(mill, mill.target_tip(snapshot)).land.auto or summary.held is not None:
        return False
    scope = [
        item
        for item in snapshot.items.values()
        if not order.wanted or item.id in order.wanted
        if not order.limit or item.id in summary.items or len(summary.items) < order.limit
    ]
    for item in scope:
        if item.status is Status.APPROVED:
            with suppress(RefMovedError):  # another process was quicker
                enqueue(mill, item.id, after=item.event)
    names = [item.id for item in scope]
    summary.busy = False
    if not any(item.status in (Status.APPROVED, Status.QUEUED) for item in scope):
        return False
    try:
        landed = land_all(mill, tell, only=names)
    except LandBusyError:
        summary.busy = True
        return False
    except (CheckoutBlockedError, PausedError, UntrustedError) as error:
        summary.held = error
        summary.items |= {n: i for n, i in mill.snapshot().items.items() if n in summary.items}
        return True
    summary.items |= {item.id: item for item in landed}
    return bool(landed)


def _block_hopeless(mill: Mill) -> None:
    snapshot = mill.snapshot()
    for item in snapshot.items.values():
        stands = item.status in (Status.READY, Status.APPROVED, Status.QUEUED)
        if stands and (gone := never_met(snapshot.items, item)):
            why = f"it comes after {gone[0]}, which was cancelled"
            with suppress(RefMovedError):
                record_event(mill, item, Event.BLOCKED, why)


def _refuse_wanted(snapshot: Snapshot, order: RunRequest) -> None:
    for item_id in order.wanted:
        item = snapshot.item(item_id)
        if item.status in (Status.READY, Status.APPROVED, Status.QUEUED):
            continue
        raise IllegalTransitionError(
            f"{item.id} is {item.status.value}, so it cannot be run",
            evidence=[item.reason] if item.reason else [],
            hints=[f"see `gitmill task show {item.id}`"],
        )
