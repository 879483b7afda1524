"""Record an attempt: its run log, and the one event of its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gitmill.agents import base as agents
from gitmill.agents.base import ExitKind
from gitmill.attempts.stage_types import load
from gitmill.attempts.state import AttemptState
from gitmill.core import changes, pipeline
from gitmill.core.change import Change, Outcome, Work
from gitmill.core.item import Item, RedTarget, Reviewed
from gitmill.core.lifecycle import Event
from gitmill.core.pipeline import NextStep
from gitmill.core.plans.plan import PlannedAgent
from gitmill.core.red_target import RED, sentence
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.errors import LeasedError
from gitmill.mill import Mill
from gitmill.store import layout, secret_search
from gitmill.store.events import Step
from gitmill.workspace import sandbox
from gitmill.workspace.mount_point import covered
from gitmill.workspace.rescue import keep_commit
from gitmill.workspace.run_checks import passed_files
from gitmill.workspace.work import patch_of


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The item after an attempt, and the event that the attempt ended with.

    With `outage` it was released because the agent could not be reached.
    """

    item: Item
    event: Event
    outage: bool = False


def tampering(findings: Sequence[Finding]) -> str:
    """Return why tampering holds an item, empty if it does not."""
    grave = [finding.message for finding in findings if finding.severity is Severity.HIGH]
    more = f", and {len(grave) - 1} more" if len(grave) > 1 else ""
    return secret_search.clean(f"tampering: {grave[0]}{more}") if grave else ""


def run_log(
    mill: Mill,
    state: AttemptState,
    verdict: Verdict,
    tampered: Sequence[Finding],
    started: str,
    seconds: float,
) -> RunLog:
    """Return the run log of an attempt. The verdict must be redacted already."""
    report = state.report
    head, agent = state.plan.stage(state.item.stage), state.agent.name if state.agent else ""
    return RunLog(
        item=state.item.id,
        stage=head.name,
        verdict=replace(verdict, findings=(*verdict.findings, *tampered)),
        by=f"{agent or 'gitmill'}@{mill.host}",
        agent=agent,
        started=started,
        seconds=seconds,
        exit=(report.exit if report else ExitKind.COMPLETED).value,
        claim=state.claim,
        plan=state.plan.hash12,
        stage_results=tuple(state.stages),
        facts=_facts(mill, state),
        checks=tuple(result.as_json() for result in state.results),
        output=secret_search.clean(report.output if report else ""),
    )


def _facts(mill: Mill, state: AttemptState) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    if state.done is not None:
        facts = {"base": state.base, "tree": mill.tree_of(state.base)}
    elif state.work:
        facts = {"base": state.base, "work": state.work, "tree": mill.tree_of(state.work)}
        facts["patch"] = patch_of(mill, state.base, state.work)
    elif state.document:
        base = state.written.base if state.written else state.base
        facts = {"base": base, "document": state.document}
    if state.report:
        usage = state.report.usage
        tokens = {"input": usage.input, "output": usage.output, "cached": usage.cached}
        facts["usage"] = {key: count for key, count in tokens.items() if count is not None} or None
        uses_model = state.agent is None or _program(state.agent).READS_PROMPT
        # Without a model the cost is 0; a model that reports no cost leaves it unknown.
        facts["cost"] = state.report.cost if uses_model else 0.0
        facts |= {"session": state.report.session, "model": state.report.model}
        # Redacted before it is cut: no search finds half a secret.
        facts["problem"] = one_line(secret_search.clean(state.report.problem))
        facts["denied"] = [
            one_line(secret_search.clean(action)) for action in state.report.denied
        ] or None
    if state.on_target is not None:
        facts["on_target"] = state.on_target.as_json()
    place = covered(mill, confined=sandbox.is_confined(mill, state.policy))
    return facts | {
        "sandbox": sandbox.enforcement(mill, state.policy),
        "mounted": None if place is None else str(place),
    }


def _program(agent: PlannedAgent) -> agents.Agent:
    return agents.program(agent.name, agent.command)


def record(
    mill: Mill, state: AttemptState, verdict: Verdict, log: RunLog, *, tampered: str = ""
) -> AttemptResult:
    """Commit the outcome of an attempt. If the lease was lost, only the work is kept.

    `tampered` is the reason to hold the item, whatever the outcome.
    """
    item = state.item
    tree = mill.tree_of(state.work) if state.work else state.document
    _forget_insane(state, verdict)
    next_ = _next_step(mill, state, verdict, tampered, tree)
    files = passed_files(mill, state.policy, state.checked, state.results) if state.checked else {}
    step = Step(
        change=_change(state, next_, _outcome(state, verdict, log, next_, tree)),
        subject=_subject(next_, state.at, verdict, log.agent or "gitmill"),
        by=log.by,
        claim=state.claim,
        run=(item.stage, log.document(item.attempt + 1)),
        files=files,
        refs=_work_refs(state),
    )
    try:
        outage = state.report is not None and state.report.exit in agents.OUTAGES
        return AttemptResult(mill.apply(item.id, step).item(item.id), next_.event, outage)
    except LeasedError:
        # A person or a recovery took the item over: keep the work, not the result.
        if state.built and not state.kept:
            keep_commit(mill, item.id, state.work)
        return AttemptResult(mill.snapshot().item(item.id), Event.LAPSED)


def _next_step(
    mill: Mill, state: AttemptState, verdict: Verdict, tampered: str, tree: str
) -> NextStep:
    """Return the event that follows; returning the same tree or document twice blocks the item."""
    item = state.item
    if tampered:
        return _held(state, verdict, tampered)
    if state.report is not None and state.report.exit in agents.BLAMELESS:
        reason = f"{item.stage}: {state.report.exit.value}"
        return NextStep(Event.RELEASED, item.stage, item.counters, reason)
    if state.done is not None:
        return state.done
    if state.on_target is not None:
        return pipeline.waits_for_target(item, state.at, _waits(mill, state))
    next_ = pipeline.next_step(state.plan, item, item.stage, state.at, verdict)
    if next_.event is Event.RETURNED and tree and tree == item.returned:
        why = f"no progress, the same work was returned twice: {next_.reason}"
        return replace(next_, event=Event.BLOCKED, reason=why)
    return next_


def _waits(mill: Mill, state: AttemptState) -> str:
    """Return why an item waits at its checks, although no check is its fault."""
    assert state.on_target is not None
    if state.fault is not None:
        return state.fault.message
    return f"{RED}: {sentence(state.on_target.check, mill.snapshot().control.target)}"


def _held(state: AttemptState, verdict: Verdict, why: str) -> NextStep:
    """Hold the item: a person may approve a stage that passed; otherwise it runs again."""
    item = state.item
    counters = dict(item.counters) | {item.stage: item.count(item.stage) + 1}
    passed = verdict.word is VerdictWord.PASS
    if not passed and verdict.summary:
        why = f"{why}; and {state.at}: {verdict.summary}"
    return NextStep(Event.HELD, state.at if passed else item.stage, counters, why)


def _forget_insane(state: AttemptState, verdict: Verdict) -> None:
    """Drop work that sanity refused, so that no ref keeps it: it may hold a secret."""
    if (
        load(state.stage.type).TYPE.drops_work
        and state.built
        and verdict.word is VerdictWord.RETURN
    ):
        state.built, state.base, state.work = False, state.item.base, state.item.work


def _work_refs(state: AttemptState) -> dict[str, str | None]:
    if not state.built:
        return {state.kept: None} if state.kept else {}
    return {f"{layout.WORK}{state.item.id}": state.work} | (
        {state.kept: None} if state.kept else {}
    )


def _outcome(
    state: AttemptState, verdict: Verdict, log: RunLog, next_: NextStep, tree: str
) -> Outcome:
    """Return what the attempt brings to its event."""
    item, number, work, approval = state.item, state.item.attempt + 1, None, None
    if state.built:
        builder = state.builder or (state.agent.name if state.agent else "")
        builder = item.builder if state.replayed else builder
        work = Work(base=state.base, commit=state.work, builder=builder)
    if _approves(state, verdict, next_):
        patch, document = log.facts.get("patch", ""), log.facts.get("document", "")
        approval = Reviewed(state.work, patch, log.by, number, state.at, document)
    no_progress = next_.event is Event.BLOCKED and bool(tree) and tree == item.returned
    return Outcome(
        stage=next_.stage,
        counters=next_.counters,
        run=layout.run_path(item.id, number, item.stage),
        reason=one_line(next_.reason),
        work=work,
        written=state.written,
        approval=approval,
        tree=tree if next_.event is Event.RETURNED or no_progress else "",
        red_target=_red_target(state) if next_.event is Event.RELEASED else None,
    )


def _red_target(state: AttemptState) -> RedTarget | None:
    if state.on_target is None:
        return None
    return state.on_target.red_target(state.results[-1].status)


def _change(state: AttemptState, next_: NextStep, outcome: Outcome) -> Change:
    """Return the change of an attempt's event."""
    if next_.event is Event.ADVANCED:
        advice = pipeline.is_side(state.plan, state.at)
        return changes.advanced(state.item, outcome, advice=advice)
    return changes.ENDS[next_.event](state.item, outcome)


def _approves(state: AttemptState, verdict: Verdict, next_: NextStep) -> bool:
    reviews = pipeline.is_review(state.plan, state.at)
    return reviews and verdict.word is VerdictWord.PASS and next_.event not in _NO_APPROVAL


_NO_APPROVAL = frozenset({Event.RELEASED, Event.HELD})


def _subject(next_: NextStep, at: str, verdict: Verdict, who: str) -> str:
    word = {
        Event.ADVANCED: "passed",
        Event.FINISHED: "passed, done",
        Event.APPROVED: "passed, approved",
        Event.APPROVAL_COUNTED: "passed, more approvals needed",
        Event.RETURNED: "returned",
        Event.FAILED: "failed",
        Event.RELEASED: "released",
        Event.BLOCKED: "blocked",
        Event.HELD: "held, tampering detected",
        Event.ASKED: "passed, a person decides next"
        if verdict.word is VerdictWord.PASS
        else "asks a person",
    }[next_.event]
    if next_.event is Event.RELEASED and next_.reason.startswith(RED):
        word += ", red on the target"
    return f"{at} {word} ({who})"
