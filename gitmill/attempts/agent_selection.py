"""Choose the agent of a stage: the first of the plan that is installed, allowed and available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gitmill.agents import base as agents
from gitmill.core import pipeline
from gitmill.core.cooldown_rules import UNAUTHORISED, Cooling, clock
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, PlannedAgent, PlannedStage
from gitmill.errors import (
    AgentCoolsError,
    AgentMissingError,
    AgentNotFoundError,
    AgentSignedOutError,
    NotNowError,
)
from gitmill.hints import Gitmill, Hint, Shell


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
    excluded = pipeline.excluded_agents(plan, item, stage)
    allowed = [agent for agent in stage.agents if agent.name not in excluded]
    if not allowed:
        raise AgentMissingError(
            f"{stage.name} needs an agent other than {', '.join(sorted(excluded))}",
            hints=[
                Hint("give its role another one in `[modes.NAME] roles` of .gitmill/config.toml")
            ],
        )
    for agent in allowed:
        if agent.name not in cooling and _can_run(_probe(agent)):
            return agent
    raise _none_available(stage, allowed, cooling, now)


def _probe(agent: PlannedAgent) -> agents.Probe:
    return agents.program(agent.name, agent.command).probe({"command": agent.command})


def _can_run(probe: agents.Probe) -> bool:
    """Whether an agent is installed in a supported version, with its user not signed out."""
    return probe.found and probe.supported and probe.signed_in is not False


def _none_available(
    stage: PlannedStage,
    allowed: Sequence[PlannedAgent],
    cooling: Mapping[str, Cooling],
    now: datetime,
) -> NotNowError:
    """Return why none of these agents can run; of several reasons the one that ends first."""
    reasons = [
        f"{agent.name:<10} {cooling[agent.name].describe(now)}"
        if agent.name in cooling
        else f"{agent.name:<10} {_probe(agent).detail}"
        for agent in allowed
    ]
    other = Hint("name another agent for its role in `[modes.NAME] roles` of .gitmill/config.toml")
    waits = [cooling[agent.name] for agent in allowed if agent.name in cooling]
    if not waits:
        hint = Hint("see what is installed with", Gitmill("agent", "list"))
        return AgentNotFoundError(_missing(stage, allowed), evidence=reasons, hints=[hint, other])
    first = min(waits, key=lambda wait: (wait.kind == UNAUTHORISED, wait.until))
    if first.kind == UNAUTHORISED:
        message = f"{stage.name} waits for {first.agent}, which is not signed in"
        hints = [Hint(*_sign_in(first.agent), ", then", Gitmill("agent", "try", first.agent))]
        return AgentSignedOutError(message, until=first.until, evidence=reasons, hints=hints)
    until = clock(first.until, now)
    message = f"{stage.name} waits for {first.agent}, which is cooling down until {until}"
    hints = [Hint("continue then with", Gitmill("run")), other]
    return AgentCoolsError(message, until=first.until, evidence=reasons, hints=hints)


def _missing(stage: PlannedStage, allowed: Sequence[PlannedAgent]) -> str:
    """Return the message for agents that are all missing, too old, too new or signed out."""
    installed = any(_probe(agent).found for agent in allowed)
    if len(allowed) == 1:
        why = "cannot run on this machine" if installed else "is not installed"
        return f"{stage.name} needs the agent {allowed[0].name}, which {why}"
    why = "none of them can run on this machine" if installed else "none of them is installed"
    *others, last = (agent.name for agent in allowed)
    return f"{stage.name} needs one of the agents {', '.join(others)} or {last}; {why}"


def _sign_in(name: str) -> tuple[str | Shell, ...]:
    """Return the parts of a hint on how to sign an agent in: its `SIGN_IN` if it has one."""
    command = "" if name not in agents.names() else agents.load(name).SIGN_IN
    return ("sign in with", Shell(command)) if command else (f"sign in to {name}",)
