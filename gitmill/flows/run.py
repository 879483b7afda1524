"""Run: attempt ready items one after the other, and land approved ones."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from gitmill.attempts.attempt import Progress, run_stages
from gitmill.attempts.claim import claim
from gitmill.attempts.stage_types import all_types
from gitmill.core import changes
from gitmill.core.dependencies import never_met
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import group
from gitmill.core.trailers import one_line
from gitmill.errors import (
    AgentMissingError,
    BadDocumentError,
    CheckoutBlockedError,
    GitmillError,
    IllegalTransitionError,
    ItemBudgetError,
    LandBusyError,
    NothingToDoError,
    NotNowError,
    NotReadyError,
    PausedError,
    RefMovedError,
    UntrustedError,
)
from gitmill.flows.land_queue import enqueue
from gitmill.flows.recover import recover
from gitmill.flows.run_candidates import candidates, note_red
from gitmill.flows.run_summary import Summary
from gitmill.hints import Gitmill, Hint
from gitmill.landing.land import LandingListener, land_all
from gitmill.landing.publish import record_event
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.loops import served_kinds
from gitmill.plans.policy import policy_at, policy_now
from gitmill.store.events import Step
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.leases import is_held
from gitmill.workspace.moved import unless_moved
from gitmill.workspace.signals import stop_on_signals
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_runnable
from gitmill.workspace.without_work import forget

POLL = 0.5  # seconds between two checks for changes by other processes


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request: the items to run (all when empty), where to stop, the most items (0: no limit)."""

    wanted: Collection[str] = ()
    through: str = "landed"
    limit: int = 0


def run(mill: Mill, request: RunRequest, progress: Progress, listener: LandingListener) -> Summary:
    """Run until no item is eligible.

    Raises `NothingToDoError` when no item was eligible, a `NotNowError` when none could start,
    `PausedError`, and once the lease of a running attempt is released, `KeyboardInterrupt` and
    errors that are not an item's fault.
    """
    mill.repository.require_usable()
    summary = Summary()
    with unless_moved(mill), stop_on_signals(mill) as stop:
        summary.items |= _recovered(mill, stop)
        _refuse_wanted(mill, mill.snapshot(), request)
        while _next_action(mill, request, summary, progress, listener, stop):
            stop.raise_if_requested()
        # Other processes can have advanced them in the meantime.
        snapshot = mill.snapshot()
        note_red(mill, snapshot, request.wanted, summary)
        summary.items = {n: snapshot.items.get(n, item) for n, item in summary.items.items()}
    if not summary.items and summary.held is None:
        raise _no_item(summary)
    return summary


def _no_item(summary: Summary) -> GitmillError:
    """Return the error of a run that advanced no item."""
    if summary.untrusted:
        return next(iter(summary.untrusted.values()))
    hint = Hint("see what each item waits for:", Gitmill("status"))
    return summary.first_not_now or NothingToDoError("nothing is ready", hints=[hint])


def _recovered(mill: Mill, stop: StopToken) -> dict[str, Item]:
    """Recover; return the items whose landing that finished."""
    landing = [i.id for i in mill.snapshot().items.values() if i.status is Status.LANDING]
    recover(mill, stop=stop)
    items = mill.snapshot().items
    return {n: items[n] for n in landing if n in items and items[n].status is Status.LANDED}


def _next_action(
    mill: Mill,
    request: RunRequest,
    summary: Summary,
    progress: Progress,
    listener: LandingListener,
    stop: StopToken,
) -> bool:
    """Do one action: land, attempt or wait; return whether another one can follow."""
    _block_unmeetable(mill)
    if request.through == "landed" and _finish(mill, request, summary):
        return True
    if request.through == "landed" and _land(mill, request, summary, listener, stop):
        return True
    snapshot = mill.snapshot()
    if snapshot.control.paused:
        raise PausedError(
            "work is paused",
            evidence=[snapshot.control.reason] if snapshot.control.reason else [],
            hints=[Hint("resume with", Gitmill("resume"))],
        )
    known: dict[tuple[object, ...], NotNowError] = {}  # thousands can wait for the same agent
    for item in candidates(mill, snapshot, request.wanted, summary):
        if not _is_within_limit(item, request, summary):
            continue
        key = (item.plan, item.stage, item.builder, tuple(r.by for r in item.reviewed))
        try:
            if key not in known:
                return _attempt(mill, item, summary, progress, stop)
        except NotNowError as error:
            known[key] = error
        summary.not_now[item.id] = known[key]
    return _wait(mill, summary, stop)


def _is_within_limit(item: Item, request: RunRequest, summary: Summary) -> bool:
    in_run = item.id in summary.items
    return not request.limit or in_run or len(summary.items) < request.limit


def _attempt(mill: Mill, item: Item, summary: Summary, progress: Progress, stop: StopToken) -> bool:
    """Make one attempt at an item. Raises a `NotNowError` when it cannot start now."""
    try:
        _require_trusted(mill, mill.snapshot(), item)
        state = claim(mill, item.id, after=item.event)
    except RefMovedError:
        return True  # another worker claimed it
    except UntrustedError as error:
        summary.untrusted[item.id] = error
        return True
    except (BadDocumentError, AgentMissingError) as error:
        reason = f"it cannot be run: {error.message}"
        summary.items[item.id] = record_event(mill, item, changes.blocked(item, one_line(reason)))
        return True
    except ItemBudgetError as error:
        summary.items[item.id] = record_event(
            mill, item, changes.blocked(item, one_line(error.message))
        )
        return True
    summary.attempts += 1
    if state.stood_red and item.stands_red(state.base):
        forget(mill, state.base)  # a person has named it, to ask again
    try:
        result = run_stages(mill, state, group(state.plan, state.item.stage), progress, stop)
    except GitmillError as error:  # a race is tried again, unless its lease could not be released
        if not summary.races.may_retry(item.id, error) or is_held(mill, item.id, state.claim):
            raise
        return True
    summary.items[result.item.id] = result.item
    if result.event is Event.RELEASED and not result.outage:
        if result.item.red_target is None:
            summary.released.add(result.item.id)
        else:  # the next move of the target makes it eligible again
            summary.asked.add(result.item.id)
    return True


def _require_trusted(mill: Mill, snapshot: Snapshot, item: Item) -> None:
    """Raise `UntrustedError` if commands of an unclaimed item are not trusted on this machine."""
    tip = mill.target_tip(snapshot)
    plan = plan_for(mill, snapshot, item, tip, all_types())
    require_runnable(mill, item, policy_at(mill, tip), plan)


def _wait(mill: Mill, summary: Summary, stop: StopToken) -> bool:
    """Recover from dead processes, else wait if the wait is short; return whether to continue."""
    before = mill.snapshot().commit
    recover(mill, stop=stop)
    if mill.snapshot().commit != before:
        return True
    if summary.busy:
        with stop.interruptible():
            time.sleep(POLL)
        return True
    return _cool_down(mill, summary, stop)


def _cool_down(mill: Mill, summary: Summary, stop: StopToken) -> bool:
    """Wait until an attempt can start, if `limits.wait` allows it; return whether it waited."""
    error = summary.first_not_now
    if error is None or error.until is None:
        return False
    wait = max(0.0, (error.until - mill.now()).total_seconds())
    if summary.waited + wait > policy_now(mill).limits.wait:
        return False
    tip, began = mill.snapshot().commit, time.monotonic()
    with stop.interruptible():
        while mill.snapshot().commit == tip and (rest := wait + began - time.monotonic()) > 0:
            time.sleep(min(POLL, rest))
            stop.raise_if_requested()  # by another thread: it does not interrupt the sleep
    # A clock that is repeatedly set back must not make this endless.
    summary.waited += time.monotonic() - began + 0.1
    summary.not_now.clear()
    return True


def _scope(snapshot: Snapshot, request: RunRequest, summary: Summary) -> list[Item]:
    """Return the items that the request is about."""
    return [
        item
        for item in snapshot.items.values()
        if not request.wanted or item.id in request.wanted
        if _is_within_limit(item, request, summary)
    ]


def _finish(mill: Mill, request: RunRequest, summary: Summary) -> bool:
    """Finish approved items that have nothing to land; return whether there were any."""
    found = False
    for item in _scope(mill.snapshot(), request, summary):
        if item.status is Status.APPROVED and not item.work:
            change = changes.finished(item)
            step = Step(change=change, subject="done", by=mill.user, after=item.event)
            with suppress(RefMovedError):  # another process finished it first
                summary.items[item.id] = mill.apply(item.id, step).item(item.id)
            found = True
    return found


def _land(
    mill: Mill,
    request: RunRequest,
    summary: Summary,
    listener: LandingListener,
    stop: StopToken,
) -> bool:
    """Queue and land approved items; return whether any landed or was sent back."""
    snapshot = mill.snapshot()
    if not policy_at(mill, mill.target_tip(snapshot)).land.auto or summary.held is not None:
        return False
    scope = [item for item in _scope(snapshot, request, summary) if item.work]
    for item in scope:
        if item.status is Status.APPROVED:
            with suppress(RefMovedError):  # another process queued it first
                enqueue(mill, item.id, after=item.event)
    summary.busy = False
    if not any(item.status in (Status.APPROVED, Status.QUEUED) for item in scope):
        return False
    only = [item.id for item in scope]
    try:
        again = set(only) & set(request.wanted) - summary.asked
        landed = land_all(mill, listener, only=only, asked=again, stop=stop)
        summary.asked |= {item.id for item in landed if item.red_target is not None}
    except LandBusyError:
        summary.busy = True
        return False
    except (CheckoutBlockedError, PausedError, UntrustedError) as error:
        summary.held = error
        wanted = {*summary.items, *only}
        summary.items |= {n: i for n, i in mill.snapshot().items.items() if n in wanted}
        return True
    summary.items |= {item.id: item for item in landed}
    # An item that lost its landings to a moving target is tried again after the next attempt.
    return any(item.status is not Status.QUEUED for item in landed)


_RUNNABLE = (Status.READY, Status.APPROVED, Status.QUEUED)


def _block_unmeetable(mill: Mill) -> None:
    """Block the items with a dependency that was cancelled."""
    snapshot = mill.snapshot()
    for item in snapshot.items.values():
        if item.status in _RUNNABLE and (cancelled := never_met(snapshot.items, item)):
            reason = f"it comes after {cancelled[0]}, which was cancelled"
            with suppress(RefMovedError):
                record_event(mill, item, changes.blocked(item, reason))


def _refuse_wanted(mill: Mill, snapshot: Snapshot, request: RunRequest) -> None:
    """Raise `IllegalTransitionError` for a named item that cannot be run."""
    kinds = served_kinds(mill, snapshot, all_types())
    for item_id in request.wanted:
        item = snapshot.item(item_id)
        if item.kind not in kinds:
            raise NotReadyError(
                f"no loop serves a {item.kind}, so {item.id} cannot be run",
                hints=[
                    Hint("see the loops with", Gitmill("loop", "list")),
                    Hint(f"add a folder in .gitmill/loops whose loop.md has `serves: {item.kind}`"),
                ],
            )
        if item.status in _RUNNABLE:
            continue
        raise IllegalTransitionError(
            f"{item.id} is {item.status.value}, so it cannot be run",
            evidence=[item.reason] if item.reason else [],
            hints=[Hint("see", Gitmill("task", "show", item.id))],
        )
