"""What was and what is: the story, attempts one by one, all of them added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gitmill.cli import output, session
from gitmill.cli.output import live_line
from gitmill.errors import NothingToDoError, UsageError

if TYPE_CHECKING:
    from gitmill.core.budget_rules import Spent
    from gitmill.flows.stats import Row, Stats
    from gitmill.mill import Mill

verbs = typer.Typer(add_completion=False, no_args_is_help=True)
attempt = typer.Typer(add_completion=False, no_args_is_help=False, help="Attempts.")


@verbs.callback()
def _verbs() -> None:
    """Commands that are one word."""


@verbs.command()
def log(
    item_id: Annotated[str, typer.Argument(help="Only this item.", metavar="[ID]")] = "",
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=0, help="At most so many events; 0 is all.")
    ] = 0,
    *,
    live: Annotated[
        bool, typer.Option("-f", "--follow", help="Show what agents do here, as it happens.")
    ] = False,
) -> None:
    """Show the story of an item, or of everything: newest first."""
    from gitmill.cli.show import entry_json, entry_line
    from gitmill.flows import show

    here = session.mill()
    snapshot = show.read(here)
    item = snapshot.resolve(item_id).id if item_id else ""
    if live:
        _follow(here, item)
        return
    events = show.story(here, snapshot, item=item, limit=limit)
    output.answer([entry_line(e) for e in events], {"events": [entry_json(e) for e in events]})


def _follow(here: Mill, item: str) -> None:
    """Print what attempts do here, one line each, until they are over."""
    from gitmill.attempts.live_log import follow

    lines = 0
    for told in follow(here, item):
        lines += 1
        output.line(live_line(told), told)
    if not lines:
        what = f"nobody works on {item} here" if item else "nothing is running here"
        hint = f"begin with `gitmill run {item}`" if item else "begin with `gitmill run`"
        raise NothingToDoError(what, hints=[hint])


@verbs.command()
def stats() -> None:
    """Show what work took: lead time, attempts, returns, usage and cost by stage and agent."""
    from gitmill.attempts.budget import day_budget
    from gitmill.flows import show
    from gitmill.flows.stats import stats as stats_flow

    here = session.mill()
    snapshot = show.read(here)
    found = stats_flow(here.store.backend, snapshot)
    today = {} if output.past else day_budget(here, snapshot)
    lines = _lines(found) + ([f"budget today: {today['told']}"] if today else [])
    output.answer(lines, found.as_json() | {"budget": today or None})


def _lines(found: Stats) -> list[str]:
    items = "   ".join(f"{status} {count}" for status, count in sorted(found.items.items()))
    lines = [items or "no items yet"]
    if lead := found.lead_json():
        median, late = output.seconds(lead["median"]), output.seconds(lead["p90"])
        landed = f"({lead['count']} landed)"
        lines.append(f"lead time   median {median}   9 of 10 within {late}   {landed}")
    if not found.rows:
        return lines
    heads = ("stage", "agent", "passed", "returned", "failed", "else", "back", "time", "tokens",
             "cost")  # fmt: skip
    rows = [heads, *(_cells(row) for row in found.rows)]
    rows.append(("in all", *[""] * 6, *_spent(found.total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [*lines, "", *(_aligned(row, widths) for row in rows)]


def _cells(row: Row) -> tuple[str, ...]:
    told = ("pass", "return", "fail", "given back")
    others = sum(count for word, count in row.verdicts.items() if word not in told)
    counts = [row.verdicts[word] for word in told[:3]] + [others, row.verdicts["given back"]]
    return (row.stage, row.agent, *(str(count or "") for count in counts), *_spent(row.spent))


def _spent(spent: Spent) -> tuple[str, str, str]:
    """Return time, tokens and cost; what is not known of some attempts is said."""
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
    item_id: Annotated[str, typer.Argument(help="Of this item.", metavar="[ID]")] = "",
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=0, help="At most so many; 0 is all.")
    ] = 20,
) -> None:
    """List the last attempts and decisions, of one item or of all, the newest below."""
    from gitmill.cli.show import run_json, run_lines
    from gitmill.flows import show
    from gitmill.landing.evidence import run_logs

    snapshot = show.read(session.mill())
    items = [snapshot.resolve(item_id)] if item_id else snapshot.items.values()
    logs = [log for item in items for log in run_logs(snapshot, item)]
    logs.sort(key=lambda log: (str(log.value("started")), log.path))
    logs = logs[-limit:] if limit else logs
    lines = [f"{log.value('item')} {run_lines(log)[0]}" for log in logs]
    output.answer(lines, {"attempts": [run_json(log) for log in logs]})


@attempt.command("show")
def show_attempt(
    item_id: Annotated[str, typer.Argument(help="Of this item.", metavar="ID")],
    number: Annotated[int, typer.Argument(help="Which one; the last when left out.")] = 0,
) -> None:
    """Show one attempt: its run log, and what the agent printed as far as it is kept."""
    from gitmill.attempts import transcripts
    from gitmill.cli.show import run_json
    from gitmill.flows import show
    from gitmill.landing.evidence import run_logs

    here = session.mill()
    snapshot = show.read(here)
    item = snapshot.resolve(item_id)
    logs = {int(log.value("number", 0)): log for log in run_logs(snapshot, item)}
    wanted = number or max(logs, default=0)
    if wanted not in logs:
        known = f"1 to {max(logs)}" if logs else "none yet"
        raise UsageError(
            f"{item.id} has no attempt {wanted}; there are {known}",
            hints=[f"`gitmill attempt list {item.id}`"],
        )
    kept = transcripts.read(here, item.id)
    name = logs[wanted].path.rpartition("/")[2].removesuffix(".md") + ".txt"
    text = kept.get(name, "")
    lines = logs[wanted].text.splitlines()
    if text:
        lines += ["", f"what the agent printed ({_ref(item.id)}:{name})", ""]
        lines += text.splitlines()
    output.answer(lines, {"attempt": run_json(logs[wanted]), "transcript": text or None})


def _ref(item_id: str) -> str:
    from gitmill.store import layout

    return f"{layout.TRANSCRIPT}{item_id}"
