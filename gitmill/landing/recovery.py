"""Recover landings whose process died: finish what reached the target, abort the rest."""

from __future__ import annotations

import time
from collections.abc import Callable

from gitmill.attempts.record import tampering
from gitmill.core.item import Item, Landing
from gitmill.core.lifecycle import Status
from gitmill.core.verdict import VerdictWord
from gitmill.errors import (
    CheckoutBlockedError,
    GitmillError,
    IllegalTransitionError,
    LandBusyError,
    LeasedError,
)
from gitmill.git.checkout import checkout_of, clear_locks, resume
from gitmill.git.objects import Move
from gitmill.git.repo import Checkout
from gitmill.landing.left_staged import may_be_staged, undo_staged
from gitmill.landing.move_checkout import forget_move, interrupted_move, undo_move
from gitmill.landing.publish import (
    LandLock,
    abort,
    finish,
    is_on,
    land_lock,
)
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.supervision import processes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.run_checks import (
    Passes,
    checks_verdict,
    landing_checks,
    run_checks,
)
from gitmill.workspace.stop_token import StopToken

# Seconds to wait for the last git process of a killed landing, which holds the lock until it ends.
PATIENCE = 10.0

Report = Callable[[str], None]


def recover_landings(mill: Mill, report: Report, stop: StopToken) -> None:
    """Recover killed landings. Does nothing while another process lands: it recovers them first."""
    snapshot = mill.snapshot()
    lapsed = _lapsed(mill, snapshot)
    leftovers = _leftover_candidates(mill, snapshot)
    if not lapsed and not leftovers and not may_be_staged(mill, snapshot):
        return
    deadline = time.monotonic() + (PATIENCE if lapsed else 0.0)
    while True:
        try:
            with land_lock(mill) as lock:
                recover_landings_locked(mill, lock, report, stop)
        except LandBusyError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        else:
            return


def recover_landings_locked(mill: Mill, lock: LandLock, report: Report, stop: StopToken) -> None:
    """Recover killed landings and remove leftover candidate refs, under the landing lock."""
    for item in _lapsed(mill, mill.snapshot()):
        try:
            report(_recover(mill, lock, item, stop))
        except (LeasedError, IllegalTransitionError):
            continue  # its last process had moved the state after all
        except GitmillError as error:  # the others can still be recovered
            report(f"could not recover the landing of {item.id}: {error.message}")
    for sentence in undo_staged(mill, mill.snapshot()):
        report(sentence)
    for ref, commit in _leftover_candidates(mill, mill.snapshot()).items():
        mill.store.move(Move(ref, None, commit))
        report(f"removed the leftover {ref}")


def _lapsed(mill: Mill, snapshot: Snapshot) -> list[Item]:
    return [
        item
        for item in snapshot.items.values()
        if item.status is Status.LANDING and item.lease and has_lapsed(mill, item.lease)
    ]


def _leftover_candidates(mill: Mill, snapshot: Snapshot) -> dict[str, str]:
    """Return the candidate refs without a landing under way."""
    landing = {item.id for item in snapshot.items.values() if item.status is Status.LANDING}
    return {
        ref: commit
        for ref, commit in mill.store.backend.refs(layout.CANDIDATE).items()
        if ref.removeprefix(layout.CANDIDATE) not in landing
    }


def _recover(mill: Mill, lock: LandLock, item: Item, stop: StopToken) -> str:
    assert item.lease is not None
    assert item.landing is not None
    claim, landing = item.lease.claim, item.landing
    processes.end_claimed(claim)
    if _on_target(mill, lock, item):
        policy = policy_at(mill, landing.onto)
        # Only checks without a recorded pass run again: a flaky pass is never recorded.
        results = run_checks(
            mill, policy, landing_checks(policy, item), landing.candidate,
            claim=claim, stop=stop, again=True,
        )  # fmt: skip
        note = tampering(mill.tampered.pop(claim, []))
        if checks_verdict(results).word is VerdictWord.PASS:
            finish(
                mill, item, candidate=landing.candidate, onto=landing.onto, claim=claim,
                results=results,
            )  # fmt: skip
            return f"finished the landing of {item.id}{f'; {note}' if note else ''}"
    after = abort(mill, item, "its process died", claim=claim)
    return f"aborted the landing of {item.id}; it is {after.status.value} again"


def _on_target(mill: Mill, lock: LandLock, item: Item) -> bool:
    """Whether the candidate is on the target; finishes an interrupted fast-forward first."""
    assert item.landing is not None
    landing = item.landing
    if landing.candidate == landing.onto:
        return False
    checkout = checkout_of(mill.repository, landing.target, pool=mill.pool.folder)
    if checkout is not None:
        _finish_move(mill, lock, checkout, landing, tested=_tested(mill, item))
    git = mill.repository.git
    argv = ("merge-base", "--is-ancestor", landing.candidate, landing.target)
    return git.run(*argv, check=False).returncode == 0


def _finish_move(
    mill: Mill, lock: LandLock, checkout: Checkout, landing: Landing, *, tested: bool
) -> None:
    """Finish an interrupted fast-forward of a checkout, or undo its first half.

    It is finished only for a candidate with a recorded pass of every check. The interrupted git is
    dead: it had inherited the lock that this process holds now.
    """
    old, new, options = landing.onto, landing.candidate, mill.repository.writer.options
    began = interrupted_move(mill, new)
    if began is not None:
        clear_locks(checkout, mill.repository.common, began, mill.repository.private / "scratch")
    try:
        moved = tested and resume(checkout, old, new, lock=lock.descriptor, options=options)
    except CheckoutBlockedError:  # the index is moved and the branch cannot be
        moved = False
    if began is not None and not moved and not is_on(mill, landing.target, new):
        undo_move(mill, checkout, old, new)
    forget_move(mill)


def _tested(mill: Mill, item: Item) -> bool:
    """Whether every check of the target has a recorded pass on the candidate's tree."""
    assert item.landing is not None
    candidate = item.landing.candidate
    policy = policy_at(mill, item.landing.onto)
    passes = Passes(mill, policy, candidate, lent=True)
    checks = landing_checks(policy, item)
    return bool(checks) and all(passes.of(check) for check in checks)
