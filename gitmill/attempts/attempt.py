"""One attempt: the stages of a claim, then the record. Two state commits enclose it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gitmill.agents import base as agents
from gitmill.agents.base import Report
from gitmill.attempts.build import build, review
from gitmill.attempts.cooldown import note_outcome
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.attempts.record import AttemptResult, record, run_log, tampering
from gitmill.attempts.state import AttemptState
from gitmill.core import changes, pipeline
from gitmill.core.item import frozen_hash
from gitmill.core.plans.plan import PlannedStage, StageType
from gitmill.core.runlog import StageResult
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import (
    GitmillError,
    LeasedError,
    SetUpError,
    UnusableRepositoryError,
)
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.store.events import Step, timestamp
from gitmill.workspace.run_checks import checks_of, checks_verdict, inspect_change, run_checks
from gitmill.workspace.stop_token import StopToken


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One line of progress: a stage that starts (`verdict` empty) or has ended."""

    item: str
    stage: str
    who: str
    verdict: str = ""
    seconds: float = 0.0
    note: str = ""


Progress = Callable[[StageProgress], None]


def run_stages(
    mill: Mill,
    state: AttemptState,
    stages: Sequence[PlannedStage],
    progress: Progress,
    stop: StopToken,
) -> AttemptResult:
    """Run the stages of a claim and record the outcome.

    Raises `KeyboardInterrupt` and the errors of the set-up after it has released the lease.
    """
    with AttemptMonitor(mill, state.item, state.claim, state.allowance) as monitor:
        state.monitor, state.stop = monitor, stop

        def log_and_report(line: StageProgress) -> None:
            monitor.stage(line.stage, line.who, line.verdict)
            progress(line)

        result = _run_and_record(mill, state, stages, log_and_report)
        monitor.ended = f"{result.event.value}, {_status_of(result)}"
    return result


def _status_of(result: AttemptResult) -> str:
    item = result.item
    return f"{item.status.value} at {item.stage}" if item.stage else item.status.value


def _run_and_record(
    mill: Mill, state: AttemptState, stages: Sequence[PlannedStage], progress: Progress
) -> AttemptResult:
    started, clock = timestamp(mill.now()), time.monotonic()
    try:
        verdict = _perform(mill, state, stages, progress)
    except KeyboardInterrupt:
        _release(mill, state, "stopped")
        raise
    except SetUpError:
        _release(mill, state, "released, the set-up failed")
        raise
    except UnusableRepositoryError:
        raise  # the repository is missing, and with it the lease
    except GitmillError as error:
        verdict = _failure(error)
        took = time.monotonic() - clock
        progress(
            StageProgress(
                state.item.id, state.at, "gitmill", verdict.word.value, took, verdict.summary
            )
        )
    except BaseException:
        _release(mill, state, "released after an unexpected error")
        raise
    verdict = secret_search.clean_verdict(verdict)
    tampered = mill.tampered.pop(state.claim, [])
    log = run_log(mill, state, verdict, tampered, started, time.monotonic() - clock)
    result = record(mill, state, verdict, log, tampered=tampering(tampered))
    if state.agent is not None and state.report is not None:
        note_outcome(mill, state.agent.name, state.report)
    return result


def _failure(error: GitmillError) -> Verdict:
    evidence = "\n".join([error.message, *error.evidence])
    return Verdict(VerdictWord.FAIL, error.message, (Finding(evidence),))


def _perform(
    mill: Mill, state: AttemptState, stages: Sequence[PlannedStage], progress: Progress
) -> Verdict:
    if state.item.frozen != frozen_hash(state.item.criteria, state.item.script, state.item.paths):
        state.at = state.item.stage
        return Verdict(VerdictWord.ASK, "its criteria, script or paths changed after the claim")
    verdict = Verdict(VerdictWord.PASS, "")
    for stage in stages:
        state.at = stage.name
        who = state.agent.name if state.agent and stage.agents else "gitmill"
        progress(StageProgress(state.item.id, stage.name, who))
        clock = time.monotonic()
        verdict = _stage(mill, state)
        seconds = time.monotonic() - clock
        blameless = state.report is not None and state.report.exit in agents.BLAMELESS
        word = state.report.exit.value if blameless and state.report else verdict.word.value
        state.stages.append(StageResult(stage.name, who, word, seconds))
        note = "" if verdict.word is VerdictWord.PASS else verdict.summary
        progress(StageProgress(state.item.id, stage.name, who, word, seconds, note))
        if verdict.word is not VerdictWord.PASS or blameless:
            break
    return verdict


def _stage(mill: Mill, state: AttemptState) -> Verdict:
    stage = state.stage
    if stage.type is StageType.PERSON:
        return Verdict(VerdictWord.ASK, "it needs a person's approval")
    if stage.is_authoring:
        return _build(mill, state)
    if not state.work and not pipeline.is_side(state.plan, stage.name):
        return Verdict(VerdictWord.FAIL, f"there is no work to take through {stage.name}")
    if stage.type is StageType.SANITY:
        return inspect_change(mill, state.plan, state.item, state.base, state.work)
    if stage.type is StageType.CHECKS:
        return _check(mill, state)
    state.report = review(mill, state)
    return _verdict(state.report)


def _build(mill: Mill, state: AttemptState) -> Verdict:
    built = build(mill, state)
    state.report = built.report
    verdict = _verdict(built.report)
    if verdict.word is VerdictWord.PASS and built.report.exit not in agents.BLAMELESS:
        state.base, state.work, state.kept, state.built = built.base, built.work, built.kept, True
    return verdict


def _check(mill: Mill, state: AttemptState) -> Verdict:
    checks = checks_of(state.plan, state.item)
    if not checks:
        return Verdict(VerdictWord.ASK, "there is no check and no criterion that is a command")
    state.results = run_checks(
        mill, state.policy, checks, state.work,
        claim=state.claim, stop=state.stop, stage=state.stage,
    )  # fmt: skip
    state.checked = state.work
    return checks_verdict(state.results)


def _verdict(report: Report) -> Verdict:
    if report.verdict is not None:
        return report.verdict
    problem = f": {report.problem}" if report.problem else ""
    return Verdict(VerdictWord.FAIL, f"the agent did not finish, {report.exit.value}{problem}")


def _release(mill: Mill, state: AttemptState, why: str) -> None:
    if state.builder:
        return  # a person keeps lease and worktree
    held = tampering(mill.tampered.pop(state.claim, []))
    step = Step(
        change=changes.held(state.item, one_line(held)) if held else changes.released(state.item),
        subject=f"{state.item.stage} {why}{', held' if held else ''}",
        by=mill.user,
        claim=state.claim,
    )
    try:
        mill.apply(state.item.id, step)
    except (LeasedError, GitmillError):
        return  # the lease was taken over in the meantime
