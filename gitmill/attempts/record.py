"""How an attempt ends: its run log, and the one event that records its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gitmill.agents import base as agents
from gitmill.agents.base import ExitKind
from gitmill.attempts.state import AttemptState
from gitmill.core import pipeline
from gitmill.core.item import Item, as_json
from gitmill.core.lifecycle import Event
from gitmill.core.pipeline import NextStep
from gitmill.core.plans.plan import PlannedAgent, StageType
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.errors import LeasedError
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.workspace import sandbox, secret_scan
from gitmill.workspace.rescue import keep_commit
from gitmill.workspace.run_checks import passed_files
from gitmill.workspace.work import patch_of


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The item as it stands after an attempt, and the event that the attempt ended with.

    `outage` says that it was given back because the agent could not be reached.
    """

    item: Item
    event: Event
    outage: bool = False


def tampering(found: Sequence[Finding]) -> str:
    """Return why an item is held after what was found beside its worktree, empty when it is not."""
    grave = [finding.message for finding in found if finding.severity is Severity.HIGH]
    more = f", and {len(grave) - 1} more" if len(grave) > 1 else ""
    return secret_scan.clean(f"tampering: {grave[0]}{more}") if grave else ""


def run_log(
    mill: Mill,
    state: AttemptState,
    verdict: Verdict,
    found: Sequence[Finding],
    started: str,
    seconds: float,
) -> RunLog:
    """Return the record of an attempt; what its verdict says is free of secrets already."""
    report = state.report
    head, agent = state.plan.stage(state.item.stage), state.agent.name if state.agent else ""
    return RunLog(
        item=state.item.id,
        stage=head.name,
        verdict=replace(verdict, findings=(*verdict.findings, *found)),
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
        output=secret_scan.clean(report.output if report else ""),
    )


def _facts(mill: Mill, state: AttemptState) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    if state.work:
        facts = {"base": state.base, "work": state.work, "tree": mill.tree_of(state.work)}
        facts["patch"] = patch_of(mill, state.base, state.work)
    if state.report:
        usage = state.report.usage
        told = {"input": usage.input, "output": usage.output, "cached": usage.cached}
        facts["usage"] = {key: count for key, count in told.items() if count is not None} or None
        reads = state.agent is None or _program(state.agent).READS_PROMPT
        # What no model has a part in costs nothing; of anything else that is silent, who knows.
        facts["cost"] = state.report.cost if reads else 0.0
        facts |= {"session": state.report.session, "model": state.report.model}
        facts["problem"] = secret_scan.clean(one_line(state.report.problem))
        facts["denied"] = [
            secret_scan.clean(one_line(what)) for what in state.report.denied
        ] or None
    return facts | {"sandbox": sandbox.enforcement(mill, state.policy)}


def _program(agent: PlannedAgent) -> agents.Agent:
    return agents.program(agent.name, agent.command)


def record(
    mill: Mill, state: AttemptState, verdict: Verdict, log: RunLog, *, tampered: str = ""
) -> AttemptResult:
    """Commit what an attempt came to. The work is kept when somebody took the item meanwhile.

    `tampered` says why the item is held, whatever came out.
    """
    item = state.item
    tree = mill.tree_of(state.work) if state.work else ""
    _forget_insane(state, verdict)
    number = item.attempt + 1
    run = (item.stage, log.document(number))
    fields = _work_fields(state)
    if tampered:
        settled = _held(state, verdict, tampered)
    elif state.report is not None and state.report.exit in agents.BLAMELESS:
        exit_kind = state.report.exit.value
        settled = NextStep(Event.RELEASED, item.stage, item.counters, f"{item.stage}: {exit_kind}")
    else:
        settled = pipeline.next_step(state.plan, item, item.stage, state.at, verdict)
    if settled.event is Event.RETURNED:
        if tree and tree == item.returned:
            why = f"no progress, the same work was returned twice: {settled.reason}"
            settled = replace(settled, event=Event.BLOCKED, reason=why)
        fields["returned"] = tree or None
    advised = settled.event is Event.ADVANCED and pipeline.is_side(state.plan, state.at)
    if settled.event in (Event.RETURNED, Event.FAILED) or advised:
        fields["feedback"] = layout.run_path(item.id, number, item.stage)
    if _approves(state, verdict, settled):
        entry = {
            "commit": state.work, "patch": log.facts["patch"], "by": log.by, "run": number,
            "stage": state.at,
        }  # fmt: skip
        fields["reviewed"] = [*as_json(item.reviewed), entry]
    fields |= {"counters": dict(settled.counters), "reason": one_line(settled.reason) or None}
    files = passed_files(mill, state.policy, state.checked, state.results) if state.checked else {}
    step = Step(
        event=settled.event,
        subject=_subject(settled, state.at, verdict, log.agent or "gitmill"),
        by=log.by,
        claim=state.claim,
        stage=settled.stage,
        fields=fields,
        run=run,
        files=files,
        refs=_work_refs(state),
    )
    try:
        outage = state.report is not None and state.report.exit in agents.OUTAGES
        return AttemptResult(mill.apply(item.id, step).item(item.id), settled.event, outage)
    except LeasedError:
        # A person or a recovery took the item: the result is not recorded, the work is kept.
        if state.built and not state.kept:
            keep_commit(mill, item.id, state.work)
        return AttemptResult(mill.snapshot().item(item.id), Event.LAPSED)


def _held(state: AttemptState, verdict: Verdict, why: str) -> NextStep:
    """Hold the item: a person may say yes to what has passed, else the stage is tried again."""
    item = state.item
    counters = dict(item.counters) | {item.stage: item.count(item.stage) + 1}
    passed = verdict.word is VerdictWord.PASS
    if not passed and verdict.summary:
        why = f"{why}; and {state.at}: {verdict.summary}"
    return NextStep(Event.HELD, state.at if passed else item.stage, counters, why)


def _forget_insane(state: AttemptState, verdict: Verdict) -> None:
    """Let no ref keep what sanity refused, for it may hold a secret."""
    refused = state.stage.type is StageType.SANITY
    if refused and state.built and verdict.word is VerdictWord.RETURN:
        state.built, state.base, state.work = False, state.item.base, state.item.work


def _work_refs(state: AttemptState) -> dict[str, str | None]:
    if not state.built:
        return {state.kept: None} if state.kept else {}
    return {f"{layout.WORK}{state.item.id}": state.work} | (
        {state.kept: None} if state.kept else {}
    )


def _work_fields(state: AttemptState) -> dict[str, Any]:
    if not state.built:
        return {}
    return {
        "base": state.base,
        "work": state.work,
        "builder": state.builder or (state.agent.name if state.agent else ""),
        "reviewed": None,
        "bare": None,
        "answer": None,
        "feedback": None,
    }


def _approves(state: AttemptState, verdict: Verdict, settled: NextStep) -> bool:
    judged = pipeline.judges(state.plan, state.at)
    return judged and verdict.word is VerdictWord.PASS and settled.event not in _NO_YES


_NO_YES = frozenset({Event.RELEASED, Event.HELD})


def _subject(settled: NextStep, at: str, verdict: Verdict, who: str) -> str:
    word = {
        Event.ADVANCED: "passed",
        Event.APPROVED: "passed, approved",
        Event.APPROVAL_COUNTED: "passed, more approvals wanted",
        Event.RETURNED: "returned",
        Event.FAILED: "failed",
        Event.RELEASED: "given back",
        Event.BLOCKED: "blocked",
        Event.HELD: "held, tampering was seen",
        Event.ASKED: "passed, a person decides next"
        if verdict.word is VerdictWord.PASS
        else "asks a person",
    }[settled.event]
    return f"{at} {word} ({who})"
