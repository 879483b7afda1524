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
from gitmill.core.red_target import RED, sentence
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import (
    GitmillError,
    NotReadyError,
    PausedError,
    TargetMovedError,
)
from gitmill.git.replay import Conflict, Replayed
from gitmill.hints import Gitmill, Hint
from gitmill.landing import detect_reverts
from gitmill.landing.candidate_checks import check_candidate, red_on_target
from gitmill.landing.moved_target import lost_because
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
from gitmill.plans.policy import policy_at
from gitmill.store.events import timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import sandbox
from gitmill.workspace.blame import judged
from gitmill.workspace.run_checks import (
    checks_verdict,
    landing_checks,
)
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_runnable
from gitmill.workspace.without_work import (
    forget,
)
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
    mill: Mill,
    listener: LandingListener,
    *,
    only: Collection[str] = (),
    asked: Collection[str] = (),
    stop: StopToken,
) -> list[Item]:
    """Land the queued items one after the other, each checked on the tip that the last one left.

    `only` restricts it to the named items. One whose check is red on the target waits for it to
    move, unless it is one of those `asked` for by name, whose check is run again. Returns each item
    as it is afterwards, last those that are still queued: they wait so, or lost `MOVES` landings to
    a moving target. Raises `PausedError`,
    `LandBusyError`, `CheckoutBlockedError` when the user's checkout blocks the fast-forward,
    `UntrustedError` before running commands that are not trusted in this clone, and any other error
    that is not an item's fault, with the landing aborted at no cost, and `KeyboardInterrupt` when
    `stop` is requested.
    """
    done: list[Item] = []
    races = Races()
    red: dict[str, str] = {}  # by item, the target's commit on which its check was red in this run
    with land_lock(mill) as lock:
        recover_landings_locked(mill, lock, lambda _: None, stop)
        while True:
            stop.raise_if_requested()
            snapshot = mill.snapshot()
            refuse_paused(snapshot)
            tip = mill.target_tip(snapshot)
            waiting = {
                item.id
                for item in snapshot.items.values()
                if item.status is Status.QUEUED and (not only or item.id in only)
                if red.get(item.id) == tip or (item.id not in asked and item.stands_red(tip))
            }
            queue = {
                item.id: item
                for item in snapshot.items.values()
                if item.status is not Status.QUEUED or not only or item.id in only
                if item.id not in races.outrun and item.id not in waiting
            }
            item = next_to_land(queue)
            if item is None:
                left = dict.fromkeys([*races.outrun, *sorted(waiting)])
                return [*done, *(snapshot.item(item_id) for item_id in left)]
            if item.stands_red(tip):
                forget(mill, tip)
            try:
                landed = _land(mill, lock, item, listener, stop)
                if landed.status is Status.QUEUED and landed.reason.startswith(RED):
                    red[item.id] = tip
                else:
                    done.append(landed)
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
    onto = mill.local_target_tip(snapshot)
    replay = _replay(mill, item, onto)
    landing = StartedLanding(
        item, mill.target_ref(snapshot), onto, policy_at(mill, onto),
        replay.tip if isinstance(replay, Replayed) else item.work,
        mill.new_token(), timestamp(mill.now()),
    )  # fmt: skip
    if landing.candidate == onto:
        result = _finish_unchanged(mill, item, onto)
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
    results = check_candidate(mill, landing, checks, stop)
    if why := tampering(mill.tampered.pop(claim, [])):
        return record_event(
            mill, abort(mill, item, why, claim=claim), changes.held(item, one_line(why))
        )
    verdict = checks_verdict(results)
    if verdict.word is not VerdictWord.PASS:
        if (red := red_on_target(mill, landing, results[-1], stop)) is not None:
            reason = f"{RED}: {sentence(red.check, mill.snapshot().control.target)}"
            return abort(mill, item, reason, claim=claim, red_target=red)
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


def _finish_unchanged(mill: Mill, item: Item, onto: str) -> Item:
    """Finish an item whose change is already on the target, at the commit `onto`."""
    why = "already on the target"
    item = record_event(mill, item, changes.dequeued(why))
    return record_event(mill, item, changes.finished(item, why), onto=onto)
