"""Which agent does a stage: the first of its plan that is here and may."""

from __future__ import annotations

from functools import cache

from gitmill.agents import base as agents
from gitmill.core.compile import AUTHOR
from gitmill.core.frozen import FrozenPlan, PlannedAgent, PlannedStage
from gitmill.core.item import Item
from gitmill.errors import AgentMissingError


def choose(plan: FrozenPlan, item: Item, stage: PlannedStage) -> PlannedAgent | None:
    """Return the agent that does a stage of an item, None where the stage needs none.

    Where none of those that may do it is found here, it is the first of them: its attempt says
    what is missing. Raises `AgentMissingError` when nobody may.
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
    return next((agent for agent in able if _found(agent)), able[0])


def _did(plan: FrozenPlan, item: Item, stage: PlannedStage) -> set[str]:
    """Return who has done, for the work as it is, a stage that this one must be distinct from."""
    authors = {AUTHOR, *(other.name for other in plan.stages if other.is_authoring)}
    done = {item.builder} if item.builder and authors & {*stage.distinct_from} else set()
    approved = (entry for entry in item.reviewed if entry.stage in stage.distinct_from)
    return done | {entry.by.partition("@")[0] for entry in approved}


@cache
def _found(agent: PlannedAgent) -> bool:
    """Whether an agent can be asked: installed in a version that works, and not signed out."""
    probe = agents.program(agent.name, agent.command).probe({"command": agent.command})
    return probe.found and probe.supported and probe.signed_in is not False
