"""One attempt: claim, worktree, agent, commit, gates, outcome. Two state commits around it all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gitmill import process
from gitmill.agents import base as agents
from gitmill.agents.base import ExitKind, Report
from gitmill.config import Policy
from gitmill.core import pipeline
from gitmill.core.frozen import FrozenPlan, PlannedStage, StageType
from gitmill.core.item import Item, frozen_hash
from gitmill.core.lifecycle import Event
from gitmill.core.pipeline import Settled
from gitmill.core.redact import redact
from gitmill.core.runlog import Passage, RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import BadDocumentError, GitmillError, LeasedError, SetUpError
from gitmill.flows import gates, work
from gitmill.flows.compile import plan_for
from gitmill.flows.rescue import keep_commit
from gitmill.mill import Mill, layout
from gitmill.store.events import Step, draft_step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import Draft

GRACE = 120.0  # seconds that a lease outlives its stages' limits


@dataclass(frozen=True, slots=True)
class Line:
    """One line of progress: a stage that begins (`verdict` empty) or has ended."""

    item: str
    stage: str
    who: str
    verdict: str = ""
    seconds: float = 0.0
    note: str = ""


Progress = Callable[[Line], None]


@dataclass(frozen=True, slots=True)
class Attempted:
    """The item as it stands after an attempt, and the event that the attempt ended with."""

    item: Item
    event: Event


@dataclass
class Working:
    """What is known of an attempt under way."""

    item: Item
    plan: FrozenPlan
    policy: Policy
    claim: str
    base: str = ""
    work: str = ""
    kept: str = ""  # the ref that holds the work until it is recorded
    built: bool = False
    builder: str = ""  # the person who built it; else the agent of the stage did
    passages: list[Passage] = field(default_factory=list)
    results: list[gates.Result] = field(default_factory=list)
    checked: str = ""
    report: Report | None = None
    at: str = ""


def run_attempt(
    mill: Mill, item_id: str, progress: Progress, *, after: str | None = None
) -> Attempted:
    """Carry an item through its next stage and the mechanical ones behind it.

    Raises `RefMovedError` when the item has moved on since event `after`, and `KeyboardInterrupt`
    after giving the lease back.
    """
    now = _claim(mill, item_id, after)
    return carry(mill, now, pipeline.group(now.plan, now.item.stage), progress)


def carry(
    mill: Mill, now: Working, stages: Sequence[PlannedStage], progress: Progress
) -> Attempted:
    """Take claimed work through stages and record the outcome."""
    started, clock = timestamp(mill.now()), time.monotonic()
    try:
        verdict = _perform(mill, now, stages, progress)
    except KeyboardInterrupt:
        _release(mill, now, "stopped")
        raise
    except SetUpError:
        _release(mill, now, "given back, the set-up failed")
        raise
    except GitmillError as error:
        evidence = "\n".join([error.message, *error.evidence])
        took = time.monotonic() - clock
        progress(Line(now.item.id, now.at, "gitmill", VerdictWord.FAIL.value, took, error.message))
        verdict = Verdict(VerdictWord.FAIL, error.message, (Finding(evidence),))
    except BaseException:
        _release(mill, now, "given back after an unexpected error")
        raise
    log = _run_log(mill, now, verdict, started, time.monotonic() - clock)
    return _record(mill, now, verdict, log)


# -- claim -----------------------------------------------------------------------------------------


def _claim(mill: Mill, item_id: str, after: str | None) -> Working:
    claim, event_id, now = mill.mint(), mill.mint(), mill.now()
    made: list[Working] = []

    def build(snapshot: Snapshot) -> Draft:
        item = snapshot.item(item_id)
        tip = mill.target_tip(snapshot)
        plan = plan_for(mill, snapshot, item, tip)
        head = item.stage or plan.first.name
        if not pipeline.is_stage(plan, head):
            raise BadDocumentError(f"{item.document.path}: its plan has no stage {head}")
        stages = pipeline.group(plan, head)
        limits = sum(stage.timeout for stage in stages)
        who = stages[0].agent or "gitmill"
        frozen = frozen_hash(item.criteria, item.script, item.paths)
        step = Step(
            event=Event.CLAIMED,
            subject=f"{head} claimed ({who})",
            by=f"{who}@{mill.host}",
            claim=claim,
            stage=head,
            after=after,
            fields={
                "plan": plan.hash12,
                "frozen": item.frozen or frozen,
                "lease": mill.lease(f"{who}@{mill.host}", limits + GRACE, claim=claim),
                "reason": None,
            },
            files={layout.plan_path(plan.hash12): plan.render().encode()},
        )
        made[:] = [Working(item, plan, mill.policy_at(tip), claim)]
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    after_claim = mill.store.commit(build)
    working = made[0]
    working.item = after_claim.item(item_id)
    working.base, working.work = working.item.base, working.item.work
    return working


# -- perform ---------------------------------------------------------------------------------------


def _perform(
    mill: Mill, now: Working, stages: Sequence[PlannedStage], progress: Progress
) -> Verdict:
    if now.item.frozen != frozen_hash(now.item.criteria, now.item.script, now.item.paths):
        now.at = now.item.stage
        return Verdict(VerdictWord.ASK, "its criteria, script or paths changed after the claim")
    verdict = Verdict(VerdictWord.PASS, "")
    for stage in stages:
        now.at = stage.name
        who = stage.agent or "gitmill"
        progress(Line(now.item.id, stage.name, who))
        clock = time.monotonic()
        verdict = _stage(mill, now, stage)
        seconds = time.monotonic() - clock
        blameless = now.report is not None and now.report.exit in agents.BLAMELESS
        word = now.report.exit.value if blameless and now.report else verdict.word.value
        now.passages.append(Passage(stage.name, who, word, seconds))
        note = "" if verdict.word is VerdictWord.PASS else verdict.summary
        progress(Line(now.item.id, stage.name, who, word, seconds, note))
        if verdict.word is not VerdictWord.PASS or blameless:
            break
    return verdict


def _stage(mill: Mill, now: Working, stage: PlannedStage) -> Verdict:
    if stage.type is StageType.PERSON:
        return Verdict(VerdictWord.ASK, "it needs a person's approval")
    if stage.is_authoring:
        return _build(mill, now, stage)
    if not now.work:
        return Verdict(VerdictWord.FAIL, f"there is no work to take through {stage.name}")
    if stage.type is StageType.SANITY:
        return gates.inspect_change(mill, now.plan, now.item, now.base, now.work)
    if stage.type is StageType.CHECKS:
        return _check(mill, now)
    now.report = work.review(mill, now.policy, now.item, stage, claim=now.claim)
    return _verdict(now.report)


def _build(mill: Mill, now: Working, stage: PlannedStage) -> Verdict:
    made = work.build(mill, now.policy, now.item, stage, claim=now.claim)
    now.report = made.report
    verdict = _verdict(made.report)
    if verdict.word is VerdictWord.PASS and made.report.exit not in agents.BLAMELESS:
        now.base, now.work, now.kept, now.built = made.base, made.work, made.kept, True
    return verdict


def _check(mill: Mill, now: Working) -> Verdict:
    checks = gates.checks_of(now.plan, now.item)
    if not checks:
        return Verdict(VerdictWord.ASK, "there is no check and no criterion that is a command")
    now.results = gates.run_checks(mill, now.policy, checks, now.work, claim=now.claim)
    now.checked = now.work
    return gates.verdict_of(now.results)


def _verdict(report: Report) -> Verdict:
    if report.verdict is not None:
        return report.verdict
    return Verdict(VerdictWord.FAIL, f"the agent did not finish: {report.exit.value}")


# -- outcome ---------------------------------------------------------------------------------------


def _release(mill: Mill, now: Working, why: str) -> None:
    if now.builder:
        return  # a person keeps the lease, and the worktree with the work
    try:
        mill.apply(
            now.item.id,
            Step(
                event=Event.RELEASED,
                subject=f"{now.item.stage} {why}",
                by=mill.user,
                claim=now.claim,
            ),
        )
    except (LeasedError, GitmillError):
        return  # somebody took the item away meanwhile, so there is nothing to give back


def _run_log(mill: Mill, now: Working, verdict: Verdict, started: str, seconds: float) -> RunLog:
    report = now.report
    hidden = process.secrets()
    head = now.plan.stage(now.item.stage)
    clean = Verdict(
        verdict.word,
        redact(verdict.summary, hidden),
        tuple(replace(f, message=redact(f.message, hidden)) for f in verdict.findings),
    )
    return RunLog(
        item=now.item.id,
        stage=head.name,
        verdict=clean,
        by=f"{head.agent or 'gitmill'}@{mill.host}",
        agent=head.agent,
        started=started,
        seconds=seconds,
        exit=(report.exit if report else ExitKind.COMPLETED).value,
        claim=now.claim,
        plan=now.plan.hash12,
        passages=tuple(now.passages),
        facts=_facts(mill, now),
        checks=tuple(result.as_json() for result in now.results),
        output=redact(report.output if report else "", hidden),
    )


def _facts(mill: Mill, now: Working) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    if now.work:
        facts = {"base": now.base, "work": now.work, "tree": mill.tree_of(now.work)}
        facts["patch"] = work.patch_of(mill, now.base, now.work)
    if now.report:
        usage = now.report.usage
        told = {"input": usage.input, "output": usage.output, "cached": usage.cached}
        facts["usage"] = {key: count for key, count in told.items() if count is not None} or None
        facts |= {"cost": now.report.cost, "session": now.report.session}
    return facts


def _record(mill: Mill, now: Working, verdict: Verdict, log: RunLog) -> Attempted:
    item = now.item
    _forget_insane(now, verdict)
    number = item.attempt + 1
    run = (item.stage, log.document(number))
    fields = _work_fields(now)
    if now.report is not None and now.report.exit in agents.BLAMELESS:
        exit_kind = now.report.exit.value
        settled = Settled(Event.RELEASED, item.stage, item.counters, f"{item.stage}: {exit_kind}")
    else:
        settled = pipeline.settle(now.plan, item, item.stage, now.at, verdict)
    if settled.event in (Event.RETURNED, Event.FAILED):
        fields["feedback"] = layout.run_path(item.id, number, item.stage)
    if _approves(now, verdict, settled):
        entry = {
            "commit": now.work, "patch": log.facts["patch"], "by": log.by, "run": number,
            "stage": now.at,
        }  # fmt: skip
        fields["reviewed"] = [*(r.model_dump() for r in item.reviewed), entry]
    fields |= {"counters": dict(settled.counters), "reason": one_line(settled.reason) or None}
    files = gates.passed_files(mill, now.policy, now.checked, now.results) if now.checked else {}
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
        return Attempted(mill.apply(item.id, step).item(item.id), settled.event)
    except LeasedError:
        # A person or a recovery took the item: the result is not recorded, the work is kept.
        if now.built and not now.kept:
            keep_commit(mill, item.id, now.work)
        return Attempted(mill.snapshot().item(item.id), Event.LAPSED)


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
        "builder": now.builder or now.plan.stage(now.item.stage).agent,
        "reviewed": None,
        "bare": None,
        "answer": None,
        "feedback": None,
    }


def _approves(now: Working, verdict: Verdict, settled: Settled) -> bool:
    stage = now.plan.stage(now.at)
    judged = stage.type is StageType.AGENT and not stage.is_authoring
    return judged and verdict.word is VerdictWord.PASS and settled.event is not Event.RELEASED


def _subject(settled: Settled, at: str, verdict: Verdict, who: str) -> str:
    word = {
        Event.ADVANCED: "passed",
        Event.APPROVED: "passed, approved",
        Event.APPROVAL_COUNTED: "passed, more approvals wanted",
        Event.RETURNED: "returned",
        Event.FAILED: "failed",
        Event.RELEASED: "given back",
        Event.BLOCKED: "blocked",
        Event.ASKED: "passed, a person decides next"
        if verdict.word is VerdictWord.PASS
        else "asks a person",
    }[settled.event]
    return f"{at} {word} ({who})"
