"""Build by hand: take an item with a worktree, submit the work."""

from __future__ import annotations

import shutil
from pathlib import Path

from gitmill.attempts.attempt import Progress, run_stages
from gitmill.attempts.build import commit_work, start_of
from gitmill.attempts.record import AttemptResult
from gitmill.attempts.stage_types import all_types
from gitmill.attempts.state import AttemptState
from gitmill.core import changes, pipeline
from gitmill.core.dependencies import unmet
from gitmill.core.item import Item
from gitmill.core.lease import BY_HAND
from gitmill.core.lifecycle import Event, Status
from gitmill.core.product import Product
from gitmill.errors import (
    BadDependencyError,
    GitmillError,
    HoldsSecretError,
    IllegalTransitionError,
    LeasedError,
    NotReadyError,
    PausedError,
)
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.people.intake import ready_task
from gitmill.people.refuse_secrets import FALSE_ALARM, refuse_secrets
from gitmill.plans.frozen import plan_for, plan_of
from gitmill.plans.policy import policy_at, policy_now
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace import secret_scan
from gitmill.workspace.leases import new_lease
from gitmill.workspace.read_tree import TakenTree, taken_tree
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.trust import require_runnable


def take(mill: Mill, item_id: str) -> tuple[Item, Path]:
    """Claim an item, even a draft, for this person; return it with its worktree.

    The worktree of an item that the person already has is left as it is. Raises
    `IllegalTransitionError` when the item is not at a building stage, `PausedError`,
    `BadDependencyError`.
    """
    snapshot = mill.snapshot()
    if snapshot.item(item_id).status is Status.DRAFT:
        ready_task(mill, item_id)
        snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    if not (item.lease and not item.lease.pid and item.lease.who == mill.person):
        _refuse_waiting(snapshot, item)
        item = _claim(mill, item_id)
    return item, _worktree(mill, item)


def _claim(mill: Mill, item_id: str) -> Item:
    """Commit the claim of this person; return the item."""
    claim, event_id, now = mill.new_token(), mill.new_token(), mill.now()

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        tip = mill.local_target_tip(snapshot)
        plan = plan_for(mill, snapshot, item, tip, all_types())
        stage = plan.stage(item.stage or plan.first.name)
        if item.status is Status.READY and stage.product is not Product.WORK:
            raise IllegalTransitionError(
                f"{item.id} is at {stage.name}, which is not a building stage",
                hints=[Hint("see", Gitmill("task", "show", item.id))],
            )
        lease = new_lease(mill, mill.person, BY_HAND, claim=claim, process=False)
        step = Step(
            change=changes.claimed(item, stage=stage.name, plan=plan.hash12, lease=lease),
            subject=f"{stage.name} taken ({mill.person.partition(' <')[0]})",
            by=mill.person, claim=claim, target=tip,
            files={layout.plan_path(plan.hash12): plan.render().encode()},
        )  # fmt: skip
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    return mill.store.commit(build).item(item_id)


def _refuse_waiting(snapshot: Snapshot, item: Item) -> None:
    """Raise the error that a run would raise if work is paused or a dependency is not met."""
    if snapshot.control.paused:
        raise PausedError("work is paused", hints=[Hint("resume with", Gitmill("resume"))])
    if waiting_for := unmet(snapshot.items, item):
        raise BadDependencyError(
            f"{item.id} comes after {waiting_for[0]}, which is not done yet",
            hints=[Hint("see", Gitmill("task", "show", waiting_for[0]))],
        )


def _worktree(mill: Mill, item: Item) -> Path:
    """Return the person's worktree; create it if it is missing."""
    slot = mill.pool.acquire_named(f"take-{item.id}")
    try:
        if not ((slot.side / "onto").exists() and slot.path.is_dir()):
            start = start_of(mill, item)
            slot.prepare(start.commit)
            (slot.side / "onto").write_text(start.onto)
    finally:
        slot.release()
    return slot.path


def worktree_of(mill: Mill, item: Item) -> Path:
    """Return a person's worktree for an item. Raises `NotReadyError` when there is none."""
    path = mill.pool.folder / f"take-{item.id}"
    if path.is_dir():
        return path
    raise NotReadyError(
        f"{item.id} has no worktree: no person has taken it",
        hints=[Hint("take it with", Gitmill("task", "take", item.id))],
    )


def submit(mill: Mill, item_id: str, summary: str, progress: Progress) -> AttemptResult:
    """Record the tree of a person's worktree as the work, and run sanity and checks on it.

    The worktree is removed once the work is recorded. Raises, before anything changes,
    `LeasedError` when this person does not hold the item, `UntrustedError` when the checks are not
    trusted on this machine, `HoldsSecretError` when the tree or the summary adds a secret.
    """
    refuse_secrets(mill, {"message": summary})
    item = mill.snapshot().item(item_id)
    path = worktree_of(mill, item)
    if item.lease is None or item.lease.pid or item.lease.who != mill.person:
        holder = f"is held by {item.lease.who}" if item.lease else "is not held"
        raise LeasedError(
            f"{item.id} {holder}, so you cannot submit it",
            evidence=[f"your work is still in {path}"],
            hints=[Hint("take it again with", Gitmill("task", "take", item.id))],
        )
    policy = policy_now(mill)
    require_runnable(mill, item, policy, plan_of(mill, item))
    slot = mill.pool.acquire_named(f"take-{item_id}")
    try:
        state = _commit(mill, item, slot, summary)
        stages = pipeline.group(state.plan, item.stage)[1:]
        try:
            result = run_stages(mill, state, stages, progress, StopToken())
        except GitmillError:  # it stays, unless the work was recorded before the run stops
            if mill.snapshot().item(item_id).work == state.work:
                _discard(slot)
            raise
        if result.event not in (Event.RELEASED, Event.LAPSED) or result.item.work == state.work:
            _discard(slot)
    finally:
        slot.release()
    return result


def _discard(slot: Slot) -> None:
    slot.discard()
    shutil.rmtree(slot.side, ignore_errors=True)


def _commit(mill: Mill, item: Item, slot: Slot, summary: str) -> AttemptState:
    """Commit the tree of a slot as the work; return the attempt after its building stage."""
    assert item.lease is not None
    onto = (slot.side / "onto").read_text()
    policy = policy_at(mill, onto)
    base = mill.tree_of(onto)
    ignore, claim = policy.worktree.ignore, item.lease.claim
    with taken_tree(mill, slot, base, ignore=ignore, claim=claim) as taken:
        _refuse_secrets(mill, item, taken, base)
        tree = taken.objects.admit(base, taken.tree)
    work = commit_work(mill, item, tree, onto, summary=summary)
    state = AttemptState(item, plan_of(mill, item), policy, item.lease.claim)
    state.base, state.work, state.built, state.builder = onto, work, True, mill.person
    state.at = item.stage
    return state


def _refuse_secrets(mill: Mill, item: Item, taken: TakenTree, base: str) -> None:
    findings = secret_scan.scrub(mill, base, taken.tree, taken.objects).findings
    if findings:
        raise HoldsSecretError(
            f"your work on {item.id} adds a secret, so nothing was recorded",
            evidence=[finding.message for finding in findings],
            hints=[
                Hint("remove it, then", Gitmill("task", "submit", item.id)),
                FALSE_ALARM,
            ],
        )
