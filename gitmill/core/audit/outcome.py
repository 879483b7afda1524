"""Check that an event is the one that its evidence leads to under the frozen plan.

`core.pipeline`, which chose the step, is applied again to the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator

from gitmill.core import changes, pipeline
from gitmill.core.audit.comparison import compare
from gitmill.core.audit.event import AuditedEvent, Fault
from gitmill.core.audit.expected import ended_attempt, expected_changes
from gitmill.core.change import InputError
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.plans.plan import FrozenPlan, PlannedStage
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.runlog import COMPLETED, EXITS, Log
from gitmill.core.trailers import one_line
from gitmill.core.verdict import VerdictWord

E = Event
_PROVEN = frozenset({
    E.ADVANCED, E.APPROVAL_COUNTED, E.APPROVED, E.RETURNED, E.FAILED, E.ASKED, E.EJECTED,
    E.RE_REVIEW,
})  # fmt: skip
_PASS = VerdictWord.PASS


def check_outcome(turn: AuditedEvent, types: StageTypes) -> Iterator[Fault]:
    """Yield the faults of an event's evidence, and of the change derived from it."""
    event, before, run = turn.event, turn.before, turn.run
    if event is None or before is None:
        return
    if event in changes.UNRECORDED:
        yield Fault("unknown-event", f"no version of gitmill records {event.value}")
        return
    yield from _evidence(turn, event, before)
    if turn.plan is None and (run is not None or event is E.CLAIMED):
        return  # reported where the plan is missing
    if turn.is_undo or (run is None and event in _PROVEN):
        return  # its fields, or the lack of its evidence, are reported already
    if run is not None and ended_attempt(turn):
        assert turn.plan is not None
        yield from _passed_through(turn.plan, turn.claimed or before, run)
        yield from _passes(turn.plan, turn.claimed or before, run, types)
    try:
        expected = list(expected_changes(turn))
    except (KeyError, IndexError):
        yield Fault("outcome", "the frozen plan has no such stage")
        return
    except InputError as error:
        yield Fault("wrong-fields", str(error))
        return
    yield from compare(turn, before, expected)


def _evidence(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Fault]:
    run, after, named = turn.run, turn.after, turn.record.evidence
    if named != turn.run_oid:
        added = turn.run_oid[:12] or "none"
        what = f"it names the run log {named[:12] or 'none'}, but the commit adds {added}"
        yield Fault("evidence", what)
    if run is None:
        claimed = event in (E.BLOCKED, E.FINISHED) and turn.record.claim
        if event in _PROVEN or claimed or (event is E.FINISHED and before.status is Status.RUNNING):
            yield Fault("evidence", f"{event.value} without a run log")
        if after.attempt != before.attempt:
            yield Fault("evidence", f"attempt changed to {after.attempt} without a run log")
        return
    yield from _exit(run, event)
    passed = run.verdict is _PASS and event is not E.HELD  # tampering is a finding, and holds
    if passed and run.has_high and turn.record.version >= 2:
        yield Fault("outcome", "the attempt passed with a high finding, which asks a person")
    if event is E.RELEASED and run.exit == "completed":
        yield Fault("outcome", "the item was released although the agent had completed")
    if (run.item, run.number) != (after.id, after.attempt) or run.number != before.attempt + 1:
        yield Fault("evidence", f"its run log is number {run.number} of {run.item}")
    if run.claim != turn.record.claim:
        yield Fault("evidence", f"its run log was written under {run.claim or 'no claim'}")
    if one_line(run.by) != one_line(turn.record.by):
        yield Fault("evidence", f"its run log is by {run.by or 'no one'}")


def _exit(run: Log, event: Event) -> Iterator[Fault]:
    """Refuse an unknown exit, a pass without a completed agent, and a negative cost.

    Budgets add up usage and cost, so each must be a number or absent.
    """
    if run.exit not in EXITS:
        yield Fault("evidence", f"the run log names no known exit: {run.exit or 'none'}")
    elif run.exit != COMPLETED and run.verdict is _PASS and event is not E.RELEASED:
        yield Fault("outcome", f"the attempt passed although the agent's exit is {run.exit}")
    for used in run.spent:
        number = isinstance(used, int | float) and not isinstance(used, bool)
        if used is not None and not (number and isinstance(used, int | float) and used >= 0):
            yield Fault("evidence", f"its run log has an impossible usage or cost: {used}")


def _passed_through(plan: FrozenPlan, item: Item, run: Log) -> Iterator[Fault]:
    """Refuse an attempt that skipped stages of its group, or continued after a red one."""
    group = _group(plan, run)
    names = [stage.name for stage in group]
    done = [stage for stage, _ in run.stage_results]
    if run.stage != item.stage or done not in (names[: len(done)], names[1 : len(done) + 1]):
        yield Fault("outcome", f"the attempt ran {', '.join(done)} from {item.stage}")
        return
    if run.verdict is _PASS and len(names) > 1 and done[-1:] != names[-1:]:
        yield Fault("outcome", f"the attempt passed without {names[-1]}")
    if any(verdict != _PASS for _, verdict in run.stage_results[:-1]):
        yield Fault("outcome", "the attempt continued after a stage that did not pass")


def _passes(plan: FrozenPlan, item: Item, run: Log, types: StageTypes) -> Iterator[Fault]:
    """Demand the evidence that the type of each passed stage leaves in the run log."""
    passed = {name for name, verdict in run.stage_results if verdict == _PASS}
    for kind in {stage.type: None for stage in _group(plan, run) if stage.name in passed}:
        if kind not in types:
            yield Fault("missing-check", f"this gitmill cannot verify a pass of the type {kind}")
            continue
        for what in types[kind].missing(plan, item, run):
            yield Fault("missing-check", f"its run log has no {what}")


def _group(plan: FrozenPlan, run: Log) -> list[PlannedStage]:
    return pipeline.group(plan, run.stage) if pipeline.is_stage(plan, run.stage) else []
