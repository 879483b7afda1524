"""`gitmill agent …`: list the agents, try one."""

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
    """List the agents: installed or not, version, signed in where that is known free of charge."""
    from gitmill.flows import agents

    rows, entries = [], []
    mill, own = _policy()
    cold = agents.cooling_reasons(mill)
    for one in agents.list_agents(own):
        probe = one.probe
        state, login = _state(probe), _login(probe)
        any_or = ", ".join(one.roles) or "any role"
        rows.append(f"{one.name:<10} {state:<22} {login:<13} {any_or:<10} {probe.detail}")
        entries.append({
            "name": one.name, "found": probe.found, "version": probe.version,
            "supported": probe.supported, "signed_in": probe.signed_in,
            "roles": list(one.roles) or None, "permissions": list(one.permissions),
            "detail": probe.detail, "cooling": cold.get(one.name),
        })  # fmt: skip
    rows += [f"{name:<10} cools down: {reason}" for name, reason in cold.items()]
    output.answer(rows, {"agents": entries})
    output.next_step("gitmill agent try NAME")


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


def _policy() -> tuple[Mill | None, Mapping[str, AgentPolicy]]:
    """Return the repository and the agents that its policy configures; none outside of one."""
    from gitmill.flows.agents import configured

    try:
        mill = session.mill()
        return mill, configured(mill)
    except GitmillError:
        return None, {}


@agent.command("try")
def try_agent(
    name: Annotated[str, typer.Argument(help="The agent, as `agent list` names it.")],
) -> int:
    """Run one tiny task with an agent in a scratch repository; its service may charge for it.

    Model, options and command are those of the policy here.
    """
    from gitmill.flows import try_agent as flow

    mill, own = _policy()
    output.print_line(f"{name} answers one short task now; its service may charge for it")
    progress = output.Progress()
    done = flow.try_agent(mill, name, own.get(name), output.print_line, progress.stage)
    output.answer(_lines(done), done.as_json())
    if done.passed:
        output.next_step("gitmill agent list")
        return int(Exit.OK)
    output.next_step(f"gitmill -C {done.folder}/project log")
    return int(Exit.FAILED)


def _lines(done: Trial) -> list[str]:
    """Return the result, one fact per line."""
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
