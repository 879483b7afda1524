"""Set-up: init, demo, settings, explanations."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, UsageError
from gitmill.hints import Blank, Gitmill, Hint, Shell

verbs = typer.Typer(add_completion=False, no_args_is_help=True)
config = typer.Typer(add_completion=False, no_args_is_help=False, help="The policy in force.")


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def init(
    target: Annotated[str, typer.Option("--target", help="Branch that work lands on.")] = "",
) -> None:
    """Set up gitmill in this repository; your files are left alone."""
    from gitmill.flows.init import init as init_flow

    result = init_flow(session.mill(), target=target)
    output.answer([], {
        "target": result.target, "why": result.why, "fresh": result.fresh, "checks": result.checks,
        "policy": str(result.policy) if result.policy else None,
    })  # fmt: skip
    state = "state is on the branch gitmill/state" if result.fresh else "already initialized"
    why = f", {result.why}" if result.why else ""
    output.print_line(f"{state}; work lands on {result.target}{why}")
    if result.policy is not None:
        checks = ", ".join(result.checks.values()) or "no checks found"
        output.print_line(f"proposed {result.policy} ({checks}); it takes effect once committed")
        output.next_step(
            Shell("git add .gitmill && git commit -m 'Add gitmill policy' -- .gitmill"),
            Gitmill("task", "new", Blank('"What to do"'), "--ready"),
        )
    else:
        output.next_step(Gitmill("task", "new", Blank('"What to do"'), "--ready"))


@verbs.command()
def demo(
    folder: Annotated[
        str, typer.Option("--dir", help="Empty or new folder; a temporary one when left out.")
    ] = "",
    agent: Annotated[
        str, typer.Option("--agent", help="A coding agent for all roles; its service might charge.")
    ] = "",
) -> int:
    """Create a small project, land several tasks in it, and verify the result."""
    from gitmill.flows.demo import demo as demo_flow

    progress = output.Progress()
    parent = Path(folder) if folder else None
    report = demo_flow(parent, output.print_line, progress, agent=agent)
    output.answer(report.lines, report.as_json())
    output.next_step(
        Shell(f"cd {shlex.quote(str(report.folder))} && git log --oneline --notes=gitmill")
    )
    return int(Exit.OK if report.holds else Exit.FAILED)


@verbs.command()
def explain(
    word: Annotated[str, typer.Argument(help="An error, or `prompt`.", metavar="[WORD]")] = "",
) -> None:
    """Explain an error, a rule of fsck, or the variables of a prompt."""
    from gitmill.cli import explain

    known = explain.all_terms()
    if not word:
        output.answer([f"{name:<22} {text}" for name, text in known.items()], {"words": known})
        return
    if not explain.is_known(word):
        raise UsageError(
            f"there is nothing to explain about {word}", hints=[Hint(Gitmill("explain"))]
        )
    lines = explain.lines_of(word)
    output.answer(lines, {"word": word, "text": "\n".join(lines)})


@config.callback(invoke_without_command=True)
def bare_config(context: typer.Context) -> None:
    """List the settings when no verb is given."""
    if context.invoked_subcommand is None:
        list_settings()


@config.command("list")
def list_settings() -> None:
    """List the policy at the tip of the target, defaults included.

    With `--at`: the part frozen in the last plan used at that time.
    """
    from gitmill.flows.config import past_settings, settings

    mill = session.mill()
    policy = past_settings(mill) if output.past else settings(mill)
    output.answer(_rows(policy), {"policy": policy})


@config.command("trust")
def trust_commands(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="The commands of these items.", metavar="[ID]..."),
    ] = None,
) -> None:
    """Let the commands of the policy, or of items, run on this machine."""
    from gitmill.flows.config import trust_commands as flow

    commands, new = flow(session.mill(), ids or ())
    rows = [
        f"{'trusted' if command in new else 'was trusted':<12} {key}: {line}"
        for key, command in commands.items()
        for line in command.splitlines() or [""]
    ]
    entries = [{"key": k, "command": c, "new": c in new} for k, c in commands.items()]
    output.answer(rows or ["there is no command to trust"], {"commands": entries})
    output.next_step(Gitmill("run"))


def _rows(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in _flat(table)]


def _flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
