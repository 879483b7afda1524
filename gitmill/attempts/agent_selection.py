"""Choose the agent of a stage: the first of the plan that is installed, allowed and available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

from gitmill.agents import base as agents
from gitmill.core.cooldown_rules import UNAUTHORISED, Cooling, clock
from gitmill.core.item import Item
from gitmill.core.plans.compile import AUTHOR
from gitmill.core.plans.plan import FrozenPlan, PlannedAgent, PlannedStage
from gitmill.errors import (
    AgentCoolsError,
    AgentMissingError,
    AgentNotFoundError,
    AgentSignedOutError,
    NotNowError,
)


def choose(
    plan: FrozenPlan,
    item: Item,
    stage: PlannedStage,
    *,
    cooling: Mapping[str, Cooling],
    now: datetime,
) -> PlannedAgent | None:
    """Return the agent for a stage of an item, None if the stage needs none.

    Raises `AgentMissingError` when no agent is allowed to do it, and a `NotNowError` with the time
    when all allowed agents are missing or cool down.
    """
    if not stage.agents:
        return None
    apart = _did(plan, item, stage)
    able = [agent for agent in stage.agents if agent.name not in apart]
    if not able:
        raise AgentMissingError(
            f"{stage.name} needs an agent other than {', '.join(sorted(apart))}",
            hints=["give its role another one in `[modes.NAME] roles` of .gitmill/config.toml"],
        )
    for agent in able:
        if agent.name not in cooling and _can_be_asked(_probe(agent)):
            return agent
    raise _rests(stage, able, cooling, now)


def _did(plan: FrozenPlan, item: Item, stage: PlannedStage) -> set[str]:
    """Return the agents that did, for the present work, a stage this one must be distinct from."""
    authors = {AUTHOR, *(other.name for other in plan.stages if other.is_authoring)}
    done = {item.builder} if item.builder and authors & {*stage.distinct_from} else set()
    approved = (entry for entry in item.reviewed if entry.stage in stage.distinct_from)
    return done | {entry.by.partition("@")[0] for entry in approved}


@cache
def _probe(agent: PlannedAgent) -> agents.Probe:
    return agents.program(agent.name, agent.command).probe({"command": agent.command})


def _can_be_asked(probe: agents.Probe) -> bool:
    """Whether it is installed in a version that works, and its user is not signed out."""
    return probe.found and probe.supported and probe.signed_in is not False


def _rests(
    stage: PlannedStage,
    able: Sequence[PlannedAgent],
    cooling: Mapping[str, Cooling],
    now: datetime,
) -> NotNowError:
    """Return why none of these agents can run; of several reasons the one that ends first."""
    cold = [cooling[agent.name] for agent in able if agent.name in cooling]
    told = [
        f"{agent.name:<10} {cooling[agent.name].describe(now)}"
        if agent.name in cooling
        else f"{agent.name:<10} {_probe(agent).detail}"
        for agent in able
    ]
    soonest = sorted(cold, key=lambda one: (one.kind == UNAUTHORISED, one.until))
    other = "name another agent for its role in `[modes.NAME] roles` of .gitmill/config.toml"
    if not soonest:
        found = any(_probe(one).found for one in able)
        if len(able) == 1:
            why = "cannot be asked here" if found else "is not here"
            what = f"{stage.name} wants the agent {able[0].name}, which {why}"
        else:
            why = "none of them can be asked here" if found else "none of them is here"
            *others, last = (agent.name for agent in able)
            what = f"{stage.name} wants an agent of {', '.join(others)} or {last}; {why}"
        hint = "see what is installed with `gitmill agent list`"
        return AgentNotFoundError(what, evidence=told, hints=[hint, other])
    first = soonest[0]
    if first.kind == UNAUTHORISED:
        what = f"{stage.name} waits for {first.agent}, which is not signed in"
        hints = [f"{_sign_in(first.agent)}, then `gitmill agent try {first.agent}`"]
        return AgentSignedOutError(what, until=first.until, evidence=told, hints=hints)
    until = clock(first.until, now)
    what = f"{stage.name} waits for {first.agent}, which cools down until {until}"
    hints = ["go on then with `gitmill run`", other]
    return AgentCoolsError(what, until=first.until, evidence=told, hints=hints)


def _sign_in(name: str) -> str:
    """Return the command that signs an agent in: its `SIGN_IN` if it has one."""
    command = "" if name not in agents.names() else agents.load(name).SIGN_IN
    return f"sign in with `{command}`" if command else f"sign in to {name}"
