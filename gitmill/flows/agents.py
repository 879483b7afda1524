"""The agents of this machine: installed, configured, cooling down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gitmill.agents import base
from gitmill.agents.base import Probe
from gitmill.attempts.cooldown import cooling
from gitmill.config import AgentPolicy
from gitmill.mill import Mill
from gitmill.plans.policy import policy_now


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """An agent, the result of its probe, and the roles it is limited to (none: any role)."""

    name: str
    probe: Probe
    roles: tuple[str, ...]
    permissions: tuple[str, ...]


def configured(mill: Mill | None) -> Mapping[str, AgentPolicy]:
    """Return the agents that the policy configures; none outside a repository."""
    return policy_now(mill).agents if mill is not None else {}


def list_agents(own: Mapping[str, AgentPolicy]) -> list[AgentFacts]:
    """Probe every built-in agent and those with a command of the policy's `own`."""
    names = [name for name in base.names() if name != "command"]  # it runs the policy's commands
    names += [name for name, policy in own.items() if policy.command and name not in names]
    facts = []
    for name in names:
        command = own[name].command if name in own else ()
        program = base.program(name, command)
        roles, permissions = program.ROLES - base.ANY_ROLE, program.PERMISSIONS
        probe = program.probe({"command": command})
        facts.append(AgentFacts(name, probe, tuple(sorted(roles)), tuple(sorted(permissions))))
    return facts


def cooling_reasons(mill: Mill | None) -> dict[str, str]:
    """Return the agents that are cooling down in this repository, each with the reason."""
    if mill is None:
        return {}
    return {name: cooldown.describe(mill.now()) for name, cooldown in cooling(mill).items()}
