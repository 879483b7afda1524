"""Claim an item: the lease for its next stage, its plan, its agent and its budget."""

from __future__ import annotations

from gitmill.attempts.agent_selection import choose
from gitmill.attempts.budget import allowance
from gitmill.attempts.cooldown import cooling
from gitmill.attempts.state import AttemptState
from gitmill.core import pipeline
from gitmill.core.budget_rules import Allowance
from gitmill.core.item import frozen_hash
from gitmill.core.lifecycle import Event
from gitmill.errors import (
    BadDocumentError,
)
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace import sandbox
from gitmill.workspace.leases import new_lease

GRACE = 120.0  # seconds that a lease outlives its stages' limits


def claim(mill: Mill, item_id: str, *, after: str | None = None) -> AttemptState:
    """Take the lease for an item's next stage.

    Raises `RefMovedError` when another event has followed event `after`, and a `NotNowError` or
    `ItemBudgetError` when the attempt cannot start now.
    """
    token, event_id, now = mill.new_token(), mill.new_token(), mill.now()
    made: list[AttemptState] = []

    def draft(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        tip = mill.target_tip(snapshot)
        plan = plan_for(mill, snapshot, item, tip)
        head = item.stage or plan.first.name
        if not pipeline.is_stage(plan, head):
            raise BadDocumentError(f"{item.document.path}: its plan has no stage {head}")
        stages = pipeline.group(plan, head)
        limits = sum(stage.timeout for stage in stages)
        agent = choose(plan, item, stages[0], cooling=cooling(mill), now=now)
        policy = policy_at(mill, tip)
        allowed = allowance(mill, snapshot, policy, item) if agent else Allowance()
        who = agent.name if agent else "gitmill"
        frozen = frozen_hash(item.criteria, item.script, item.paths)
        step = Step(
            event=Event.CLAIMED,
            subject=f"{head} claimed ({who})",
            by=f"{who}@{mill.host}",
            claim=token,
            stage=head,
            after=after,
            fields={
                "plan": plan.hash12,
                "frozen": item.frozen or frozen,
                "lease": new_lease(mill, f"{who}@{mill.host}", limits + GRACE, claim=token),
                "reason": None,
            },
            files={layout.plan_path(plan.hash12): plan.render().encode()},
        )
        sandbox.require_sandbox(mill, policy)  # refused here, it is not claimed
        made[:] = [AttemptState(item, plan, policy, token, agent, allowance=allowed)]
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    after_claim = mill.store.commit(draft)
    state = made[0]
    state.item = after_claim.item(item_id)
    state.base, state.work = state.item.base, state.item.work
    return state
