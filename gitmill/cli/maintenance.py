"""Maintenance: doctor, gc, uninit."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitmill.cli import command_line, output, session
from gitmill.errors import Exit, UsageError
from gitmill.hints import Gitmill, Hint, Shell

if TYPE_CHECKING:
    from gitmill.flows.doctor import DoctorLine
    from gitmill.flows.gc import Dropped
    from gitmill.flows.uninit import Removed, Traces

verbs = typer.Typer(add_completion=False, no_args_is_help=True)

_LEVELS = {"ok": "ok", "note": "muted", "warning": "warn", "problem": "fail"}


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Apply the safe fixes.")] = False,
) -> int:
    """Find problems on this machine and in this repository, with the commands that help."""
    from gitmill.flows import doctor as flow

    folder = Path(output.settings.directory)
    lines = flow.examine(folder)
    fixed = flow.fix(lines) if fix else []
    if fixed:
        lines = flow.examine(folder)
    for sentence in fixed:
        output.print_line(sentence)
    counts = {level: sum(one.diagnosis.level == level for one in lines) for level in _LEVELS}
    code = Exit.FAILED if counts["problem"] else Exit.OK
    output.answer(
        [text for line in lines for text in _lines(line)],
        {"checks": [_json(line) for line in lines], "done": fixed, "exit": int(code)},
    )
    output.print_line(", ".join(f"{count} {level}" for level, count in counts.items() if count))
    if any(line.diagnosis.fix for line in lines) and not fix:
        output.next_step(Gitmill("doctor", "--fix"))
    elif code is Exit.OK:
        output.next_step(Gitmill("status"))
    return int(code)


def _lines(line: DoctorLine) -> list[str]:
    diagnosis = line.diagnosis
    level = output.style(f"{diagnosis.level.value:<8}", _LEVELS[diagnosis.level.value])
    hint = output.style("hint", "accent")
    return [
        f"{level} {line.name:<14} {diagnosis.text}",
        *(f"{'':<8} {'':<14} {hint}: {command_line.sentence(way)}" for way in diagnosis.hints),
    ]


def _json(line: DoctorLine) -> dict[str, Any]:
    diagnosis = line.diagnosis
    return {
        "name": line.name, "level": diagnosis.level.value, "text": diagnosis.text,
        **command_line.as_json(diagnosis.hints), "fixable": diagnosis.fix is not None,
    }  # fmt: skip


@verbs.command()
def gc(
    days: Annotated[
        int, typer.Option("--days", min=0, help="Keep what ended in the last N days.", metavar="N")
    ] = 30,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print what would be dropped.")
    ] = False,
) -> int:
    """Drop the transcripts of tasks that ended long ago, and worktrees and caches above the limit.

    The history itself stays whole. The limit is `[worktree] max_disk` of the policy.
    """
    from gitmill.flows.gc import gc as gc_flow

    dropped = gc_flow(session.mill(), days=days, dry_run=dry_run, report=output.print_line)
    output.answer(dropped.items, _dropped_json(dropped, dry_run=dry_run))
    count = f"{len(dropped.items)} {'task' if len(dropped.items) == 1 else 'tasks'}"
    output.print_line(f"{'would drop' if dry_run else 'dropped'} the transcripts of {count}")
    for line in dropped.lines:
        output.print_line(line)
    if dry_run and (dropped.items or dropped.removed):
        output.next_step(Gitmill("gc", "--days", str(days)))
    return Exit.OK


def _dropped_json(dropped: Dropped, *, dry_run: bool) -> dict[str, Any]:
    removed = {(one.kind, one.name) for one in dropped.removed}
    return {
        "transcripts": dropped.items, "dropped": not dry_run,
        "disk": {
            "limit": dropped.limit,
            "kept": [
                {"kind": one.kind, "name": one.name, "item": one.item, "bytes": one.size,
                 "used": int(one.used), "removed": (one.kind, one.name) in removed}
                for one in dropped.kept
            ],
        },
    }  # fmt: skip


@verbs.command()
def upgrade() -> int:
    """Let the state branch follow the newest version of the rules.

    An older gitmill that does not know this version can read the branch, and writes it no longer.
    """
    from gitmill.flows.upgrade import upgrade as upgrade_flow

    before, after = upgrade_flow(session.mill())
    output.answer([], {"before": before, "after": after})
    output.print_line(f"the state branch follows version {after} of the rules, before {before}")
    output.next_step(Gitmill("doctor"))
    return Exit.OK


@verbs.command()
def uninit(
    bundle: Annotated[
        str,
        typer.Option("--bundle", help="File of the bundle; beside the repository when left out."),
    ] = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Remove gitmill from this repository, after its refs are saved in a bundle."""
    from gitmill.flows import uninit as flow

    mill = session.mill()
    traces = flow.survey(mill)
    if not yes and not _confirmed(_trace_lines(traces)):
        output.print_line("nothing was removed")
        return Exit.OK
    _print_removed(flow.uninit(mill, to=Path(bundle) if bundle else None))
    return Exit.OK


def _print_removed(removed: Removed) -> None:
    path, traces = str(removed.bundle) if removed.bundle else None, removed.traces
    output.answer(
        [path] if path else [],
        {"bundle": path, "refs": traces.refs, "settings": traces.settings},
    )
    output.print_line("removed " + ", ".join(_trace_lines(traces)))
    if traces.committed:
        output.print_line(
            "the committed folder .gitmill is yours; remove it with a commit if you like"
        )
    if path:
        held = "everything else" if traces.transcripts else "everything"
        output.print_line(f"the bundle holds {held}; fetch from it to restore gitmill")
        output.next_step(Shell(f"git fetch {shlex.quote(path)} 'refs/*:refs/*'"), Gitmill("init"))


def _trace_lines(traces: Traces) -> list[str]:
    lines = [f"{len(traces.refs)} refs", *traces.settings]
    if traces.transcripts:
        lines.append(f"the agents' output in {traces.transcripts}, which the bundle does not hold")
    return lines + [str(p) for p in (traces.worktrees, traces.private, traces.proposal) if p]


def _confirmed(lines: list[str]) -> bool:
    if output.settings.no_input or output.settings.json or not sys.stdin.isatty():
        raise UsageError(
            "uninit asks before it removes anything, and there is no terminal to ask on",
            evidence=lines,
            hints=[Hint("confirm with", Gitmill("uninit", "--yes"))],
        )
    for line in lines:
        output.print_line(f"    {line}")
    return typer.confirm("write everything to a bundle, then remove this?", err=True)
