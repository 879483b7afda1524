"""The policy in force, and which of its commands may run on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gitmill.history.time_travel import plan_as_of
from gitmill.mill import Mill
from gitmill.plans.policy import policy_now
from gitmill.workspace import trust


def settings(mill: Mill) -> dict[str, Any]:
    """Return the policy at the tip of the target, defaults included."""
    return policy_now(mill).model_dump(mode="json", by_alias=True)


def past_settings(mill: Mill) -> dict[str, Any]:
    """Return the part of the policy that was frozen in the plan used last before a state commit."""
    plan = plan_as_of(mill, mill.snapshot())
    return {"mode": plan.mode, "plan": plan.hash12} | plan.settings()


def trust_commands(mill: Mill, typed: Sequence[str]) -> tuple[dict[str, str], set[str]]:
    """Trust the commands of the items `typed`, or those of the policy if none is typed.

    Returns the commands by key, and those that were not trusted before.
    """
    snapshot = mill.snapshot()
    commands: dict[str, str] = {}
    for item_id in typed:
        commands |= trust.item_commands(snapshot.resolve(item_id))
    if not typed:
        commands = dict(policy_now(mill).commands)
    return commands, set(trust.trust(mill, commands.values()))
