"""Landings whose process died: finished when their candidate got onto the target, else given up."""

from __future__ import annotations

import time
from collections.abc import Callable

from gitmill.attempts.record import tampering
from gitmill.core.item import Item, Landing
from gitmill.core.lifecycle import Status
from gitmill.core.verdict import VerdictWord
from gitmill.errors import GitmillError, IllegalTransitionError, LandBusyError, LeasedError
from gitmill.git.checkout import checkout_of, clear_locks, restore_files, resume
from gitmill.git.objects import Move
from gitmill.git.repo import Checkout
from gitmill.landing.publish import MOVING, LandLock, abort, began, finish, land_lock
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.supervision import processes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.run_checks import (
    check_definition,
    checks_verdict,
    landing_checks,
    run_checks,
)

# Seconds for the last git process of a killed landing to end: it holds the lock until then.
PATIENCE = 10.0

Did = Callable[[str], None]


def settle_orphans(mill: Mill, did: Did) -> None:
    """Settle what killed landings left. Does nothing while somebody lands: they begin with it."""
    snapshot = mill.snapshot()
    lapsed = _lapsed(mill, snapshot)
    if not lapsed and not _candidates(mill, snapshot):
        return
    give_up = time.monotonic() + (PATIENCE if lapsed else 0.0)
    while True:
        try:
            with land_lock(mill) as lock:
                settle_under(mill, lock, did)
        except LandBusyError:
            if time.monotonic() > give_up:
                return
            time.sleep(0.05)
        else:
            return


def settle_under(mill: Mill, lock: LandLock, did: Did) -> None:
    """Settle what killed landings left, holding the lock."""
    for item in _lapsed(mill, mill.snapshot()):
        try:
            did(_settle(mill, lock, item))
        except (LeasedError, IllegalTransitionError):
            continue  # its last process had moved the state after all
        except GitmillError as error:
            did(f"could not settle the landing of {item.id}: {error.message}")
    for ref, commit in _candidates(mill, mill.snapshot()).items():
        mill.store.move(Move(ref, None, commit))
        did(f"removed the left-over {ref}")


def _lapsed(mill: Mill, snapshot: Snapshot) -> list[Item]:
    return [
        item
        for item in snapshot.items.values()
        if item.status is Status.LANDING and item.lease and has_lapsed(mill, item.lease)
    ]


def _candidates(mill: Mill, snapshot: Snapshot) -> dict[str, str]:
    """Return the candidate refs that no landing names any more."""
    landing = {item.id for item in snapshot.items.values() if item.status is Status.LANDING}
    return {
        ref: commit
        for ref, commit in mill.store.backend.refs(layout.CANDIDATE).items()
        if ref.removeprefix(layout.CANDIDATE) not in landing
    }


def _settle(mill: Mill, lock: LandLock, item: Item) -> str:
    assert item.lease is not None
    assert item.landing is not None
    processes.end_claimed(item.lease.claim)
    landing = item.landing
    if _on_target(mill, lock, item):
        policy = policy_at(mill, landing.onto)
        # Only what was not recorded runs again: a pass at the second try is never kept.
        results = run_checks(
            mill, policy, landing_checks(policy, item), landing.candidate,
            claim=item.lease.claim, again=True,
        )  # fmt: skip
        seen = tampering(mill.tampered.pop(item.lease.claim, []))
        if checks_verdict(results).word is VerdictWord.PASS:
            finish(
                mill, item, candidate=landing.candidate, onto=landing.onto,
                claim=item.lease.claim, results=results,
            )  # fmt: skip
            return f"finished the landing of {item.id}{f'; {seen}' if seen else ''}"
    after = abort(mill, item, "its process is gone", claim=item.lease.claim)
    return f"the landing of {item.id} was given up; it is {after.status.value} again"


def _on_target(mill: Mill, lock: LandLock, item: Item) -> bool:
    """Whether the candidate is on the target; a fast-forward that was half done is finished."""
    assert item.landing is not None
    landing = item.landing
    if landing.candidate == landing.onto:
        return False
    place = checkout_of(mill.repository, landing.target, pool=mill.pool.folder)
    if place is not None:
        _go_on(mill, lock, place, landing, tested=_tested(mill, item))
    git = mill.repository.git
    argv = ("merge-base", "--is-ancestor", landing.candidate, landing.target)
    return git.run(*argv, check=False).returncode == 0


def _go_on(mill: Mill, lock: LandLock, place: Checkout, landing: Landing, *, tested: bool) -> None:
    """Finish a fast-forward of a checkout that was killed half-way, or undo its first half.

    It is finished only to what has all its passes recorded. Its git is dead: it had inherited the
    lock that is ours now.
    """
    old, new, options = landing.onto, landing.candidate, mill.repository.writer.options
    when = began(mill, new)
    if when is not None:
        clear_locks(place, mill.repository.common, when, mill.repository.private / "scratch")
    moved = tested and resume(place, old, new, lock=lock.descriptor, options=options)
    if when is not None and not moved and mill.store.backend.ref(landing.target) == old:
        restore_files(place, mill.store.backend, old, mill.changes(old, new))
    (mill.repository.private / MOVING).unlink(missing_ok=True)


def _tested(mill: Mill, item: Item) -> bool:
    """Whether every check of the target has a recorded pass on the candidate's tree."""
    assert item.landing is not None
    candidate = item.landing.candidate
    policy, tree = policy_at(mill, item.landing.onto), mill.tree_of(candidate)
    snapshot = mill.snapshot()
    checks = landing_checks(policy, item)
    names = [check_definition(mill, policy, check, candidate) for check in checks]
    return bool(names) and all(snapshot.read(layout.check_path(tree, name)) for name in names)
