"""Landing: replay the approved work, check exactly that commit, move the target to it.

A landing runs under the `LandLock`, and moving the target requires it. `recovery` finishes or
aborts a landing whose process died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gitmill.attempts.record import tampering
from gitmill.core import changes
from gitmill.core.blame_rules import Races, counts
from gitmill.core.item import ABORTS, MOVED, Item, Reviewed
from gitmill.core.lifecycle import Event, Status
from gitmill.core.queue import next_to_land
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import GitmillError, NotReadyError, PausedError, TargetMovedError
from gitmill.git.replay import Conflict, Replayed
from gitmill.hints import Gitmill, Hint
from gitmill.landing import detect_reverts
from gitmill.landing.moved_target import lost_because, until_moved
from gitmill.landing.publish import (
    LandLock,
    abort,
    finish,
    has_begun_to_move,
    land_lock,
    move_target,
    record_event,
    record_passes,
)
from gitmill.landing.recovery import recover_landings_locked
from gitmill.landing.send_back import send_back
from gitmill.landing.started import StartedLanding, start
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.plans.policy import policy_at
from gitmill.store.events import timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox
from gitmill.workspace.blame import judged
from gitmill.workspace.run_checks import (
    CheckResult,
    checks_verdict,
    landing_checks,
    policy_checks,
    run_checks,
)
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_runnable
from gitmill.workspace.work import conflict_finding, patch_of, replayed


@dataclass(frozen=True, slots=True)
class LandingProgress:
    """One line of landing progress; `result` is empty while the landing is under way."""

    item: str
    title: str
    result: str = ""
    note: str = ""


LandingListener = Callable[[LandingProgress], None]


def land_all(
    mill: Mill, listener: LandingListener, *, only: Collection[str] = (), stop: StopToken
) -> list[Item]:
    """Land the queued items one after the other, each checked on the tip that the last one left.

    `only` restricts it to the named items. Returns each item as it is afterwards, last those that
    lost `MOVES` landings to a moving target and are still queued. Raises `PausedError`,
    `LandBusyError`, `CheckoutBlockedError` when the user's checkout blocks the fast-forward,
    `UntrustedError` before running commands that are not trusted in this clone, and any other error
    that is not an item's fault, with the landing aborted at no cost, and `KeyboardInterrupt` when
    `stop` is requested.
    """
    done: list[Item] = []
    races = Races()
    with land_lock(mill) as lock:
        recover_landings_locked(mill, lock, lambda _: None, stop)
        while True:
            stop.raise_if_requested()
            snapshot = mill.snapshot()
            refuse_paused(snapshot)
            queue = {
                item.id: item
                for item in snapshot.items.values()
                if item.status is not Status.QUEUED or not only or item.id in only
                if item.id not in races.outrun
            }
            item = next_to_land(queue)
            if item is None:
                return [*done, *(snapshot.item(item_id) for item_id in races.outrun)]
            try:
                done.append(_land(mill, lock, item, listener, stop))
                detect_reverts.record_queue_reverts(mill)
            except GitmillError as error:  # a race is tried again, unless its lease could not end
                if not races.may_retry(item.id, error) or _is_landing(mill, item):
                    raise


def refuse_paused(snapshot: Snapshot) -> None:
    """Raise `PausedError` while the queue is paused."""
    if snapshot.control.queue_paused:
        raise PausedError(
            "the queue is paused",
            evidence=[snapshot.control.queue_reason] if snapshot.control.queue_reason else [],
            hints=[Hint("resume it with", Gitmill("queue", "resume"))],
        )


def _land(
    mill: Mill, lock: LandLock, item: Item, listener: LandingListener, stop: StopToken
) -> Item:
    listener(LandingProgress(item.id, item.title))
    snapshot = mill.snapshot()
    onto = mill.target_tip(snapshot)
    replay = _replay(mill, item, onto)
    landing = StartedLanding(
        item, mill.target_ref(snapshot), onto, policy_at(mill, onto),
        replay.tip if isinstance(replay, Replayed) else item.work,
        mill.new_token(), timestamp(mill.now()),
    )  # fmt: skip
    if landing.candidate == onto:
        result = _finish_unchanged(mill, item)
    else:
        require_runnable(mill, item, landing.policy)
        sandbox.require_sandbox(mill, landing.policy)  # refused before the start, it stays queued
        start(mill, landing)
        result = _carry_out(mill, lock, landing, replay, stop)
    listener(LandingProgress(item.id, item.title, result.status.value, result.reason))
    return result


Replay = Replayed | Conflict | GitmillError  # an error that the landing has to pay for


def _replay(mill: Mill, item: Item, onto: str) -> Replay:
    """Replay an item's work. An error that it has to pay for waits for the start of its landing."""
    try:
        return replayed(mill, item, onto)
    except (GitmillError, OSError) as caught:  # only a started landing can be aborted
        error = judged(mill, caught)
        if isinstance(error, GitmillError) and counts(error):
            return error
        raise error from caught


def _is_landing(mill: Mill, item: Item) -> bool:
    return mill.snapshot().item(item.id).status is Status.LANDING


def _carry_out(
    mill: Mill, lock: LandLock, landing: StartedLanding, replay: Replay, stop: StopToken
) -> Item:
    """Check and publish a started landing; abort it when it is blocked, stopped or fails."""
    try:
        return _check_and_publish(mill, lock, landing, replay, stop)
    except KeyboardInterrupt:
        abort(mill, landing.item, "stopped", claim=landing.claim)
        raise
    except (GitmillError, OSError) as caught:  # whose fault it is decides what it costs
        error = judged(mill, caught)
        if (after := _aborted(mill, landing, error)) is not None:
            return after
        raise error from caught
    except BaseException as bug:
        _aborted(mill, landing, bug)
        raise


def _aborted(mill: Mill, landing: StartedLanding, error: BaseException) -> Item | None:
    """Abort a landing that ended with an error; return its item if that has to pay, else None.

    Once the target has begun to move, nothing is aborted: `recover` finishes the landing when this
    process has ended.
    """
    why = error.message if isinstance(error, GitmillError) else f"stopped by {error!r}"
    limit = landing.policy.limits.aborts if counts(error) else None
    counter = ABORTS if counts(error) else ""
    try:
        if has_begun_to_move(mill, landing.ref, landing.candidate):
            return None
        if isinstance(error, TargetMovedError):
            why, counter = lost_because(mill, landing), MOVED
        after = abort(mill, landing.item, why, claim=landing.claim, counter=counter, limit=limit)
    except (GitmillError, OSError):  # `recover` aborts it when this process has ended
        return None
    return after if limit is not None else None


def _check_and_publish(
    mill: Mill, lock: LandLock, landing: StartedLanding, replay: Replay, stop: StopToken
) -> Item:
    """Return the item after a started landing: landed, sent back or held."""
    if isinstance(replay, GitmillError):
        raise replay
    if isinstance(replay, Conflict):
        finding = conflict_finding(replay)
        verdict = Verdict(VerdictWord.RETURN, "it conflicts with the target", (finding,))
        return send_back(mill, landing, Event.EJECTED, verdict, [], bare=True)
    if problem := _review_mismatch(mill, landing):
        verdict = Verdict(VerdictWord.RETURN, problem, (Finding(problem),))
        return send_back(mill, landing, Event.RE_REVIEW, verdict, [])
    item, policy, candidate, claim = landing.item, landing.policy, landing.candidate, landing.claim
    checks = landing_checks(policy, item)
    if not checks:
        raise NotReadyError("nothing can verify this task: it has no check and no `$` criterion")
    with until_moved(mill, landing, stop) as token:
        results = run_checks(mill, policy, checks, candidate, claim=claim, stop=token, again=True)
    if why := tampering(mill.tampered.pop(claim, [])):
        return record_event(
            mill, abort(mill, item, why, claim=claim), changes.held(item, one_line(why))
        )
    verdict = checks_verdict(results)
    if verdict.word is not VerdictWord.PASS:
        _refuse_red_target(mill, landing, results, stop)
        return send_back(mill, landing, Event.EJECTED, verdict, results)
    record_passes(mill, item, policy, candidate, results)
    move_target(mill, lock, item, ref=landing.ref, onto=landing.onto, candidate=candidate)
    return finish(mill, item, candidate=candidate, onto=landing.onto, claim=claim, results=results)


def _review_mismatch(mill: Mill, landing: StartedLanding) -> str:
    """Return how the candidate's patch differs from the reviewed one, empty if it does not."""
    reviewed: tuple[Reviewed, ...] = landing.item.reviewed
    if not reviewed or any(entry.commit != landing.item.work for entry in reviewed):
        return "the work to land was not reviewed"
    patch = patch_of(mill, landing.onto, landing.candidate)
    if any(entry.patch != patch for entry in reviewed):
        return "replayed onto the target, its patch differs from the reviewed one"
    before = {change.path for change in mill.changes(landing.item.base, landing.item.work)}
    after = {change.path for change in mill.changes(landing.onto, landing.candidate)}
    added = sorted(after - before)
    return f"replayed onto the target, the change also touches {added[0]}" if added else ""


def _refuse_red_target(
    mill: Mill, landing: StartedLanding, results: list[CheckResult], stop: StopToken
) -> None:
    """Pause the queue when the failed check also fails on the target without the candidate.

    Raises `PausedError` then: no queued item is to blame.
    """
    red = next(result for result in results if not result.passed)
    if red.check not in policy_checks(landing.policy):
        return  # an item's own criterion need not hold before the item has landed
    on_target = run_checks(
        mill, landing.policy, [red.check], landing.onto,
        claim=landing.claim, stop=stop, again=True,
    )  # fmt: skip
    if all(result.passed for result in on_target):
        return
    reason = f"check {red.check.name} fails on {landing.ref.removeprefix('refs/heads/')} itself"
    control.pause_queue(mill, reason)
    raise PausedError(
        f"{reason}; nothing lands until it passes",
        evidence=red.output.splitlines()[-4:],
        hints=[Hint("fix it, then", Gitmill("queue", "resume"), "and", Gitmill("queue", "land"))],
    )


def _finish_unchanged(mill: Mill, item: Item) -> Item:
    """Finish an item whose change is already on the target."""
    why = "already on the target"
    item = record_event(mill, item, changes.dequeued(why))
    return record_event(mill, item, changes.finished(item, why))
