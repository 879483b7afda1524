"""`gitmill fsck`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gitmill.cli import output
from gitmill.errors import Exit
from gitmill.hints import Gitmill, Shell

if TYPE_CHECKING:
    from gitmill.history.fsck import Verified
    from gitmill.store.audit.report import Violation

verbs = typer.Typer(add_completion=False, no_args_is_help=True)


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def fsck() -> int:
    """Verify the whole history offline: every event, landing, note and ref. Writes nothing."""
    from gitmill.flows.fsck import fsck as fsck_flow

    result = fsck_flow(Path(output.settings.directory))
    output.answer(_lines(result), result.as_json())
    bad = [*result.report.faults, *result.report.unknown]
    if result.report.faults:
        commit, item = bad[0].commit[:10], bad[0].item
        output.next_step(Gitmill("log", item) if item in result.report.items else Gitmill("log"),
                         Shell(f"git show {commit}"))  # fmt: skip
    elif bad:
        refs = "'refs/gitmill/work/*:refs/gitmill/work/*' 'refs/notes/gitmill:refs/notes/gitmill'"
        output.next_step(Shell(f"git fetch origin {refs}"), Gitmill("fsck"))
    return int(Exit.OK if result.holds else Exit.FAILED)


def _lines(result: Verified) -> list[str]:
    report = result.report
    lines = [_line("error", "fail", one) for one in report.faults]
    lines += [_line("unknown", "warn", one) for one in report.unknown]
    lines += [_line("notice", "muted", one) for one in report.notices]
    counts = [
        _counted(report.commits, "commit"), _counted(len(report.items), "item"),
        f"{_counted(len(report.landings), 'landing', result.landings)} verified",
    ]  # fmt: skip
    if report.faults:
        counts.append(output.style(_counted(len(report.faults), "error"), "fail"))
    if report.unknown:
        counts.append(output.style(f"{len(report.unknown)} cannot be checked here", "warn"))
    return [*lines, ", ".join(counts)]


def _counted(count: int, noun: str, part: int | None = None) -> str:
    """Return a number with its noun, as `part of count` if only a part is meant."""
    shown = f"{count}" if part in (None, count) else f"{part} of {count}"
    return f"{shown} {noun}{'' if count == 1 else 's'}"


def _line(level: str, role: str, violation: Violation) -> str:
    head = output.style(f"{level}[{violation.rule}]", role)
    item = f"{violation.item}: " if violation.item else ""
    return f"{head}: {violation.commit[:10]} {item}{violation.what}"
