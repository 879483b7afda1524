"""Agents: what there is, and whether one works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, GitmillError

if TYPE_CHECKING:
    from gitmill.agents.base import Probe
    from gitmill.config import AgentPolicy
    from gitmill.flows.try_agent import Trial
    from gitmill.mill import Mill

agent = typer.Typer(add_completion=False, no_args_is_help=False, help="Agents.")


@agent.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List the agents when no verb is given."""
    if context.invoked_subcommand is None:
        list_agents()


@agent.command("list")
def list_agents() -> None:
    """List the agents: found, which version, signed in as far as can be told for nothing."""
    from gitmill.agents import base

    rows, told, (here, own) = [], [], _here()
    cold = _cold(here)
    names = [name for name in base.names() if name != "command"]  # that one runs the policy's own
    names += [name for name, policy in own.items() if policy.command and name not in names]
    for name in names:
        command = own[name].command if name in own else ()
        one = base.program(name, command)
        probe = one.probe({"command": command})
        roles = sorted(one.ROLES - base.ANY_ROLE)
        state, login = _state(probe), _login(probe)
        any_or = ", ".join(roles) or "any role"
        rows.append(f"{name:<10} {state:<22} {login:<13} {any_or:<10} {probe.detail}")
        told.append({
            "name": name, "found": probe.found, "version": probe.version,
            "supported": probe.supported, "signed_in": probe.signed_in, "roles": roles or None,
            "permissions": sorted(one.PERMISSIONS), "detail": probe.detail,
            "cooling": cold.get(name),
        })  # fmt: skip
    rows += [f"{name:<10} cools down: {why}" for name, why in cold.items()]
    output.answer(rows, {"agents": told})
    output.next_step("gitmill agent try NAME")


def _cold(here: Mill | None) -> dict[str, str]:
    """Return the agents that cool down here, and why; none outside of a repository."""
    from gitmill.attempts.cooldown import cooling

    if here is None:
        return {}
    return {name: one.told(here.now()) for name, one in cooling(here).items()}


def _state(probe: Probe) -> str:
    if not probe.found:
        return "missing"
    if not probe.supported:
        return f"{probe.version or 'unknown'} unsupported"
    return probe.version or "found"


def _login(probe: Probe) -> str:
    if not probe.found or (probe.signed_in is None and not probe.version):
        return ""
    return {True: "signed in", False: "not signed in", None: "login unknown"}[probe.signed_in]


def _here() -> tuple[Mill | None, Mapping[str, AgentPolicy]]:
    """Return the repository and what its policy says of agents; nothing outside of one."""
    try:
        here = session.mill()
        from gitmill.plans.policy import policy_now

        return here, policy_now(here).agents
    except GitmillError:
        return None, {}


@agent.command("try")
def try_agent(
    name: Annotated[str, typer.Argument(help="The agent, as `agent list` names it.")],
) -> int:
    """Let an agent do one tiny task in a scratch repository; it calls its service, which may cost.

    Model, options and command are those of the policy here.
    """
    from gitmill.attempts.cooldown import clear_cooldown
    from gitmill.config import AgentPolicy
    from gitmill.flows.try_agent import trial
    from gitmill.workspace.trust import require_trusted

    here, own = _here()
    if here is not None:
        from gitmill.plans.policy import policy_now

        commands = policy_now(here).commands
        key = f"agents.{name}"
        require_trusted(here, {key: commands[key]} if key in commands else {})
    output.print_line(f"{name} answers one short task now; where its service is paid, so is this")
    progress = output.Progress()
    done = trial(name, own.get(name, AgentPolicy()), output.print_line, progress.stage)
    output.answer(_lines(done), done.as_json())
    if done.passed:
        if here is not None:
            clear_cooldown(here, name)
        output.next_step("gitmill agent list")
        return int(Exit.OK)
    output.next_step(f"gitmill -C {done.folder}/project log")
    return int(Exit.FAILED)


def _lines(done: Trial) -> list[str]:
    """Return what happened, one thing a line."""
    word = "works" if done.passed else "does not work"
    lines = [f"{done.agent} {word}: {done.verdict} ({done.exit}) in {done.seconds:.1f}s"]
    lines += [f"  said     {done.summary}"] if done.summary else []
    usage: dict[str, Any] = done.facts.get("usage") or {}
    if usage:
        counts = ", ".join(f"{count} {key}" for key, count in usage.items())
        lines.append(f"  tokens   {counts}")
    cost = done.facts.get("cost")
    lines += [f"  cost     ${cost:.4f}"] if cost is not None else []
    lines += [f"  session  {done.facts['session']}"] if done.facts.get("session") else []
    return lines
