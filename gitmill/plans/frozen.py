"""Compile mode, loops, agents and policy at the tip of the target into a frozen plan."""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.agents import base as agents
from gitmill.config import Policy
from gitmill.config.values import Permission
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.plans.compile import AgentFacts, compile_plan
from gitmill.core.plans.mode import choose_mode
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git import trees
from gitmill.hints import Hint, Shell
from gitmill.mill import Mill
from gitmill.plans.loops import loops_at, shipped_modes
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit


def plan_for(mill: Mill, snapshot: Snapshot, item: Item, tip: str, types: StageTypes) -> FrozenPlan:
    """Return the plan that an item runs under: its own, or for its first claim a new one."""
    if item.plan:
        return read_plan(snapshot, item.plan)
    return compile_at(mill, tip, types, kind=item.kind)


def plan_of(mill: Mill, item: Item) -> FrozenPlan:
    """Return the plan of a claimed item. Raises `BadDocumentError` when it is missing."""
    return read_plan(mill.snapshot(), item.plan)


def read_plan(snapshot: Snapshot, hash12: str) -> FrozenPlan:
    """Return a frozen plan of the state branch. Raises `BadDocumentError` when it is missing."""
    path = layout.plan_path(hash12)
    data = snapshot.read(path)
    if data is None:
        raise BadDocumentError(
            f"{path} is missing", hints=[Hint("see", Shell("git log gitmill/state"))]
        )
    return FrozenPlan.parse(data.decode("utf-8", "replace"), path=path)


def compile_at(
    mill: Mill,
    commit: str,
    types: StageTypes,
    *,
    mode: str | None = None,
    kind: Kind = Kind.TASK,
) -> FrozenPlan:
    """Compile mode, policy, and the loop that serves a kind of item, as they are at a commit.

    Raises `CannotCompileError` and `BadConfigError`.
    """
    entry = trees.find(mill.store.backend, mill.tree_of(commit), ".gitmill")
    key = (entry.oid if entry else "", mode or "", kind.value, *types)
    plan = mill.plans.get(key)
    if plan is None:
        policy = policy_at(mill, commit)
        plan = compile_plan(
            mode=choose_mode(shipped_modes(), policy, name=mode),
            loops=loops_at(mill, commit, types),
            policy=policy,
            agents=facts(policy),
            types=types,
            kind=kind,
        )
        mill.plans.put(key, plan)
    return plan


def facts(policy: Policy) -> Mapping[str, AgentFacts]:
    """Return what each agent can do: the built-in ones, and those that the policy configures."""
    built_in = {
        name: AgentFacts(
            name,
            frozenset(Permission(p) for p in agents.load(name).PERMISSIONS),
            None if agents.ANY_ROLE <= agents.load(name).ROLES else agents.load(name).ROLES,
            coding=agents.load(name).READS_PROMPT,
        )
        for name in agents.names()
        if name != "command"
    }
    anything = frozenset(Permission)
    own = {
        name: AgentFacts(name, anything, None)
        for name, agent in policy.agents.items()
        if agent.command
    }
    return built_in | own


def record_plan(mill: Mill, plan: FrozenPlan, *, tip: str) -> bool:
    """Write the plan of the target's tip to the state branch; return whether it was new there."""
    path, event_id, person = layout.plan_path(plan.hash12), mill.new_token(), mill.person

    def build(snapshot: Snapshot) -> StateCommit | None:
        if snapshot.read(path) is not None:
            return None
        record = EventRecord(event="compiled", id=event_id, by=person, plan=plan.hash12, target=tip)
        return StateCommit(f"compiled {plan.hash12}", record, {path: plan.render().encode()})

    before = mill.snapshot().commit
    return mill.store.commit(build).commit != before
