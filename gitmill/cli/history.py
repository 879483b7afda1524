"""History: events, attempts, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gitmill.cli import output, session
from gitmill.cli.output import live_line
from gitmill.errors import NothingToDoError, UsageError
from gitmill.hints import Gitmill, Hint

if TYPE_CHECKING:
    from gitmill.core.budget_rules import Spent
    from gitmill.flows.stats import Row, Stats
    from gitmill.mill import Mill

verbs = typer.Typer(add_completion=False, no_args_is_help=True)
attempt = typer.Typer(add_completion=False, no_args_is_help=False, help="Attempts.")


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@verbs.command()
def log(
    item_id: Annotated[str, typer.Argument(help="Only this item.", metavar="[ID]")] = "",
    limit: Annotated[
        int,
        typer.Option("-n", "--limit", min=0, help="At most N events; 0 is no limit.", metavar="N"),
    ] = 0,
    *,
    live: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the running agents of this machine.")
    ] = False,
) -> None:
    """Show the history of an item, or of everything: newest first."""
    from gitmill.cli.show import entry_json, entry_line
    from gitmill.flows import show

    mill = session.mill()
    snapshot = show.read(mill)
    item = snapshot.resolve(item_id).id if item_id else ""
    if live:
        _follow(mill, item)
        return
    events = show.events(mill, snapshot, item=item, limit=limit)
    output.answer(
        [entry_line(e) for e in events], lambda: {"events": [entry_json(e) for e in events]}
    )


def _follow(mill: Mill, item: str) -> None:
    """Print the actions of running attempts, one per line, until they end."""
    from gitmill.flows.attempts import follow

    lines = 0
    for entry in follow(mill, item):
        lines += 1
        output.line(live_line(entry), entry)
    if not lines:
        what = f"no attempt at {item} is running here" if item else "nothing is running here"
        hint = (
            Hint("start one with", Gitmill("run", item))
            if item
            else Hint("start with", Gitmill("run"))
        )
        raise NothingToDoError(what, hints=[hint])


@verbs.command()
def stats() -> None:
    """Show lead time, attempts, returns, usage and cost by stage and agent."""
    from gitmill.flows.stats import stats as stats_flow
    from gitmill.flows.stats import today as today_flow

    mill = session.mill()
    result = stats_flow(mill)
    today = {} if output.past else today_flow(mill)
    lines = _lines(result) + ([f"budget today: {today['told']}"] if today else [])
    output.answer(lines, result.as_json() | {"budget": today or None})


def _lines(result: Stats) -> list[str]:
    items = "   ".join(f"{status} {count}" for status, count in sorted(result.items.items()))
    lines = [items or "no items yet"]
    if lead := result.lead_json():
        median, p90 = output.seconds(lead["median"]), output.seconds(lead["p90"])
        landed = f"({lead['count']} landed)"
        lines.append(f"lead time   median {median}   90% within {p90}   {landed}")
    if not result.rows:
        return lines
    heads = ("stage", "agent", "passed", "returned", "failed", "other", "released", "time",
             "tokens", "cost")  # fmt: skip
    rows = [heads, *(_cells(row) for row in result.rows)]
    rows.append(("total", *[""] * 6, *_spent(result.total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [*lines, "", *(_aligned(row, widths) for row in rows)]


def _cells(row: Row) -> tuple[str, ...]:
    named = ("pass", "return", "fail", "released")
    others = sum(count for verdict, count in row.verdicts.items() if verdict not in named)
    counts = [row.verdicts[verdict] for verdict in named[:3]] + [others, row.verdicts["released"]]
    return (row.stage, row.agent, *(str(count or "") for count in counts), *_spent(row.spent))


def _spent(spent: Spent) -> tuple[str, str, str]:
    """Return time, tokens and cost; unknown costs are counted."""
    tokens = f"{spent.tokens:,}" if spent.tokens else ""
    cost = f"${spent.cost:.2f}" if spent.attempts > spent.unpriced else ""
    if spent.unpriced:
        cost = f"{cost} + {spent.unpriced} unknown" if cost else "unknown"
    return output.seconds(spent.seconds), tokens, cost


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if number < 2 or number == len(row) - 1 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


@attempt.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List attempts when no verb is given."""
    if context.invoked_subcommand is None:
        list_attempts()


@attempt.command("list")
def list_attempts(
    item_id: Annotated[str, typer.Argument(help="The item.", metavar="[ID]")] = "",
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=0, help="At most N; 0 is no limit.", metavar="N")
    ] = 20,
) -> None:
    """List the last attempts and decisions, of one item or of all, the newest below."""
    from gitmill.cli.show import run_json, run_lines
    from gitmill.flows.attempts import attempts

    logs = attempts(session.mill(), item_id, limit=limit)
    lines = [f"{log.value('item')} {run_lines(log)[0]}" for log in logs]
    output.answer(lines, {"attempts": [run_json(log) for log in logs]})


@attempt.command("show")
def show_attempt(
    item_id: Annotated[str, typer.Argument(help="The item.", metavar="ID")],
    number: Annotated[
        int, typer.Argument(help="Number of the attempt; the last when left out.")
    ] = 0,
) -> None:
    """Show one attempt: its run log, and the agent's output if it is stored."""
    from gitmill.cli.show import run_json
    from gitmill.flows.attempts import logs_of, transcript

    mill = session.mill()
    item, run_logs = logs_of(mill, item_id)
    logs = {int(log.value("number", 0)): log for log in run_logs}
    wanted = number or max(logs, default=0)
    if wanted not in logs:
        known = f"1 to {max(logs)}" if logs else "none yet"
        raise UsageError(
            f"{item.id} has no attempt {wanted}; there are {known}",
            hints=[Hint(Gitmill("attempt", "list", item.id))],
        )
    text, path = transcript(mill, item.id, logs[wanted])
    lines = logs[wanted].text.splitlines()
    if text:
        lines += ["", f"output of the agent ({path})", "", *text.splitlines()]
    output.answer(lines, {"attempt": run_json(logs[wanted]), "transcript": text or None})
