"""Set-up: init, demo, settings, explanations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, UsageError

verbs = typer.Typer(add_completion=False, no_args_is_help=True)
config = typer.Typer(add_completion=False, no_args_is_help=False, help="The policy in force.")


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def init(
    target: Annotated[str, typer.Option("--target", help="Branch that work lands on.")] = "",
) -> None:
    """Start gitmill in this repository; your files are left alone."""
    from gitmill.flows.init import init as init_flow

    done = init_flow(session.mill(), target=target)
    told = {
        "target": done.target, "fresh": done.fresh, "checks": done.checks,
        "policy": str(done.policy) if done.policy else None,
    }  # fmt: skip
    output.answer([], told)
    begun = "state is on the branch gitmill/state" if done.fresh else "it was initialized already"
    output.print_line(f"{begun}; work lands on {done.target}")
    if done.policy is not None:
        found = ", ".join(done.checks.values()) or "no checks found"
        output.print_line(f"proposed {done.policy} ({found}); it counts once it is committed")
        output.next_step(
            "git add .gitmill && git commit -m 'Add gitmill policy' -- .gitmill",
            'gitmill task new "What to do" --ready',
        )
    else:
        output.next_step('gitmill task new "What to do" --ready')


@verbs.command()
def demo(
    folder: Annotated[
        str, typer.Option("--dir", help="Empty or new folder; a temporary one when left out.")
    ] = "",
    agent: Annotated[
        str, typer.Option("--agent", help="A coding agent for all roles; its service may cost.")
    ] = "",
) -> int:
    """Make a small real project, run several tasks to landed, show and verify what happened."""
    from gitmill.flows.demo import demo as demo_flow

    progress = output.Progress()
    place = Path(folder) if folder else None
    account = demo_flow(place, output.print_line, progress, agent=agent)
    output.answer(account.lines, account.as_json())
    output.next_step(f"cd {account.folder} && git log --oneline --notes=gitmill")
    return int(Exit.OK if account.holds else Exit.FAILED)


@verbs.command()
def explain(
    word: Annotated[str, typer.Argument(help="An error, or `prompt`.", metavar="[WORD]")] = "",
) -> None:
    """Explain an error, a rule of fsck, or the variables of a prompt."""
    from gitmill.cli import explain

    known = explain.all_words()
    if not word:
        output.answer([f"{name:<22} {text}" for name, text in known.items()], {"words": known})
        return
    if not explain.is_known(word):
        raise UsageError(f"there is nothing to explain about {word}", hints=["`gitmill explain`"])
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

    With `--at` it is the part that was frozen in the plan used last at that time.
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
    told = [{"key": k, "command": c, "new": c in new} for k, c in commands.items()]
    output.answer(rows or ["there is no command to trust"], {"commands": told})
    output.next_step("gitmill run")


def _rows(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in _flat(table)]


def _flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
