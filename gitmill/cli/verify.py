"""Verify what happened."""

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
    """Commands that are one word."""


@verbs.command()
def fsck() -> int:
    """Verify the whole history offline: every event, landing, note and ref. Writes nothing."""
    from gitmill.flows.fsck import fsck as fsck_flow

    found = fsck_flow(Path(output.settings.directory))
    output.answer(_lines(found), found.as_json())
    bad = [*found.report.faults, *found.report.unknown]
    if found.report.faults:
        commit, item = bad[0].commit[:10], bad[0].item
        output.next_step(f"gitmill log {item}" if item in found.report.items else "gitmill log",
                         f"git show {commit}")  # fmt: skip
    elif bad:
        output.next_step("git fetch origin 'refs/gitmill/work/*:refs/gitmill/work/*' "
                         "'refs/notes/gitmill:refs/notes/gitmill'", "gitmill fsck")  # fmt: skip
    return int(Exit.OK if found.holds else Exit.FAILED)


def _lines(found: Verified) -> list[str]:
    account = found.report
    lines = [_line("error", "fail", one) for one in account.faults]
    lines += [_line("unknown", "warn", one) for one in account.unknown]
    lines += [_line("notice", "muted", one) for one in account.notices]
    counts = [
        f"{account.commits} commits", f"{len(account.items)} items",
        f"{_of(found.landings, len(account.landings))} landings verified",
    ]  # fmt: skip
    if account.faults:
        counts.append(output.style(f"{len(account.faults)} errors", "fail"))
    if account.unknown:
        counts.append(output.style(f"{len(account.unknown)} cannot be checked here", "warn"))
    return [*lines, ", ".join(counts)]


def _of(part: int, whole: int) -> str:
    """Return how many of how many, or how many when that is all."""
    return str(part) if part == whole else f"{part} of {whole}"


def _line(word: str, role: str, one: Violation) -> str:
    head = output.style(f"{word}[{one.rule}]", role)
    return f"{head}: {one.commit[:10]} {f'{one.item}: ' if one.item else ''}{one.what}"
