"""One attempt: the stages of a claim, then the record. Two state commits enclose it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gitmill.agents import base as agents
from gitmill.attempts import stage_types
from gitmill.attempts.cooldown import note_outcome
from gitmill.attempts.lease_watch import lease_watch
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.attempts.record import AttemptResult, record, run_log, tampering
from gitmill.attempts.state import AttemptState
from gitmill.core import blame_rules, changes, pipeline
from gitmill.core.item import frozen_hash
from gitmill.core.lifecycle import Event
from gitmill.core.plans.plan import Performer, PlannedStage
from gitmill.core.product import Product
from gitmill.core.runlog import StageResult
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import (
    BrokenSetUpError,
    DamagedRepositoryError,
    GitmillError,
    LeasedError,
    SetUpError,
)
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.store.events import Step, timestamp
from gitmill.workspace.blame import judged
from gitmill.workspace.leases import is_held
from gitmill.workspace.stop_token import InnerToken, StopToken
from gitmill.workspace.without_work import is_of_work, judge_set_up


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

    Raises `KeyboardInterrupt` and errors that are not the item's fault once it has released the
    lease. If another process takes the lease away, what runs is ended and no outcome is recorded.
    """
    token = InnerToken(stop, _lost)
    try:
        monitor = AttemptMonitor(mill, state.item, state.claim, state.allowance)
    except BaseException:
        _release(mill, state, "released, its live log cannot be written")
        raise
    with monitor, lease_watch(mill, state.item.id, state.claim, token):
        state.monitor, state.stop = monitor, token

        def log_and_report(line: StageProgress) -> None:
            monitor.stage(line.stage, line.who, line.verdict)
            progress(line)

        result = _run_and_record(mill, state, stages, log_and_report)
        monitor.ended = f"{result.event.value}, {_status_of(result)}"
    return result


def _lost() -> GitmillError:
    return LeasedError("another process took the lease of this attempt away")


def _status_of(result: AttemptResult) -> str:
    item = result.item
    return f"{item.status.value} at {item.stage}" if item.stage else item.status.value


def _run_and_record(
    mill: Mill, state: AttemptState, stages: Sequence[PlannedStage], progress: Progress
) -> AttemptResult:
    started, clock = timestamp(mill.now()), time.monotonic()
    try:
        result = _recorded(mill, state, _perform(mill, state, stages, progress), started, clock)
    except KeyboardInterrupt:
        _release(mill, state, "stopped")
        raise
    except (GitmillError, OSError) as caught:  # whose fault it is decides what it costs
        error = _of_set_up(mill, state, judged(mill, caught))
        if state.stop.is_requested:
            if not is_held(mill, state.item.id, state.claim):
                return _lapse(mill, state, progress, time.monotonic() - clock)
            error = _false_loss()
        failed = _record_failure(mill, state, error, progress, started, clock)
        if failed is None:
            _release(mill, state, f"released, {_why(error)}")
            raise error from caught
        result = failed
    except BaseException:
        _release(mill, state, "released after an unexpected error")
        raise
    if state.agent is not None and state.report is not None:
        note_outcome(mill, state.agent.name, state.report)
    if state.fault is not None and result.event is Event.RELEASED:
        raise state.fault
    return result


def _of_set_up(
    mill: Mill, state: AttemptState, error: GitmillError | OSError
) -> GitmillError | OSError:
    """Return the error to act on: a set-up that fails with the work only is the item's fault."""
    if not isinstance(error, SetUpError) or not is_of_work(error):
        return error
    if not state.work or state.stage.is_authoring:  # `build` has asked already
        return error
    try:
        if judge_set_up(state.without_work(mill, state.base), error) is not None:
            return error
    except (GitmillError, OSError) as unanswered:  # it is not known, so nobody pays
        return unanswered
    return BrokenSetUpError(f"{error.message}, and not without the work", evidence=error.evidence)


def _lapse(mill: Mill, state: AttemptState, progress: Progress, seconds: float) -> AttemptResult:
    """End an attempt without a record: a person or another process has taken its lease away."""
    mill.tampered.pop(state.claim, None)
    item = mill.snapshot().item(state.item.id)
    note = f"the item is {item.status.value} now, so what ran was ended"
    progress(StageProgress(item.id, state.at, "gitmill", Event.LAPSED.value, seconds, note))
    return AttemptResult(item, Event.LAPSED)


def _false_loss() -> GitmillError:
    """Return the error of an attempt that made its own lease seem lost, to end free of charge."""
    return DamagedRepositoryError(
        "the lease of the attempt was removed while its code ran, and is restored"
    )


def _recorded(
    mill: Mill, state: AttemptState, verdict: Verdict, started: str, clock: float
) -> AttemptResult:
    verdict = secret_search.clean_verdict(verdict)
    tampered = mill.tampered.get(state.claim, [])
    log = run_log(mill, state, verdict, tampered, started, time.monotonic() - clock)
    result = record(mill, state, verdict, log, tampered=tampering(tampered))
    mill.tampered.pop(state.claim, None)
    return result


def _record_failure(
    mill: Mill, state: AttemptState, error: GitmillError | OSError, progress: Progress,
    started: str, clock: float,
) -> AttemptResult | None:  # fmt: skip
    """Record an attempt that ended with an error; None if it costs nothing or cannot be recorded.

    If the record itself broke, the work of this attempt stays under its rescue ref only.
    """
    if not blame_rules.counts(error):
        return None
    if state.stages and state.stages[-1].stage == state.at:
        if state.builder:
            return None  # only the person's worktree has the work: it stays, with the lease
        state.stages.clear()  # they had ended; their result could not be recorded
        state.at, state.built, state.kept = state.item.stage, False, ""
        state.base, state.work, state.checked = state.item.base, state.item.work, ""
        state.written = None
    verdict, took = _failure(error), time.monotonic() - clock
    try:
        result = _recorded(mill, state, verdict, started, clock)
    except (GitmillError, OSError):  # the first error says more than its consequence
        return None
    progress(
        StageProgress(state.item.id, state.at, "gitmill", verdict.word.value, took, verdict.summary)
    )
    return result


def _failure(error: GitmillError | OSError) -> Verdict:
    more = error.evidence if isinstance(error, GitmillError) else ()
    return Verdict(VerdictWord.FAIL, _why(error), (Finding("\n".join([_why(error), *more])),))


def _why(error: GitmillError | OSError) -> str:
    return error.message if isinstance(error, GitmillError) else str(error)


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
        if verdict.word is not VerdictWord.PASS or blameless or state.done is not None:
            break
    return verdict


def _stage(mill: Mill, state: AttemptState) -> Verdict:
    stage = state.stage
    judges = stage.performer is not Performer.PERSON and not stage.is_authoring
    has_something = state.work or state.document or state.plan.product is Product.VERDICT
    if judges and not has_something and not pipeline.is_side(state.plan, stage.name):
        return Verdict(VerdictWord.FAIL, f"there is nothing yet to take through {stage.name}")
    return stage_types.load(stage.type).run(mill, state)


def _release(mill: Mill, state: AttemptState, why: str) -> None:
    if state.builder:
        return  # a person keeps lease and worktree
    held = tampering(mill.tampered.pop(state.claim, []))
    step = Step(
        change=changes.held(state.item, one_line(held)) if held else changes.released(state.item),
        subject=f"{state.item.stage} {one_line(why)}{', held' if held else ''}",
        by=mill.user,
        claim=state.claim,
    )
    # Another process has taken the lease over, or nothing can be written: then the lease ends with
    # this process, and `recover` releases it.
    with suppress(GitmillError, OSError):
        mill.apply(state.item.id, step)
