"""`gitmill fsck`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gitmill.cli import output
from gitmill.errors import Exit

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
        output.next_step(f"gitmill log {item}" if item in result.report.items else "gitmill log",
                         f"git show {commit}")  # fmt: skip
    elif bad:
        output.next_step("git fetch origin 'refs/gitmill/work/*:refs/gitmill/work/*' "
                         "'refs/notes/gitmill:refs/notes/gitmill'", "gitmill fsck")  # fmt: skip
    return int(Exit.OK if result.holds else Exit.FAILED)


def _lines(result: Verified) -> list[str]:
    report = result.report
    lines = [_line("error", "fail", one) for one in report.faults]
    lines += [_line("unknown", "warn", one) for one in report.unknown]
    lines += [_line("notice", "muted", one) for one in report.notices]
    counts = [
        f"{report.commits} commits", f"{len(report.items)} items",
        f"{_of(result.landings, len(report.landings))} landings verified",
    ]  # fmt: skip
    if report.faults:
        counts.append(output.style(f"{len(report.faults)} errors", "fail"))
    if report.unknown:
        counts.append(output.style(f"{len(report.unknown)} cannot be checked here", "warn"))
    return [*lines, ", ".join(counts)]


def _of(part: int, whole: int) -> str:
    """Return `part of whole`, or only the number if both are equal."""
    return str(part) if part == whole else f"{part} of {whole}"


def _line(level: str, role: str, violation: Violation) -> str:
    head = output.style(f"{level}[{violation.rule}]", role)
    item = f"{violation.item}: " if violation.item else ""
    return f"{head}: {violation.commit[:10]} {item}{violation.what}"
