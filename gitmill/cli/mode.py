"""`gitmill mode …`: the agents of each role, and the requirements of stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import UsageError
from gitmill.hints import Hint

if TYPE_CHECKING:
    from gitmill.core.plans.mode import Mode

mode = typer.Typer(add_completion=False, no_args_is_help=False, help="Modes: who does what.")


@mode.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List the modes when no verb is given."""
    if context.invoked_subcommand is None:
        list_modes()


def _modes() -> tuple[dict[str, Mode], str]:
    from gitmill.flows.compile import current_modes

    return current_modes(session.mill())


@mode.command("list")
def list_modes() -> None:
    """List the modes; `*` marks the one for new tasks."""
    modes, current = _modes()
    rows = [
        f"{'*' if name == current else ' '} {name:<12} "
        + ", ".join(f"{role} {'|'.join(agents)}" for role, agents in mode.roles.items())
        for name, mode in sorted(modes.items())
    ]
    output.answer(rows, {"mode": current, "modes": [_as_json(mode) for mode in modes.values()]})


@mode.command()
def show(name: Annotated[str, typer.Argument(help="Name of the mode.", metavar="MODE")]) -> None:
    """Show the roles of a mode with their agents in order of preference, and its gates."""
    modes, _ = _modes()
    if name not in modes:
        raise UsageError(
            f"there is no mode {name}", hints=[Hint(f"known: {', '.join(sorted(modes))}")]
        )
    mode = modes[name]
    rows = [f"{role:<16} {', '.join(agents)}" for role, agents in mode.roles.items()]
    rows += [f"{stage:<16} asks a person: {when.value}" for stage, when in mode.gates.items()]
    rows += [f"{stage:<16} {count} approvals" for stage, count in mode.approvals.items()]
    for stage, others in mode.distinct_from.items():
        excluded = " and ".join("each other" if other == stage else other for other in others)
        rows.append(f"{stage:<16} by agents other than {excluded}")
    output.answer(rows, {"mode": _as_json(mode)})


def _as_json(mode: Mode) -> dict[str, Any]:
    return {
        "name": mode.name, "roles": dict(mode.roles), "gates": dict(mode.gates),
        "approvals": dict(mode.approvals), "distinct_from": dict(mode.distinct_from),
    }  # fmt: skip
