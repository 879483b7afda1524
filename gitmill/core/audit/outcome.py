"""Check that an event is the one that its evidence leads to under the frozen plan.

`core.pipeline`, which chose the step, is applied again to the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gitmill.core import pipeline
from gitmill.core.audit.event import AuditedEvent, Fault, is_revert_task
from gitmill.core.item import Item, Reviewed
from gitmill.core.lifecycle import Event, Status
from gitmill.core.plans.plan import APPROVED, FrozenPlan, PlannedStage
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.runlog import COMPLETED, EXITS, Log
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Verdict, VerdictWord

E = Event
_PROVEN = frozenset({
    E.ADVANCED, E.APPROVAL_COUNTED, E.APPROVED, E.RETURNED, E.FAILED, E.ASKED, E.EJECTED,
    E.RE_REVIEW,
})  # fmt: skip
_SENT_BACK = frozenset({E.EJECTED, E.RE_REVIEW})
_PASS = VerdictWord.PASS


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected event, and the stage, counters and approvals of the item after it."""

    event: Event
    stage: str
    counters: Mapping[str, int]
    reviewed: tuple[Reviewed, ...]


def check_outcome(turn: AuditedEvent, types: StageTypes) -> Iterator[Fault]:
    """Yield the faults of an event's evidence, and of the outcome derived from it."""
    event, before, run = turn.event, turn.before, turn.run
    if event is None or before is None:
        return
    yield from _evidence(turn, event, before)
    if event is E.FINISHED and run is not None:
        return  # finished without landing: only the loop can judge it
    if turn.plan is None and (run is not None or event is E.CLAIMED):
        return  # reported where the plan is missing
    if turn.is_undo:
        return  # `check_event` has checked the status
    if "Reverts" in turn.record.extra:
        yield from _work(turn, event, before)
        yield from _compare(turn, event, _opposite(turn, before))
        return
    worked = run is not None and before.status is Status.RUNNING and event is not E.RELEASED
    if worked:
        assert run is not None
        assert turn.plan is not None
        yield from _passed_through(turn.plan, turn.claimed or before, run)
        yield from _passes(turn.plan, turn.claimed or before, run, types)
    yield from _work(turn, event, before)
    try:
        expected = list(_after_attempt(turn, before) if worked else _decided(turn, event, before))
    except (KeyError, IndexError):
        yield Fault("outcome", "the frozen plan has no such stage")
        return
    yield from _compare(turn, event, expected)


def _evidence(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Fault]:
    run, after, named = turn.run, turn.after, turn.record.evidence
    if named != turn.run_oid:
        added = turn.run_oid[:12] or "none"
        what = f"it names the run log {named[:12] or 'none'}, but the commit adds {added}"
        yield Fault("evidence", what)
    if run is None:
        if event in _PROVEN or (event is E.BLOCKED and turn.record.claim):
            yield Fault("evidence", f"{event.value} without a run log")
        if after.attempt != before.attempt:
            yield Fault("evidence", f"attempt changed to {after.attempt} without a run log")
        return
    yield from _exit(run, event)
    if event is E.RELEASED and run.exit == "completed":
        yield Fault("outcome", "the item was released although the agent had completed")
    if (run.item, run.number) != (after.id, after.attempt) or run.number != before.attempt + 1:
        yield Fault("evidence", f"its run log is number {run.number} of {run.item}")
    if run.claim != turn.record.claim:
        yield Fault("evidence", f"its run log was written under {run.claim or 'no claim'}")
    if one_line(run.by) != turn.record.by:
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


def _work(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Fault]:
    after, run = turn.after, turn.run
    if not after.work or (after.work, after.base) == (before.work, before.base):
        return
    if event is E.RE_REVIEW and before.landing is not None:
        work, base = before.landing.candidate, before.landing.onto
    else:
        work, base = (run.work, run.base) if run is not None else ("", "")
    if (after.work, after.base) != (work, base):
        what = f"the work is {after.work[:10]}, the attempt made {work[:10] or 'none'}"
        yield Fault("wrong-work", what)


# -- the expected item after an event --------------------------------------------------------------


def _after_attempt(turn: AuditedEvent, before: Item) -> Iterator[Expected]:
    """Yield the step that `pipeline.next_step` derives, for each stage the attempt can end at."""
    plan, run, item = turn.plan, turn.run, turn.claimed or before
    assert plan is not None
    assert run is not None
    verdict = Verdict(run.verdict, "")
    for stage in _ended_at(plan, run):
        step = pipeline.next_step(plan, item, run.stage, stage.name, verdict)
        event = step.event
        if event is E.RETURNED and run.tree and run.tree == item.returned:
            event = E.BLOCKED  # the same work again is no progress
        if turn.event is E.HELD:
            yield from _held(turn, run, item, stage)
            continue
        reviewed = before.reviewed
        if pipeline.is_review(plan, stage.name) and run.verdict is _PASS:
            reviewed = (*reviewed, _approval(run, run.work, stage.name))
        if turn.after.work != before.work:
            reviewed = ()
        yield Expected(event, step.stage, step.counters, reviewed)
        # An author that makes the same work within the same second makes the same commit.
        if plan.stage(run.stage).is_authoring:
            yield Expected(event, step.stage, step.counters, ())


def _held(turn: AuditedEvent, run: Log, item: Item, stage: PlannedStage) -> Iterator[Expected]:
    """Yield the results of tampering, whatever the verdict: an attempt counts, no approval does."""
    counters = dict(item.counters) | {item.stage: item.count(item.stage) + 1}
    to = stage.name if run.verdict is _PASS else item.stage
    yield Expected(E.HELD, to, counters, item.reviewed)
    if turn.plan is not None and turn.plan.stage(run.stage).is_authoring:
        yield Expected(E.HELD, to, counters, ())


def _opposite(turn: AuditedEvent, before: Item) -> list[Expected]:
    """Return the result of making the revert of a landing: approved by the person who asked."""
    run, landed = turn.run, turn.record.extra["Reverts"]
    if run is None or not is_revert_task(before) or not before.source.endswith(f":{landed}"):
        return []
    reviewed = (_approval(run, run.work, run.stage),)
    return [Expected(E.APPROVED, run.stage, before.counters, reviewed)]


def _ended_at(plan: FrozenPlan, run: Log) -> list[PlannedStage]:
    """Return the stages that can have given the verdict: a stage that broke left no result."""
    group = _group(plan, run)
    if not run.stage_results:
        return group if run.verdict is not _PASS else group[:1]
    name, word = run.stage_results[-1]
    if word == run.verdict:
        return [plan.stage(name)]
    return group[[stage.name for stage in group].index(name) + 1 :]


def _decided(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Expected]:
    """Yield the possible results of a decision, a landing or a claim."""
    plan, run = turn.plan, turn.run
    stage, counters, reviewed = before.stage, before.counters, before.reviewed
    if event in (E.REOPENED, E.REVERTED):
        restarts = event is E.REOPENED
        yield Expected(event, "" if restarts else stage, {} if restarts else counters, ())
        return
    if event in (E.APPROVED, E.ADVANCED) and plan is not None and run is not None:
        after = pipeline.next_after_pass(plan, before, stage)
        reviewed = (*reviewed, _approval(run, before.work, stage))
        if after == APPROVED:
            yield Expected(E.APPROVED, stage, counters, reviewed)
        else:
            yield Expected(E.ADVANCED, after, counters, reviewed)
        return
    if event is E.RETURNED and plan is not None:
        yield Expected(event, pipeline.authoring(plan, stage), pipeline.new_round(counters), ())
        return
    if event in _SENT_BACK and plan is not None:
        last = plan.stages[-1].name
        to = pipeline.reviewing(plan) if event is E.RE_REVIEW else pipeline.authoring(plan, last)
        yield Expected(event, to, pipeline.new_round(counters), ())
        return
    if event is E.CLAIMED and plan is not None:
        stage = stage or plan.first.name
    yield Expected(event, stage, counters, reviewed)
    yield from _alternatives(turn, event, before)


def _alternatives(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Expected]:
    """Yield the results of an event that changes more than the item's status."""
    plan, stage, counters, reviewed = turn.plan, before.stage, before.counters, before.reviewed
    if event is E.CLAIMED and plan is not None and is_revert_task(before):
        yield Expected(event, plan.first.name, {}, ())
    if event is E.LAND_ABORTED:
        counted = dict(counters) | {"aborts": before.count("aborts") + 1}
        yield Expected(event, stage, counted, reviewed)
    if event is E.UNBLOCKED:
        yield Expected(event, stage, {}, reviewed)
    if event is E.EDITED and before.frozen and not turn.after.frozen:
        yield Expected(event, "", {}, ())


def _approval(run: Log, work: str, stage: str) -> Reviewed:
    return Reviewed(commit=work, patch=run.patch, by=run.by, run=run.number, stage=stage)


def _compare(turn: AuditedEvent, event: Event, expected: list[Expected]) -> Iterator[Fault]:
    """Yield nothing if one of the expectations is met, else the difference to the nearest."""
    after = turn.after
    matching = [e for e in expected if (e.event, e.stage) == (event, after.stage)]
    if not matching:
        for first in expected[:1]:
            actual = f"{event.value} at {after.stage or 'no stage'}"
            planned = f"{first.event.value} at {first.stage or 'no stage'}"
            yield Fault("outcome", f"it is {actual}, but the frozen plan leads to {planned}")
        if not expected:
            yield Fault("outcome", "no stage of the frozen plan can have given this verdict")
        return
    if all(dict(e.counters) != dict(after.counters) for e in matching):
        what = f"{_shown(after.counters)}, not {_shown(matching[0].counters)}"
        yield Fault("counters", f"the counters are {what}")
    if not any(_same(e.reviewed, after.reviewed) for e in matching):
        yield Fault("wrong-review", "its approvals are not those of passed reviews of its work")
    has_more = turn.before is None or len(after.reviewed) > len(turn.before.reviewed)
    if turn.run is not None and has_more and turn.run.work != after.work:
        reviewed = turn.run.work[:10] or "nothing"
        yield Fault("wrong-review", f"the review was of {reviewed}, the work is {after.work[:10]}")


def _same(expected: tuple[Reviewed, ...], actual: tuple[Reviewed, ...]) -> bool:
    """Whether approvals are equal. A person's run log has no patch; the landing checks that one."""
    return len(expected) == len(actual) and all(
        (a.commit, a.by, a.run, a.stage) == (b.commit, b.by, b.run, b.stage)
        and (not a.patch or a.patch == b.patch)
        for a, b in zip(expected, actual, strict=True)
    )


def _shown(counters: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items())) or "none"
