"""Check that an event is the one that its evidence leads to under the frozen plan.

`core.pipeline`, which chose the step, is applied again to the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gitmill.core import changes, pipeline, undo_rules
from gitmill.core.audit.actors import actor_faults
from gitmill.core.audit.comparison import compare
from gitmill.core.audit.event import AuditedEvent, Fault, check_event
from gitmill.core.audit.expected import (
    end_without_work,
    ended_attempt,
    expected_changes,
    waits_for_target,
)
from gitmill.core.audit.timing import timing_faults
from gitmill.core.audit.written import wrong_birth
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


def faults_of(turn: AuditedEvent, types: StageTypes) -> list[Fault]:
    """Return all faults of an event; wrong bytes only where every value is right."""
    found = [
        *check_event(turn),
        *actor_faults(turn),
        *timing_faults(turn),
        *check_outcome(turn, types),
    ]
    return [fault for fault in found if fault.rule != "wrong-bytes"] or found


def check_outcome(turn: AuditedEvent, types: StageTypes) -> Iterator[Fault]:
    """Yield the faults of an event's evidence, and of the change derived from it."""
    event, before, run = turn.event, turn.before, turn.run
    if event is None:
        return
    if before is None:
        yield from wrong_birth(turn)
        if turn.is_undo:
            yield Fault("wrong-undo", f"{event.value} undoes nothing")
    elif event in changes.UNRECORDED:
        yield Fault("unknown-event", f"no version of gitmill records {event.value}")
    else:
        yield from _evidence(turn, event, before)
        if turn.is_undo:
            yield from _undo(turn, event, before)
            return
        if turn.plan is None and (run is not None or event is E.CLAIMED):
            return  # reported where the plan is missing
        if run is not None or event not in _PROVEN:  # the lack of its evidence is reported
            yield from _attempt(turn, before, types)
            yield from _change(turn, before)


def _undo(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Fault]:
    """Compare an undo with the only change that undoes the item's last events."""
    undone = turn.undone
    if undone is None:
        yield Fault("wrong-undo", "it does not undo the last effective events")
        return
    first, last = undone.records[-1], undone.records[0]
    if not undo_rules.is_free(last, undone.after, by=turn.record.by):
        yield Fault("wrong-undo", f"{turn.record.by} may not undo {last.event}")
    if event is not undo_rules.undoing_event(first, last):
        yield Fault("wrong-undo", f"{event.value} does not undo {last.event}")
        return
    change = undo_rules.undoing(undone.records, undone.before, undone.after, event=event)
    if event is E.UNDONE and turn.after.status is not change.back:
        yield Fault("wrong-undo", f"the item is {turn.after.status.value} again")
    for fault in compare(turn, before, [change]):
        yield fault if fault.rule == "wrong-bytes" else replace(fault, rule="wrong-undo")


def _attempt(turn: AuditedEvent, before: Item, types: StageTypes) -> Iterator[Fault]:
    """Check the run log of an event that ends an attempt against the frozen plan."""
    plan, run = turn.plan, turn.run
    if run is None or not ended_attempt(turn):
        return
    assert plan is not None
    item = turn.claimed or before
    if (ends := end_without_work(turn)) is not None:
        yield from _without_work(item, run, criteria=ends is pipeline.nothing_to_do)
    else:
        yield from _passed_through(plan, item, run)
        if turn.record.version >= 2 and not run.stage_results:
            yield from _without_a_stage(run)
        yield from _passes(plan, item, run, types)
    if waits_for_target(turn):
        yield from _on_target(plan, item, run, types)


def _change(turn: AuditedEvent, before: Item) -> Iterator[Fault]:
    """Compare what the event did with each change that the rules allow for it."""
    try:
        expected = list(expected_changes(turn))
    except (KeyError, IndexError):
        yield Fault("outcome", "the frozen plan has no such stage")
    except InputError as error:
        yield Fault("wrong-fields", str(error))
    else:
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
    if event is E.RELEASED and run.exit == COMPLETED and not waits_for_target(turn):
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


def _without_a_stage(run: Log) -> Iterator[Fault]:
    """Refuse a verdict that only a stage can give; an attempt that broke has no stages."""
    if run.verdict not in (VerdictWord.FAIL, VerdictWord.ASK):
        yield Fault("outcome", f"no stage gave the verdict {run.verdict.value}")


def _without_work(item: Item, run: Log, *, criteria: bool) -> Iterator[Fault]:
    """Refuse an end without work that begins elsewhere; `criteria` must all have passed, if any."""
    if run.stage != item.stage:
        yield Fault("outcome", f"the attempt ran {run.stage} from {item.stage}")
    if not criteria:
        return
    passed = {command for command, _ in run.passed}
    missing = [command for command in item.commands if command not in passed]
    if missing or not item.commands or not run.tree:
        named = f"passed criterion `{missing[0]}`" if missing else "criterion that passed on a tree"
        yield Fault("missing-check", f"its run log has no {named}")


def _on_target(plan: FrozenPlan, item: Item, run: Log, types: StageTypes) -> Iterator[Fault]:
    """Refuse a release at the checks unless its log has the red check, with and without the work.

    Only a check of the policy can wait for the target; a criterion is the item's own.
    """
    assert run.on_target is not None
    name, verdict = run.stage_results[-1] if run.stage_results else ("", "")
    at = next((stage for stage in _group(plan, run) if stage.name == name), None)
    asks = at is not None and at.type in types and types[at.type].asks_target
    if not asks or verdict != run.verdict or run.verdict is _PASS:
        yield Fault("outcome", f"the attempt ended at {name or 'no stage'}, which asks no target")
    red = [status for check, _, status in run.failed if check == run.on_target.check]
    if not red or not run.on_target.commit or run.on_target.commit != run.base:
        yield Fault("evidence", f"its run log has no red {run.on_target.check} on its base")
    elif run.on_target.red_target(red[0]) is not None:
        checks = {check.name: check.command for check in plan.checks}
        if (run.failed[0][0], checks.get(run.failed[0][0])) != run.failed[0][:2]:
            yield Fault("outcome", f"{run.on_target.check} is no check of the frozen plan")
        if item.fixes_check == run.on_target.check:
            yield Fault("outcome", f"the item is there to fix {run.on_target.check}")


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
