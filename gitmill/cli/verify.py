"""`gitmill fsck`, `gitmill anchor`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gitmill.cli import output, session
from gitmill.errors import Exit, UsageError
from gitmill.hints import Gitmill, Hint, Shell

if TYPE_CHECKING:
    from gitmill.history.fsck import Verified
    from gitmill.store.audit.report import Violation

verbs = typer.Typer(add_completion=False, no_args_is_help=True)


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def fsck(
    commits: Annotated[
        str,
        typer.Argument(
            help="Report on these state commits only: what comes after A, up to B.",
            metavar="[A..B]",
        ),
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since",
            help="Only what came after the landing whose note is on this commit of the target.",
            metavar="NOTE",
        ),
    ] = "",
    *,
    again: Annotated[
        bool, typer.Option("--all", help="Also what an earlier fsck has verified here.")
    ] = False,
) -> int:
    """Verify the whole history offline: every event, landing, note and ref."""
    from gitmill.flows.fsck import fsck as fsck_flow

    if commits and since:
        raise UsageError(
            "a range and --since exclude each other",
            hints=[Hint("give one of them:", Gitmill("fsck", "--since", since))],
        )
    folder = Path(output.settings.directory)
    result = fsck_flow(folder, commits=commits, since=since, again=again)
    output.answer(_lines(result), result.as_json())
    bad = [*result.report.faults, *result.report.unknown]
    if result.report.faults:
        commit, item = bad[0].commit[:10], bad[0].item
        output.next_step(Gitmill("log", item) if item in result.report.items else Gitmill("log"),
                         Shell(f"git show {commit}"))  # fmt: skip
    elif bad and all(one.what.startswith("anchor ") for one in bad):
        output.next_step(*_KEYRING)
    elif bad:
        refs = "'refs/gitmill/work/*:refs/gitmill/work/*' 'refs/notes/gitmill:refs/notes/gitmill'"
        output.next_step(Shell(f"git fetch origin {refs}"), Gitmill("fsck"))
    return int(Exit.OK if result.holds else Exit.FAILED)


@verbs.command()
def anchor(
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
) -> None:
    """Sign a tag of the state branch, so that no rewritten history can pass for it."""
    from gitmill.flows.anchor import anchor as anchor_flow

    mill = session.mill()
    made = anchor_flow(mill, message)
    entry = {"ref": made.ref, "tag": made.tag, "commit": made.commit}
    output.answer([made.ref], entry | {"verified": not made.problem})
    output.print_line(f"signed {made.commit[:10]}, the newest state commit")
    if made.problem:
        output.print_line(f"warning: this clone cannot verify it: {made.problem}")
        output.next_step(*_KEYRING)
    elif remote := next(iter(mill.repository.remotes), ""):
        output.next_step(Shell(f"git push {shlex.quote(remote)} {made.ref}"))


_KEYRING = (Shell("git config gpg.ssh.allowedSignersFile FILE"), Gitmill("fsck"))


def _lines(result: Verified) -> list[str]:
    report = result.report
    lines = [_line("error", "fail", one) for one in report.faults]
    lines += [_line("unknown", "warn", one) for one in report.unknown]
    lines += [_line("notice", "muted", one) for one in report.notices]
    counts = [_counted(report.commits, "commit", result.commits)]
    if result.before:
        counts[0] += f" ({result.before} verified before)"
    if not result.is_partial:
        counts.append(_counted(len(report.items), "item"))
    counts.append(f"{_counted(len(report.landed), 'landing', result.landings)} verified")
    if result.is_partial:
        after, upto = result.range.after[:10], result.range.upto[:10]
        counts.append(" ".join([*([f"after {after}"] if after else []), f"up to {upto}"]))
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
