"""Claim an item: the lease for its next stage, its plan, its agent and its budget."""

from __future__ import annotations

from datetime import datetime

from gitmill.attempts.agent_selection import choose
from gitmill.attempts.budget import allowance
from gitmill.attempts.cooldown import cooling
from gitmill.attempts.stage_types import all_types, require
from gitmill.attempts.state import AttemptState
from gitmill.core import changes, pipeline
from gitmill.core.budget_rules import Allowance
from gitmill.core.item import Item
from gitmill.core.lease import GRACE
from gitmill.errors import BadDocumentError
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace import sandbox
from gitmill.workspace.leases import new_lease


def claim(mill: Mill, item_id: str, *, after: str | None = None) -> AttemptState:
    """Take the lease for an item's next stage.

    Raises `RefMovedError` when another event has followed event `after`, and a `NotNowError` or
    `ItemBudgetError` when the attempt cannot start now.
    """
    token, event_id, now = mill.new_token(), mill.new_token(), mill.now()
    drafted: list[AttemptState] = []

    def draft(snapshot: Snapshot) -> StateCommit:
        tip = mill.local_target_tip(snapshot)
        state, head = _prepare(mill, snapshot, snapshot.item(item_id), tip, token, now)
        step = _step(mill, state, head, tip, after)
        sandbox.require_sandbox(mill, state.policy)  # an error here leaves the item unclaimed
        drafted[:] = [state]
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    after_claim = mill.store.commit(draft)
    state = drafted[0]
    state.item = after_claim.item(item_id)
    state.base, state.work = state.item.base, state.item.work
    return state


def _prepare(
    mill: Mill, snapshot: Snapshot, item: Item, tip: str, token: str, now: datetime
) -> tuple[AttemptState, str]:
    """Return the attempt that a claim would start, and the name of its first stage."""
    plan = plan_for(mill, snapshot, item, tip, all_types())
    head = item.stage or plan.first.name
    if not pipeline.is_stage(plan, head):
        raise BadDocumentError(f"{item.document.path}: its plan has no stage {head}")
    require(stage.type for stage in pipeline.group(plan, head))
    agent = choose(plan, item, plan.stage(head), cooling=cooling(mill), now=now)
    policy = policy_at(mill, tip)
    budget = allowance(mill, snapshot, policy, item) if agent else Allowance()
    stood_red = item.red_target is not None
    return AttemptState(
        item, plan, policy, token, agent, allowance=budget, stood_red=stood_red
    ), head


def _step(mill: Mill, state: AttemptState, head: str, tip: str, after: str | None) -> Step:
    """Return the step that claims an item for the stages from `head` on."""
    item, plan = state.item, state.plan
    agent = state.agent.name if state.agent else "gitmill"
    limits = pipeline.time_limit(plan, head)
    lease = new_lease(mill, f"{agent}@{mill.host}", limits + GRACE, claim=state.claim)
    return Step(
        change=changes.claimed(item, stage=head, plan=plan.hash12, lease=lease),
        subject=f"{head} claimed ({agent})",
        by=f"{agent}@{mill.host}",
        claim=state.claim,
        after=after,
        target=tip,
        files={layout.plan_path(plan.hash12): plan.render().encode()},
    )
