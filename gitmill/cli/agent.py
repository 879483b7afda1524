"""`gitmill agent …`: list the agents, try one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, GitmillError
from gitmill.hints import Blank, Gitmill

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
    """List the agents: installed or not, version, signed in or not if known free of charge."""
    from gitmill.flows import agents

    rows, entries = [], []
    mill, configured = _configured()
    cooling = agents.cooling_reasons(mill)
    for facts in agents.list_agents(configured):
        probe = facts.probe
        state, login = _state(probe), _login(probe)
        roles = ", ".join(facts.roles) or "any role"
        rows.append(f"{facts.name:<10} {state:<22} {login:<13} {roles:<10} {probe.detail}")
        entries.append({
            "name": facts.name, "found": probe.found, "version": probe.version,
            "supported": probe.supported, "signed_in": probe.signed_in,
            "roles": list(facts.roles) or None, "permissions": list(facts.permissions),
            "detail": probe.detail, "cooling": cooling.get(facts.name),
        })  # fmt: skip
    rows += [f"{name:<10} cools down: {reason}" for name, reason in cooling.items()]
    output.answer(rows, {"agents": entries})
    output.next_step(Gitmill("agent", "try", Blank("NAME")))


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


def _configured() -> tuple[Mill | None, Mapping[str, AgentPolicy]]:
    """Return the repository, if any, and the agents that its policy configures."""
    from gitmill.flows.agents import configured

    try:
        mill = session.mill()
        return mill, configured(mill)
    except GitmillError:
        return None, {}


@agent.command("try")
def try_agent(
    name: Annotated[str, typer.Argument(help="Name of the agent, see `agent list`.")],
) -> int:
    """Run one small task with an agent in a scratch repository; its service might charge for it.

    Model, options and command come from the policy in force.
    """
    from gitmill.flows import try_agent as flow

    mill, configured = _configured()
    output.print_line(f"running one small task with {name}; its service might charge for it")
    progress = output.Progress()
    trial = flow.try_agent(mill, name, configured.get(name), output.print_line, progress.stage)
    output.answer(_lines(trial), trial.as_json())
    if trial.passed:
        output.next_step(Gitmill("agent", "list"))
        return int(Exit.OK)
    output.next_step(Gitmill("-C", f"{trial.folder}/project", "log"))
    return int(Exit.FAILED)


def _lines(trial: Trial) -> list[str]:
    """Return the result, one fact per line."""
    result = "works" if trial.passed else "does not work"
    lines = [f"{trial.agent} {result}: {trial.verdict} ({trial.exit}) in {trial.seconds:.1f}s"]
    lines += [f"  summary  {trial.summary}"] if trial.summary else []
    usage: dict[str, Any] = trial.facts.get("usage") or {}
    if usage:
        counts = ", ".join(f"{count} {key}" for key, count in usage.items())
        lines.append(f"  tokens   {counts}")
    cost = trial.facts.get("cost")
    lines += [f"  cost     ${cost:.4f}"] if cost is not None else []
    lines += [f"  session  {trial.facts['session']}"] if trial.facts.get("session") else []
    return lines
