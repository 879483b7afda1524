"""How an attempt ends: its run log, and the one event that records its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gitmill.agents import base as agents
from gitmill.agents.base import ExitKind, Report
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.config import Policy
from gitmill.core import pipeline
from gitmill.core.budget_rules import Allowance
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event
from gitmill.core.pipeline import NextStep
from gitmill.core.plans.plan import FrozenPlan, PlannedAgent, StageType
from gitmill.core.runlog import RunLog, StageResult
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.errors import LeasedError
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.workspace import sandbox, secret_scan
from gitmill.workspace.rescue import keep_commit
from gitmill.workspace.run_checks import CheckResult, passed_files
from gitmill.workspace.work import patch_of


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The item as it stands after an attempt, and the event that the attempt ended with.

    `outage` says that it was given back because the agent could not be reached.
    """

    item: Item
    event: Event
    outage: bool = False


@dataclass
class Working:
    """What is known of an attempt under way."""

    item: Item
    plan: FrozenPlan
    policy: Policy
    claim: str
    agent: PlannedAgent | None = None
    base: str = ""
    work: str = ""
    kept: str = ""  # the ref that holds the work until it is recorded
    built: bool = False
    builder: str = ""  # the person who built it; else the agent of the stage did
    passages: list[StageResult] = field(default_factory=list)
    results: list[CheckResult] = field(default_factory=list)
    checked: str = ""
    report: Report | None = None
    at: str = ""
    allowance: Allowance = field(default_factory=Allowance)
    witness: AttemptMonitor | None = None


def tampering(found: Sequence[Finding]) -> str:
    """Return why an item is held after what was found beside its worktree, empty when it is not."""
    grave = [finding.message for finding in found if finding.severity is Severity.HIGH]
    more = f", and {len(grave) - 1} more" if len(grave) > 1 else ""
    return secret_scan.clean(f"tampering: {grave[0]}{more}") if grave else ""


def run_log(
    mill: Mill,
    now: Working,
    verdict: Verdict,
    found: Sequence[Finding],
    started: str,
    seconds: float,
) -> RunLog:
    """Return the record of an attempt; what its verdict says is free of secrets already."""
    report = now.report
    head, agent = now.plan.stage(now.item.stage), now.agent.name if now.agent else ""
    return RunLog(
        item=now.item.id,
        stage=head.name,
        verdict=replace(verdict, findings=(*verdict.findings, *found)),
        by=f"{agent or 'gitmill'}@{mill.host}",
        agent=agent,
        started=started,
        seconds=seconds,
        exit=(report.exit if report else ExitKind.COMPLETED).value,
        claim=now.claim,
        plan=now.plan.hash12,
        passages=tuple(now.passages),
        facts=_facts(mill, now),
        checks=tuple(result.as_json() for result in now.results),
        output=secret_scan.clean(report.output if report else ""),
    )


def _facts(mill: Mill, now: Working) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    if now.work:
        facts = {"base": now.base, "work": now.work, "tree": mill.tree_of(now.work)}
        facts["patch"] = patch_of(mill, now.base, now.work)
    if now.report:
        usage = now.report.usage
        told = {"input": usage.input, "output": usage.output, "cached": usage.cached}
        facts["usage"] = {key: count for key, count in told.items() if count is not None} or None
        reads = now.agent is None or _program(now.agent).READS_PROMPT
        # What no model has a part in costs nothing; of anything else that is silent, who knows.
        facts["cost"] = now.report.cost if reads else 0.0
        facts |= {"session": now.report.session, "model": now.report.model}
        facts["problem"] = secret_scan.clean(one_line(now.report.problem))
        facts["denied"] = [secret_scan.clean(one_line(what)) for what in now.report.denied] or None
    return facts | {"sandbox": sandbox.enforcement(mill, now.policy)}


def _program(agent: PlannedAgent) -> agents.Agent:
    return agents.program(agent.name, agent.command)


def record(
    mill: Mill, now: Working, verdict: Verdict, log: RunLog, *, tampered: str = ""
) -> AttemptResult:
    """Commit what an attempt came to. The work is kept when somebody took the item meanwhile.

    `tampered` says why the item is held, whatever came out.
    """
    item = now.item
    tree = mill.tree_of(now.work) if now.work else ""
    _forget_insane(now, verdict)
    number = item.attempt + 1
    run = (item.stage, log.document(number))
    fields = _work_fields(now)
    if tampered:
        settled = _held(now, verdict, tampered)
    elif now.report is not None and now.report.exit in agents.BLAMELESS:
        exit_kind = now.report.exit.value
        settled = NextStep(Event.RELEASED, item.stage, item.counters, f"{item.stage}: {exit_kind}")
    else:
        settled = pipeline.next_step(now.plan, item, item.stage, now.at, verdict)
    if settled.event is Event.RETURNED:
        if tree and tree == item.returned:
            why = f"no progress, the same work was returned twice: {settled.reason}"
            settled = replace(settled, event=Event.BLOCKED, reason=why)
        fields["returned"] = tree or None
    advised = settled.event is Event.ADVANCED and pipeline.is_side(now.plan, now.at)
    if settled.event in (Event.RETURNED, Event.FAILED) or advised:
        fields["feedback"] = layout.run_path(item.id, number, item.stage)
    if _approves(now, verdict, settled):
        entry = {
            "commit": now.work, "patch": log.facts["patch"], "by": log.by, "run": number,
            "stage": now.at,
        }  # fmt: skip
        fields["reviewed"] = [*(r.model_dump() for r in item.reviewed), entry]
    fields |= {"counters": dict(settled.counters), "reason": one_line(settled.reason) or None}
    files = passed_files(mill, now.policy, now.checked, now.results) if now.checked else {}
    step = Step(
        event=settled.event,
        subject=_subject(settled, now.at, verdict, log.agent or "gitmill"),
        by=log.by,
        claim=now.claim,
        stage=settled.stage,
        fields=fields,
        run=run,
        files=files,
        refs=_work_refs(now),
    )
    try:
        outage = now.report is not None and now.report.exit in agents.OUTAGES
        return AttemptResult(mill.apply(item.id, step).item(item.id), settled.event, outage)
    except LeasedError:
        # A person or a recovery took the item: the result is not recorded, the work is kept.
        if now.built and not now.kept:
            keep_commit(mill, item.id, now.work)
        return AttemptResult(mill.snapshot().item(item.id), Event.LAPSED)


def _held(now: Working, verdict: Verdict, why: str) -> NextStep:
    """Hold the item: a person may say yes to what has passed, else the stage is tried again."""
    item = now.item
    counters = dict(item.counters) | {item.stage: item.count(item.stage) + 1}
    passed = verdict.word is VerdictWord.PASS
    if not passed and verdict.summary:
        why = f"{why}; and {now.at}: {verdict.summary}"
    return NextStep(Event.HELD, now.at if passed else item.stage, counters, why)


def _forget_insane(now: Working, verdict: Verdict) -> None:
    """Let no ref keep what sanity refused, for it may hold a secret."""
    refused = now.plan.stage(now.at).type is StageType.SANITY
    if refused and now.built and verdict.word is VerdictWord.RETURN:
        now.built, now.base, now.work = False, now.item.base, now.item.work


def _work_refs(now: Working) -> dict[str, str | None]:
    if not now.built:
        return {now.kept: None} if now.kept else {}
    return {f"{layout.WORK}{now.item.id}": now.work} | ({now.kept: None} if now.kept else {})


def _work_fields(now: Working) -> dict[str, Any]:
    if not now.built:
        return {}
    return {
        "base": now.base,
        "work": now.work,
        "builder": now.builder or (now.agent.name if now.agent else ""),
        "reviewed": None,
        "bare": None,
        "answer": None,
        "feedback": None,
    }


def _approves(now: Working, verdict: Verdict, settled: NextStep) -> bool:
    judged = pipeline.judges(now.plan, now.at)
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
