"""The changes that can have been the event of a commit: the rules, applied again to its inputs.

Inputs are what an event brings from outside. They are taken from the item after it, from its
trailers and from its run log; `core.changes` and `core.pipeline` compute all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from gitmill.core import changes, pipeline
from gitmill.core.audit.event import AuditedEvent
from gitmill.core.change import TEXT, Change, Outcome, Work, Written
from gitmill.core.item import ABORTS, MOVED, Item, Reviewed, is_revert_task
from gitmill.core.lifecycle import (
    MOVED_SINCE,
    NOTHING_TO_DO_SINCE,
    RED_TARGETS_SINCE,
    Event,
    Status,
)
from gitmill.core.pipeline import NextStep
from gitmill.core.plans.plan import APPROVED, DONE, FrozenPlan, Performer, PlannedStage
from gitmill.core.product import Product, document_hash
from gitmill.core.runlog import Log
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Verdict, VerdictWord

E = Event
_PASS = VerdictWord.PASS


def ended_attempt(turn: AuditedEvent) -> bool:
    """Whether the event ends an attempt whose stages gave a verdict."""
    running = turn.before is not None and turn.before.status is Status.RUNNING
    reverts = "Reverts" in turn.record.extra
    released = turn.event is E.RELEASED and not waits_for_target(turn)
    return running and turn.run is not None and not released and not reverts


def waits_for_target(turn: AuditedEvent) -> bool:
    """Whether the event releases an item because a check is red, or cannot start, on the target."""
    found = turn.run is not None and turn.run.on_target is not None
    return found and turn.event is E.RELEASED and turn.record.version >= RED_TARGETS_SINCE


def end_without_work(turn: AuditedEvent) -> Callable[[Item, str], NextStep] | None:
    """Return the step that ends an item without work, None unless the event can be one."""
    plan, run = turn.plan, turn.run
    if plan is None or run is None or turn.event is not E.FINISHED or run.work:
        return None
    if run.stage_results != ((run.stage, _PASS),) or not pipeline.is_stage(plan, run.stage):
        return None
    if turn.record.version < NOTHING_TO_DO_SINCE:
        return None
    stage = plan.stage(run.stage)
    if stage.product is Product.WORK:
        return pipeline.nothing_to_do
    return pipeline.already_there if stage.performer is Performer.GITMILL else None


def expected_changes(turn: AuditedEvent) -> Iterator[Change]:
    """Yield each change that the rules allow for the event of a commit.

    Raises `InputError` for an input that breaks its rule, and `KeyError` or `IndexError` for a
    stage that the plan does not have.
    """
    event, before = turn.event, turn.before
    assert event is not None
    assert before is not None
    if "Reverts" in turn.record.extra:
        yield from _revert_approved(turn, before)
    elif turn.run is None:
        yield from _without_run_log(turn, event, before)
    elif ended_attempt(turn):
        yield from _after_attempt(turn, before)
    elif before.status is Status.LANDING:
        yield from _sent_back(turn, event, before)
    else:
        yield from _with_run_log(turn, event, before)


# -- inputs ----------------------------------------------------------------------------------------


def _reason(turn: AuditedEvent) -> str:
    """Return the reason of an event; under the first rules it could have several lines."""
    return turn.after.reason if turn.record.version >= 2 else one_line(turn.after.reason)


def _outcome(turn: AuditedEvent, stage: str, counters: Mapping[str, int]) -> Outcome:
    return Outcome(stage=stage, counters=counters, run=turn.run_path, reason=_reason(turn))


def _builder(turn: AuditedEvent, before: Item, run: Log) -> str:
    """Return who built the work in a run log: the agent, or the person who holds the lease."""
    holder, builder = before.lease.who if before.lease else "", turn.after.builder
    if builder and (builder in (holder, run.by) or run.by.startswith(f"{builder}@")):
        return builder
    return run.by.partition("@")[0]


def _work(turn: AuditedEvent, before: Item, run: Log) -> Work:
    return Work(base=run.base, commit=run.work, builder=_builder(turn, before, run))


def _made(turn: AuditedEvent, before: Item, outcome: Outcome) -> Iterator[Outcome]:
    """Yield the outcome without and with the work or the document that the attempt made."""
    plan, run = turn.plan, turn.run
    assert plan is not None
    assert run is not None
    yield outcome
    stage = plan.stage(run.stage)
    product = stage.product
    if product is Product.WORK and run.work:
        yield replace(outcome, work=_work(turn, before, run))
    replayed = stage.performer is Performer.GITMILL and run.work not in ("", before.work)
    if replayed and turn.record.version >= RED_TARGETS_SINCE:
        work = Work(base=run.base, commit=run.work, builder=before.builder)
        yield replace(outcome, work=work)
    body = turn.after.document.body
    if product is Product.DOCUMENT and run.document == document_hash(body):
        builder = _builder(turn, before, run)
        yield replace(outcome, written=Written(base=run.base, body=body, builder=builder))


def _approval(run: Log, work: str, stage: str) -> Reviewed:
    return Reviewed(
        commit=work, patch=run.patch, by=run.by, run=run.number, stage=stage, document=run.document
    )


# -- events without a run log ----------------------------------------------------------------------


def _without_run_log(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Change]:
    after, reason = turn.after, _reason(turn)
    if event in _PLAIN:
        yield _PLAIN[event]()
    elif event in _WITH_REASON:
        yield _WITH_REASON[event](before, reason)
    elif event is E.CLAIMED:
        yield from _claimed(turn, before)
    elif event is E.EDITED:
        yield from _edited(turn, before)
    elif event is E.ANSWERED:
        yield changes.answered(after.answer)
    elif event in (E.UNBLOCKED, E.REOPENED):
        yield from _begun_again(turn, event, before)
    elif event is E.DEQUEUED:
        yield changes.dequeued()
        yield changes.dequeued(reason)
    else:
        yield from _of_landing(turn, event, before)


_PLAIN: Mapping[Event, Callable[[], Change]] = {
    E.READIED: changes.readied,
    E.LAPSED: changes.lapsed,
}
_WITH_REASON: Mapping[Event, Callable[[Item, str], Change]] = {
    E.QUEUED: lambda before, _: changes.queued(before),
    E.HELD: changes.held,
    E.BLOCKED: changes.blocked,
    E.FINISHED: changes.finished,
    E.CANCELLED: lambda _, reason: changes.cancelled(reason),
    E.RELEASED: lambda before, _: changes.released(before),
    E.DISPUTED: changes.disputed,
    E.UPHELD: lambda before, _: changes.upheld(before),
}


def _begun_again(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Change]:
    """Yield the changes of a retry or a reopening; the first rules knew them without a budget."""
    if event is E.UNBLOCKED:
        yield changes.unblocked(before, reset=False)
    again = (
        changes.reopened(before) if event is E.REOPENED else changes.unblocked(before, reset=True)
    )
    yield again
    if turn.record.version < 2:
        kept = {name: value for name, value in again.fields.items() if name != "budget_after"}
        yield replace(again, fields=kept)


def _claimed(turn: AuditedEvent, before: Item) -> Iterator[Change]:
    plan, after = turn.plan, turn.after
    assert plan is not None
    if after.lease is None:
        return  # reported with the claim
    stage = before.stage or plan.first.name
    yield changes.claimed(before, stage=stage, plan=after.plan, lease=after.lease)
    if is_revert_task(before):
        yield changes.claimed_to_revert(
            before, criteria=after.criteria, stage=plan.first.name, plan=after.plan,
            lease=after.lease,
        )  # fmt: skip


def _edited(turn: AuditedEvent, before: Item) -> Iterator[Change]:
    after, body = turn.after, turn.after.document.body
    text = {n: getattr(after, n) for n in TEXT if getattr(after, n) != getattr(before, n)}
    edit = changes.edited(before, text, body=body)
    if "Hand" in turn.record.extra:
        unknown = before.extra.keys() | after.extra.keys()
        edit = replace(edit, extra={key: after.extra.get(key) for key in unknown})
    yield edit
    if before.frozen:
        yield replace(edit, fields=changes.edited(before, text, again=True).fields)
    if before.status is Status.LANDING:
        yield changes.cancel_requested(_reason(turn))


def _of_landing(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Change]:
    after = turn.after
    if event is E.LAND_STARTED and after.landing is not None and after.lease is not None:
        yield changes.land_started(landing=after.landing, lease=after.lease)
    elif event is E.LAND_ABORTED:
        moved = (MOVED,) if turn.record.version >= MOVED_SINCE else ()
        for counter in ("", ABORTS, *moved):
            yield changes.land_aborted(before, _reason(turn), counter=counter)
        if after.red_target is not None and turn.record.version >= RED_TARGETS_SINCE:
            yield changes.land_aborted(before, _reason(turn), red_target=after.red_target)
    elif event is E.LANDED and before.landing is not None:
        yield changes.landed(before, checked=after.checked)
    elif event is E.REVERTED:
        yield changes.reverted(
            before, by=turn.record.extra.get("Reverted-By", ""), reason=_reason(turn)
        )


# -- events with a run log -------------------------------------------------------------------------


def _after_attempt(turn: AuditedEvent, before: Item) -> Iterator[Change]:
    """Yield the change of the step that the pipeline derives, for each stage it can end at."""
    plan, run, item = turn.plan, turn.run, turn.claimed or before
    assert plan is not None
    assert run is not None
    for stage in _ended_at(plan, run):
        step = pipeline.next_step(plan, item, run.stage, stage.name, Verdict(run.verdict, ""))
        if step.event is E.RETURNED and _same_again(run, item):
            step = replace(step, event=E.BLOCKED)  # the same work again is no progress
        if turn.event is E.HELD:
            step = _held(run, item, stage)
        elif waits_for_target(turn):
            step = pipeline.waits_for_target(item, stage.name, "")
        elif (ends := end_without_work(turn)) is not None:
            step = ends(item, stage.name)
        outcome = _of_attempt(turn, before, step, stage)
        advice = step.event is E.ADVANCED and pipeline.is_side(plan, stage.name)
        for ended in _made(turn, before, outcome):
            if step.event is E.ADVANCED:
                yield changes.advanced(before, ended, advice=advice)
            else:
                yield changes.ENDS[step.event](before, ended)


def _of_attempt(turn: AuditedEvent, before: Item, step: NextStep, stage: PlannedStage) -> Outcome:
    plan, run = turn.plan, turn.run
    assert plan is not None
    assert run is not None
    outcome = _outcome(turn, step.stage, dict(step.counters))
    passed = pipeline.is_review(plan, stage.name) and run.verdict is _PASS
    if passed and step.event is not E.HELD:
        outcome = replace(outcome, approval=_approval(run, run.work, stage.name))
    if step.event is E.RELEASED and run.on_target is not None and run.failed:
        red_target = run.on_target.red_target(run.failed[0][2])
        outcome = replace(outcome, red_target=red_target)
    no_progress = step.event is E.BLOCKED and _same_again(run, before)
    returns = step.event is E.RETURNED or no_progress
    return replace(outcome, tree=run.tree or run.document if returns else "")


def _same_again(run: Log, item: Item) -> bool:
    """Whether the attempt was about the tree or document that was returned last."""
    made = run.tree or run.document
    return bool(made) and made == item.returned


def _held(run: Log, item: Item, stage: PlannedStage) -> NextStep:
    """Return the step of tampering, whatever the verdict: an attempt counts, no approval does."""
    counters = dict(item.counters) | {item.stage: item.count(item.stage) + 1}
    return NextStep(E.HELD, stage.name if run.verdict is _PASS else item.stage, counters)


def _ended_at(plan: FrozenPlan, run: Log) -> list[PlannedStage]:
    """Return the stages that can have given the verdict: a stage that broke left no result."""
    group = pipeline.group(plan, run.stage) if pipeline.is_stage(plan, run.stage) else []
    if not run.stage_results:
        return group if run.verdict is not _PASS else group[:1]
    name, word = run.stage_results[-1]
    if word == run.verdict:
        return [plan.stage(name)]
    return group[[stage.name for stage in group].index(name) + 1 :]


def _sent_back(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Change]:
    plan = turn.plan
    assert plan is not None
    again = event is E.RE_REVIEW
    stage = pipeline.reviewing(plan) if again else pipeline.authoring(plan, plan.stages[-1].name)
    outcome = _outcome(turn, stage, pipeline.new_round(before.counters))
    if again:
        yield changes.re_review(before, outcome)
    elif event is E.EJECTED:
        yield changes.ejected(before, outcome, bare=False)
        yield changes.ejected(before, outcome, bare=True)


def _with_run_log(turn: AuditedEvent, event: Event, before: Item) -> Iterator[Change]:
    """Yield the change of a person's decision, or of an agent that could not be reached."""
    plan, run, stage = turn.plan, turn.run, before.stage
    assert plan is not None
    assert run is not None
    if event in (E.APPROVED, E.ADVANCED):
        after = pipeline.next_after_pass(plan, before, stage)
        done = after in (APPROVED, DONE)
        outcome = _outcome(turn, stage if done else after, dict(before.counters))
        outcome = replace(outcome, approval=_approval(run, before.work, stage))
        yield (changes.approved if done else changes.advanced)(before, outcome)
    elif event is E.RETURNED:
        back, counters = pipeline.authoring(plan, stage), pipeline.new_round(before.counters)
        yield changes.returned(before, _outcome(turn, back, counters))
    elif event is E.RELEASED:
        outcome = _outcome(turn, stage, dict(before.counters))
        for ended in _made(turn, before, outcome):
            yield changes.released(before, ended)


def _revert_approved(turn: AuditedEvent, before: Item) -> Iterator[Change]:
    """Yield the result of making the revert of a landing: approved by the person who asked."""
    run, landed = turn.run, turn.record.extra["Reverts"]
    if run is None or not is_revert_task(before) or not before.source.endswith(f":{landed}"):
        return
    outcome = _outcome(turn, run.stage, dict(before.counters))
    work, approval = _work(turn, before, run), _approval(run, run.work, run.stage)
    yield changes.approved(before, replace(outcome, work=work, approval=approval))
