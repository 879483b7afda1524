"""Landing: replay the approved work, check exactly that commit, move the target to it.

Whoever lands holds the `LandLock`; what moves the target asks for it. `recover` finishes or takes
back a landing whose process died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gitmill.attempts.record import tampering
from gitmill.config import Policy
from gitmill.core import pipeline
from gitmill.core.item import Item, Reviewed
from gitmill.core.lifecycle import Event, Status
from gitmill.core.queue import next_to_land
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import (
    CheckoutBlockedError,
    GitmillError,
    LandingBrokenError,
    NotReadyError,
    PausedError,
    RefMovedError,
)
from gitmill.git.replay import Conflict
from gitmill.landing import detect_reverts
from gitmill.landing.publish import (
    LandLock,
    abort,
    finish,
    land_lock,
    move_target,
    record_event,
    record_passes,
)
from gitmill.landing.recovery import settle_under
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.plans.frozen import plan_of
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox
from gitmill.workspace.leases import new_lease
from gitmill.workspace.run_checks import (
    CheckResult,
    checks_verdict,
    landing_checks,
    policy_checks,
    run_checks,
)
from gitmill.workspace.signals import raise_if_stopped
from gitmill.workspace.trust import require_runnable
from gitmill.workspace.work import conflict_finding, patch_of, replayed

LEASE = 3600.0  # seconds beyond the checks' own limits


@dataclass(frozen=True, slots=True)
class LandingProgress:
    """One line of progress of a landing: `result` is empty while it is under way."""

    item: str
    title: str
    result: str = ""
    note: str = ""


LandingListener = Callable[[LandingProgress], None]


def land_all(mill: Mill, tell: LandingListener, *, only: Collection[str] = ()) -> list[Item]:
    """Land what is queued, one after the other, each checked on the tip that the one before left.

    Returns the items as they stand afterwards. Raises `PausedError`, `LandBusyError`, and
    `CheckoutBlockedError` when the user's checkout is in the way, `UntrustedError` before checks
    would run that nobody has trusted here.
    """
    done: list[Item] = []
    with land_lock(mill) as lock:
        settle_under(mill, lock, lambda _: None)
        while True:
            raise_if_stopped()
            snapshot = mill.snapshot()
            refuse_paused(snapshot)
            queue = {
                item.id: item
                for item in snapshot.items.values()
                if item.status is not Status.QUEUED or not only or item.id in only
            }
            item = next_to_land(queue)
            if item is None:
                return done
            with suppress(RefMovedError):  # it was taken out of the queue
                done.append(_land(mill, lock, item, tell))
                detect_reverts.record_queue_reverts(mill)


def refuse_paused(snapshot: Snapshot) -> None:
    """Raise `PausedError` when nothing may land."""
    if snapshot.control.queue_paused:
        raise PausedError(
            "the queue is paused",
            evidence=[snapshot.control.queue_reason] if snapshot.control.queue_reason else [],
            hints=["go on with `gitmill queue resume`"],
        )


@dataclass
class _Landing:
    """What is known of one landing under way."""

    item: Item
    ref: str
    onto: str
    policy: Policy
    candidate: str
    claim: str
    started: str


def _land(mill: Mill, lock: LandLock, item: Item, tell: LandingListener) -> Item:
    tell(LandingProgress(item.id, item.title))
    snapshot = mill.snapshot()
    onto = mill.target_tip(snapshot)
    moved = replayed(mill, item, onto)
    now = _Landing(
        item, mill.target_ref(snapshot), onto, policy_at(mill, onto),
        item.work if isinstance(moved, Conflict) else moved.tip,
        mill.new_token(), timestamp(mill.now()),
    )  # fmt: skip
    if now.candidate == onto:
        result = _already_there(mill, item)
    else:
        require_runnable(mill, item, now.policy)
        sandbox.require_sandbox(mill, now.policy)  # refused here, it stays queued
        _start(mill, now)
        try:
            result = _started(mill, lock, now, moved)
        except (CheckoutBlockedError, PausedError) as error:
            abort(mill, now.item, error.message, claim=now.claim)
            raise
        except KeyboardInterrupt:
            abort(mill, now.item, "stopped", claim=now.claim)
            raise
        except LandingBrokenError:
            raise
        except GitmillError as error:
            limit = now.policy.limits.aborts
            result = abort(mill, now.item, error.message, claim=now.claim, limit=limit)
    tell(LandingProgress(item.id, item.title, result.status.value, result.reason))
    return result


def _started(mill: Mill, lock: LandLock, now: _Landing, moved: object) -> Item:
    """Take a landing that has begun to its end: landed, sent back, or given up."""
    if isinstance(moved, Conflict):
        finding = conflict_finding(moved)
        verdict = Verdict(VerdictWord.RETURN, "it conflicts with the target", (finding,))
        return _back(mill, now, Event.EJECTED, verdict, [], bare=True)
    if problem := _not_as_reviewed(mill, now):
        verdict = Verdict(VerdictWord.RETURN, problem, (Finding(problem),))
        return _back(mill, now, Event.RE_REVIEW, verdict, [])
    checks = landing_checks(now.policy, now.item)
    if not checks:
        raise NotReadyError("there is no check and no criterion that is a command to land it by")
    results = run_checks(mill, now.policy, checks, now.candidate, claim=now.claim, again=True)
    if why := tampering(mill.tampered.pop(now.claim, [])):
        return record_event(mill, abort(mill, now.item, why, claim=now.claim), Event.HELD, why)
    verdict = checks_verdict(results)
    if verdict.word is not VerdictWord.PASS:
        _refuse_red_target(mill, now, results)
        return _back(mill, now, Event.EJECTED, verdict, results)
    record_passes(mill, now.item, now.policy, now.candidate, results)
    move_target(mill, lock, now.item, ref=now.ref, onto=now.onto, candidate=now.candidate)
    return finish(mill, now.item, candidate=now.candidate, onto=now.onto, claim=now.claim,
                  results=results)  # fmt: skip


def _start(mill: Mill, now: _Landing) -> None:
    checks = landing_checks(now.policy, now.item)
    seconds = LEASE + 3 * sum(check.timeout for check in checks)
    step = Step(
        event=Event.LAND_STARTED,
        subject=f"landing on {now.ref.removeprefix('refs/heads/')}",
        by=mill.user,
        claim=now.claim,
        after=now.item.event,
        fields={
            "lease": new_lease(mill, mill.user, seconds, claim=now.claim),
            "landing": {"candidate": now.candidate, "onto": now.onto, "target": now.ref},
            "reason": None,
        },
        refs={f"{layout.CANDIDATE}{now.item.id}": now.candidate},
        extra={"Candidate": now.candidate, "Onto": now.onto},
    )
    now.item = mill.apply(now.item.id, step).item(now.item.id)


def _not_as_reviewed(mill: Mill, now: _Landing) -> str:
    """Return how the candidate's patch differs from the reviewed one, empty when it does not."""
    reviewed: tuple[Reviewed, ...] = now.item.reviewed
    if not reviewed or any(entry.commit != now.item.work for entry in reviewed):
        return "what is to land was not reviewed"
    patch = patch_of(mill, now.onto, now.candidate)
    if any(entry.patch != patch for entry in reviewed):
        return "replayed onto the target, the patch is not the one that was reviewed"
    before = {change.path for change in mill.changes(now.item.base, now.item.work)}
    after = {change.path for change in mill.changes(now.onto, now.candidate)}
    more = sorted(after - before)
    return f"replayed onto the target, the change reaches {more[0]} too" if more else ""


def _refuse_red_target(mill: Mill, now: _Landing, results: list[CheckResult]) -> None:
    """Pause the queue when what failed fails on the target without the candidate too.

    Raises `PausedError` then: nobody in the queue is to blame.
    """
    red = next(result for result in results if not result.passed)
    if red.check not in policy_checks(now.policy):
        return  # an item's own criterion need not hold before it
    without = run_checks(mill, now.policy, [red.check], now.onto, claim=now.claim, again=True)
    if all(result.passed for result in without):
        return
    reason = f"check {red.check.name} fails on {now.ref.removeprefix('refs/heads/')} itself"
    control.pause_queue(mill, reason)
    raise PausedError(
        f"{reason}; nothing lands until it is green",
        evidence=red.output.splitlines()[-4:],
        hints=["mend it, then `gitmill queue resume` and `gitmill queue land`"],
    )


def _back(
    mill: Mill,
    now: _Landing,
    event: Event,
    verdict: Verdict,
    results: list[CheckResult],
    *,
    bare: bool = False,
) -> Item:
    """Send the item back with the evidence: to its author, or to review."""
    item = now.item
    plan = plan_of(mill, item)
    again = event is Event.RE_REVIEW
    stage = pipeline.reviewing(plan) if again else pipeline.authoring(plan, plan.stages[-1].name)
    counters = pipeline.new_round(item.counters)
    why = pipeline.attempts_exhausted(plan, stage, counters)
    log = _log(mill, now, verdict, results)
    fields: dict[str, Any] = {
        "landing": None,
        "reviewed": None,
        "feedback": layout.run_path(item.id, item.attempt + 1, "land"),
        "bare": True if bare else None,
        "counters": counters,
        "reason": one_line(verdict.summary),
    }
    if again:
        # The review that follows judges the patch as it would land.
        fields |= {"base": now.onto, "work": now.candidate}
    refs = {f"{layout.CANDIDATE}{item.id}": None} | (
        {f"{layout.WORK}{item.id}": now.candidate} if again else {}
    )
    word = "back to review" if again else "ejected"
    step = Step(
        event=event, subject=f"{word}, {verdict.summary}", by=mill.user, claim=now.claim,
        stage=stage, fields=fields, run=("land", log), refs=refs,
    )  # fmt: skip
    after = mill.apply(item.id, step).item(item.id)
    if after.cancel_requested:
        return record_event(mill, after, Event.CANCELLED, "cancelled as requested")
    return record_event(mill, after, Event.BLOCKED, why) if why else after


def _log(mill: Mill, now: _Landing, verdict: Verdict, results: list[CheckResult]) -> Any:
    return RunLog(
        item=now.item.id,
        stage="land",
        verdict=verdict,
        by=mill.user,
        started=now.started,
        claim=now.claim,
        facts={
            "base": now.onto,
            "work": now.candidate,
            "sandbox": sandbox.enforcement(mill, now.policy),
        },
        checks=tuple(result.as_json() for result in results),
        output="\n".join(result.output for result in results if not result.passed),
    ).document(now.item.attempt + 1)


def _already_there(mill: Mill, item: Item) -> Item:
    """Finish an item whose change the target has already."""
    why = "already on the target"
    return record_event(mill, record_event(mill, item, Event.DEQUEUED, why), Event.FINISHED, why)
