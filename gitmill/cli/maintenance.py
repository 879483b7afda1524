"""Maintenance: doctor, gc, uninit."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, UsageError

if TYPE_CHECKING:
    from gitmill.flows.doctor import DoctorLine
    from gitmill.flows.uninit import Traces

verbs = typer.Typer(add_completion=False, no_args_is_help=True)

_LEVELS = {"ok": "ok", "note": "muted", "warning": "warn", "problem": "fail"}


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the safe fixes.")] = False,
) -> int:
    """Diagnose everything that can be wrong here, with the commands that help; changes nothing."""
    from gitmill.flows import doctor as flow

    folder = Path(output.settings.directory)
    told = flow.examine(folder)
    done = flow.fix(told) if fix else []
    if done:
        told = flow.examine(folder)
    for sentence in done:
        output.print_line(sentence)
    counts = {level: sum(one.diagnosis.level == level for one in told) for level in _LEVELS}
    code = Exit.FAILED if counts["problem"] else Exit.OK
    output.answer(
        [line for one in told for line in _lines(one)],
        {"checks": [_json(one) for one in told], "done": done, "exit": int(code)},
    )
    output.print_line(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    if any(one.diagnosis.fix for one in told) and not fix:
        output.next_step("gitmill doctor --fix")
    elif code is Exit.OK:
        output.next_step("gitmill status")
    return int(code)


def _lines(one: DoctorLine) -> list[str]:
    level = output.style(f"{one.diagnosis.level.value:<8}", _LEVELS[one.diagnosis.level.value])
    hint = output.style("hint", "accent")
    return [
        f"{level} {one.name:<14} {one.diagnosis.text}",
        *(f"{'':<8} {'':<14} {hint}: {text}" for text in one.diagnosis.hints),
    ]


def _json(one: DoctorLine) -> dict[str, Any]:
    return {
        "name": one.name, "level": one.diagnosis.level.value, "text": one.diagnosis.text,
        "hints": list(one.diagnosis.hints), "fixable": one.diagnosis.fix is not None,
    }  # fmt: skip


@verbs.command()
def gc(
    days: Annotated[
        int, typer.Option("--days", min=0, help="Keep what ended in the last N days.", metavar="N")
    ] = 30,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> int:
    """Drop the transcripts of tasks that ended long ago or no longer exist.

    The history itself stays whole.
    """
    from gitmill.flows.gc import gc as gc_flow

    found = gc_flow(session.mill(), days=days, dry_run=dry_run)
    output.answer(found, {"transcripts": found, "dropped": not dry_run})
    count = f"{len(found)} {'task' if len(found) == 1 else 'tasks'}"
    output.print_line(f"{'would drop' if dry_run else 'dropped'} the transcripts of {count}")
    if found:
        output.next_step(f"gitmill gc --days {days}" if dry_run else "git gc")
    return Exit.OK


@verbs.command()
def uninit(
    bundle: Annotated[
        str, typer.Option("--bundle", help="Where to; beside the repository when left out.")
    ] = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Remove gitmill from this repository, after everything it stored is saved in a bundle."""
    from gitmill.flows import uninit as flow

    mill = session.mill()
    traces = flow.survey(mill)
    if not yes and not _confirmed(_told(traces)):
        output.print_line("nothing was removed")
        return Exit.OK
    done = flow.uninit(mill, to=Path(bundle) if bundle else None)
    output.answer(
        [str(done.bundle)] if done.bundle else [],
        {
            "bundle": str(done.bundle) if done.bundle else None,
            "refs": done.traces.refs,
            "settings": done.traces.settings,
        },
    )
    output.print_line("removed " + ", ".join(_told(done.traces)))
    if done.traces.committed:
        output.print_line(
            "the committed folder .gitmill is yours; take it out with a commit when you like"
        )
    if done.bundle:
        output.print_line("everything is in that bundle, and comes back with it")
        name = shlex.quote(str(done.bundle))
        output.next_step(f"git fetch {name} 'refs/*:refs/*'", "gitmill init")
    return Exit.OK


def _told(traces: Traces) -> list[str]:
    told = [f"{len(traces.refs)} refs", *traces.settings]
    return told + [str(p) for p in (traces.worktrees, traces.private, traces.proposal) if p]


def _confirmed(what: list[str]) -> bool:
    if output.settings.no_input or output.settings.json or not sys.stdin.isatty():
        raise UsageError(
            "uninit asks before it removes anything, and there is nobody to ask",
            evidence=what,
            hints=["say `--yes` when you mean it; see `gitmill uninit --help`"],
        )
    for line in what:
        output.print_line(f"    {line}")
    return typer.confirm("remove this, after a bundle of it was written?", err=True)
