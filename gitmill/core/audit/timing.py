"""Check when an event happened: that nothing held it back, and how long its lease is.

The order of events is the order of the history. The clocks of machines differ, so times that
disagree with it are a notice; see `late`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from gitmill.core import pipeline
from gitmill.core.audit.event import LATE, AuditedEvent, Fault
from gitmill.core.lease import BY_HAND, GRACE
from gitmill.core.lifecycle import Event


def timing_faults(turn: AuditedEvent) -> Iterator[Fault]:
    """Yield a fault for a start that a pause or dependency forbids, and for a lease too long."""
    if turn.held_back and turn.record.version >= 2 and not turn.is_undo:
        yield Fault("too-early", f"{turn.record.event} although {turn.held_back}")
    lease, plan, at = turn.after.lease, turn.plan, turn.at
    if turn.event is not Event.CLAIMED or lease is None or plan is None or at is None:
        return
    seconds = BY_HAND
    if lease.pid and pipeline.is_stage(plan, turn.after.stage):
        seconds = pipeline.time_limit(plan, turn.after.stage) + GRACE
    over = (lease.until - at - timedelta(seconds=seconds)).total_seconds()
    if over > LATE.total_seconds():
        yield Fault("wrong-lease", f"the lease is {over:.0f} s longer than its stage may take")


def late(turn: AuditedEvent) -> str:
    """Return how the time of an event contradicts its lease, empty if it does not."""
    lease = turn.before.lease if turn.before is not None else None
    if lease is None or turn.at is None or turn.record.claim != lease.claim:
        return ""
    if turn.at - lease.until <= LATE or turn.event is Event.LAPSED:
        return ""
    return f"{turn.record.event} was recorded after its lease had ended, at {lease.until}"
