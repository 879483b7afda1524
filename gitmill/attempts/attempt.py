"""One attempt: claim, worktree, agent, commit, gates, outcome. Two state commits around it all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gitmill.agents import base as agents
from gitmill.agents.base import Report
from gitmill.attempts.agent_selection import choose
from gitmill.attempts.budget import allowance
from gitmill.attempts.build import build, review
from gitmill.attempts.cooldown import cooling, note_outcome
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.attempts.record import AttemptResult, Working, record, run_log, tampering
from gitmill.attempts.state import Errand
from gitmill.core import pipeline
from gitmill.core.budget_rules import Allowance
from gitmill.core.item import frozen_hash
from gitmill.core.lifecycle import Event
from gitmill.core.plans.plan import PlannedStage, StageType
from gitmill.core.runlog import StageResult
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import (
    BadDocumentError,
    GitmillError,
    LeasedError,
    SetUpError,
    UnusableRepositoryError,
)
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, draft_step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace import sandbox, secret_scan
from gitmill.workspace.leases import new_lease
from gitmill.workspace.run_checks import checks_of, checks_verdict, inspect_change, run_checks

GRACE = 120.0  # seconds that a lease outlives its stages' limits


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One line of progress: a stage that begins (`verdict` empty) or has ended."""

    item: str
    stage: str
    who: str
    verdict: str = ""
    seconds: float = 0.0
    note: str = ""


Progress = Callable[[StageProgress], None]


def run_stages(
    mill: Mill, now: Working, stages: Sequence[PlannedStage], progress: Progress
) -> AttemptResult:
    """Take claimed work through stages and record the outcome.

    Raises `KeyboardInterrupt` and what is wrong with the set-up after giving the lease back.
    """
    with AttemptMonitor(mill, now.item, now.claim, now.allowance) as witness:
        now.witness = witness

        def told(line: StageProgress) -> None:
            witness.stage(line.stage, line.who, line.verdict)
            progress(line)

        attempted = _carry(mill, now, stages, told)
        witness.ended = f"{attempted.event.value}, {_stands(attempted)}"
    return attempted


def _stands(attempted: AttemptResult) -> str:
    item = attempted.item
    return f"{item.status.value} at {item.stage}" if item.stage else item.status.value


def _carry(
    mill: Mill, now: Working, stages: Sequence[PlannedStage], progress: Progress
) -> AttemptResult:
    started, clock = timestamp(mill.now()), time.monotonic()
    try:
        verdict = _perform(mill, now, stages, progress)
    except KeyboardInterrupt:
        _release(mill, now, "stopped")
        raise
    except SetUpError:
        _release(mill, now, "given back, the set-up failed")
        raise
    except UnusableRepositoryError:
        raise  # it is gone: there is nothing left to give the lease back to
    except GitmillError as error:
        evidence = "\n".join([error.message, *error.evidence])
        took = time.monotonic() - clock
        progress(
            StageProgress(
                now.item.id, now.at, "gitmill", VerdictWord.FAIL.value, took, error.message
            )
        )
        verdict = Verdict(VerdictWord.FAIL, error.message, (Finding(evidence),))
    except BaseException:
        _release(mill, now, "given back after an unexpected error")
        raise
    verdict = secret_scan.clean_verdict(verdict)
    found = mill.tampered.pop(now.claim, [])
    log = run_log(mill, now, verdict, found, started, time.monotonic() - clock)
    attempted = record(mill, now, verdict, log, tampered=tampering(found))
    if now.agent is not None and now.report is not None:
        note_outcome(mill, now.agent.name, now.report)
    return attempted


# -- claim -----------------------------------------------------------------------------------------


def claim(mill: Mill, item_id: str, *, after: str | None = None) -> Working:
    """Take the lease for an item's next stage.

    Raises `RefMovedError` when the item has moved on since event `after`, and a `NotNowError` or
    `ItemBudgetError` when its attempt cannot begin now.
    """
    token, event_id, now = mill.new_token(), mill.new_token(), mill.now()
    made: list[Working] = []

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        tip = mill.target_tip(snapshot)
        plan = plan_for(mill, snapshot, item, tip)
        head = item.stage or plan.first.name
        if not pipeline.is_stage(plan, head):
            raise BadDocumentError(f"{item.document.path}: its plan has no stage {head}")
        stages = pipeline.group(plan, head)
        limits = sum(stage.timeout for stage in stages)
        agent = choose(plan, item, stages[0], cooling=cooling(mill), now=now)
        policy = policy_at(mill, tip)
        allowed = allowance(mill, snapshot, policy, item) if agent else Allowance()
        who = agent.name if agent else "gitmill"
        frozen = frozen_hash(item.criteria, item.script, item.paths)
        step = Step(
            event=Event.CLAIMED,
            subject=f"{head} claimed ({who})",
            by=f"{who}@{mill.host}",
            claim=token,
            stage=head,
            after=after,
            fields={
                "plan": plan.hash12,
                "frozen": item.frozen or frozen,
                "lease": new_lease(mill, f"{who}@{mill.host}", limits + GRACE, claim=token),
                "reason": None,
            },
            files={layout.plan_path(plan.hash12): plan.render().encode()},
        )
        sandbox.require_sandbox(mill, policy)  # refused here, it is not claimed
        made[:] = [Working(item, plan, policy, token, agent, allowance=allowed)]
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
        who = now.agent.name if now.agent and stage.agents else "gitmill"
        progress(StageProgress(now.item.id, stage.name, who))
        clock = time.monotonic()
        verdict = _stage(mill, now, stage)
        seconds = time.monotonic() - clock
        blameless = now.report is not None and now.report.exit in agents.BLAMELESS
        word = now.report.exit.value if blameless and now.report else verdict.word.value
        now.passages.append(StageResult(stage.name, who, word, seconds))
        note = "" if verdict.word is VerdictWord.PASS else verdict.summary
        progress(StageProgress(now.item.id, stage.name, who, word, seconds, note))
        if verdict.word is not VerdictWord.PASS or blameless:
            break
    return verdict


def _stage(mill: Mill, now: Working, stage: PlannedStage) -> Verdict:
    if stage.type is StageType.PERSON:
        return Verdict(VerdictWord.ASK, "it needs a person's approval")
    if stage.is_authoring:
        return _build(mill, now, stage)
    if not now.work and not pipeline.is_side(now.plan, stage.name):
        return Verdict(VerdictWord.FAIL, f"there is no work to take through {stage.name}")
    if stage.type is StageType.SANITY:
        return inspect_change(mill, now.plan, now.item, now.base, now.work)
    if stage.type is StageType.CHECKS:
        return _check(mill, now, stage)
    now.report = review(mill, _errand(now, stage))
    return _verdict(now.report)


def _build(mill: Mill, now: Working, stage: PlannedStage) -> Verdict:
    made = build(mill, _errand(now, stage))
    now.report = made.report
    verdict = _verdict(made.report)
    if verdict.word is VerdictWord.PASS and made.report.exit not in agents.BLAMELESS:
        now.base, now.work, now.kept, now.built = made.base, made.work, made.kept, True
    return verdict


def _errand(now: Working, stage: PlannedStage) -> Errand:
    assert now.agent is not None
    assert now.witness is not None
    return Errand(now.item, now.policy, stage, now.agent, now.claim, now.witness)


def _check(mill: Mill, now: Working, stage: PlannedStage) -> Verdict:
    checks = checks_of(now.plan, now.item)
    if not checks:
        return Verdict(VerdictWord.ASK, "there is no check and no criterion that is a command")
    now.results = run_checks(mill, now.policy, checks, now.work, claim=now.claim, stage=stage)
    now.checked = now.work
    return checks_verdict(now.results)


def _verdict(report: Report) -> Verdict:
    if report.verdict is not None:
        return report.verdict
    said = f": {report.problem}" if report.problem else ""
    return Verdict(VerdictWord.FAIL, f"the agent did not finish, {report.exit.value}{said}")


def _release(mill: Mill, now: Working, why: str) -> None:
    if now.builder:
        return  # a person keeps the lease, and the worktree with the work
    held = tampering(mill.tampered.pop(now.claim, []))
    step = Step(
        event=Event.HELD if held else Event.RELEASED,
        subject=f"{now.item.stage} {why}{', held' if held else ''}",
        by=mill.user,
        claim=now.claim,
        fields={"reason": one_line(held)} if held else {},
    )
    try:
        mill.apply(now.item.id, step)
    except (LeasedError, GitmillError):
        return  # somebody took the item away meanwhile, so there is nothing to give back
