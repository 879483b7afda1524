"""Recovery: what a killed process left behind is ended, saved and put back where it can go on."""

from __future__ import annotations

from collections.abc import Callable

from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.engines import leftovers
from gitmill.errors import GitmillError, IllegalTransitionError, LandBusyError, LeasedError
from gitmill.flows import gates
from gitmill.flows.finish import LandLock, finish, land_lock
from gitmill.flows.land import abort
from gitmill.flows.rescue import keep_worktree
from gitmill.git.checkout import checkout_of, resume
from gitmill.git.locks import clear_stale
from gitmill.git.objects import Move
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill, layout
from gitmill.store.events import Step

OWN_REFS = ("refs/heads/gitmill", "refs/notes/gitmill", "refs/gitmill")


def recover(mill: Mill, tell: Callable[[str], None] = lambda _: None) -> list[str]:
    """Put right whatever stands from processes that are gone; safe at any time, by anyone.

    Returns one sentence for each thing that was done. Work of processes that live is not touched.
    """
    done: list[str] = []

    def did(what: str) -> None:
        done.append(what)
        tell(what)

    for path in clear_stale(mill.repository.common, OWN_REFS, mill.repository.private / "stale"):
        did(f"moved the stale lock {path} aside")
    items = list(mill.snapshot().items.values())
    for item in items:
        if item.status is Status.RUNNING and item.lease and mill.lapsed(item.lease):
            _lapse(mill, item, did)
    if any(item.status is Status.LANDING for item in items):
        _landings(mill, did)
    mill.pool.rescue_all(lambda slot, holder, commit: _rescue(mill, slot, holder, commit, did))
    _candidates(mill, did)
    return done


def _rescue(mill: Mill, slot: Slot, holder: str, commit: str, did: Callable[[str], None]) -> None:
    """Save what an idle worktree holds; one that cannot be read is left and reported."""
    try:
        keep_worktree(mill, slot, holder, commit)
    except GitmillError as error:
        did(f"could not save what {slot.path} holds: {error.message}")


def _lapse(mill: Mill, item: Item, did: Callable[[str], None]) -> None:
    assert item.lease is not None
    ended = leftovers.end_marked(item.lease.claim)
    if ended:
        did(f"ended {ended} processes of {item.id}")
    step = Step(
        event=Event.LAPSED,
        subject=f"{item.stage} lapsed, {item.lease.who} is gone",
        by=mill.user,
        claim=item.lease.claim,
        after=item.event,
    )
    try:
        mill.apply(item.id, step)
    except (LeasedError, IllegalTransitionError, GitmillError):
        return  # another recovery was quicker
    did(f"{item.id} goes on at {item.stage}")


def _landings(mill: Mill, did: Callable[[str], None]) -> None:
    try:
        with land_lock(mill) as lock:
            for item in mill.snapshot().items.values():
                if item.status is Status.LANDING and item.lease and mill.lapsed(item.lease):
                    _landing(mill, lock, item, did)
    except LandBusyError:
        return  # whoever lands now recovers first


def _landing(mill: Mill, lock: LandLock, item: Item, did: Callable[[str], None]) -> None:
    assert item.lease is not None
    assert item.landing is not None
    leftovers.end_marked(item.lease.claim)
    landing = item.landing
    policy = mill.policy_at(landing.onto)
    if landing.candidate != landing.onto and _tested(mill, item):
        place = checkout_of(mill.repository, landing.target)
        if place is not None:
            resume(place, landing.onto, landing.candidate, lock=lock.descriptor)
        if _reaches(mill, landing.target, landing.candidate):
            checks = gates.landing_checks(policy, item)
            results = gates.run_checks(
                mill, policy, checks, landing.candidate, claim=item.lease.claim
            )
            finish(
                mill, item, candidate=landing.candidate, onto=landing.onto,
                claim=item.lease.claim, results=results,
            )  # fmt: skip
            did(f"finished the landing of {item.id}")
            return
    abort(
        mill, item, "its process is gone", claim=item.lease.claim,
        limit=policy.limits.aborts, counted=False,
    )  # fmt: skip
    did(f"{item.id} is queued again")


def _tested(mill: Mill, item: Item) -> bool:
    """Whether every check of the target has a recorded pass on the candidate's tree."""
    assert item.landing is not None
    candidate = item.landing.candidate
    policy, tree, snapshot = (
        mill.policy_at(item.landing.onto), mill.tree_of(candidate), mill.snapshot(),
    )  # fmt: skip
    checks = gates.landing_checks(policy, item)
    names = [gates.definition(mill, policy, check, candidate) for check in checks]
    return bool(names) and all(snapshot.read(layout.check_path(tree, name)) for name in names)


def _reaches(mill: Mill, ref: str, commit: str) -> bool:
    git = mill.repository.git
    return git.run("merge-base", "--is-ancestor", commit, ref, check=False).returncode == 0


def _candidates(mill: Mill, did: Callable[[str], None]) -> None:
    """Remove candidate refs that no landing names any more."""
    snapshot = mill.snapshot()
    landing = {i.id for i in snapshot.items.values() if i.status is Status.LANDING}
    for ref, commit in mill.store.backend.refs(layout.CANDIDATE).items():
        if ref.removeprefix(layout.CANDIDATE) not in landing:
            mill.store.backend.swap([Move(ref, None, commit)])
            did(f"removed the left-over {ref}")
