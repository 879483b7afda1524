"""The board: one read model behind `status`, the README of the branch and whatever shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.core.queue import order

SHOWN = (
    Status.RUNNING, Status.WAITING, Status.LANDING, Status.QUEUED,
    Status.APPROVED, Status.BLOCKED, Status.READY, Status.DRAFT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the board."""

    status: Status
    id: str
    stage: str
    title: str
    who: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Board:
    """Counts by status, open items in the order of attention, and what landed last."""

    counts: Mapping[Status, int]
    landed_today: int
    rows: tuple[Row, ...]
    landed: tuple[Row, ...]
    paused: str
    queue_paused: str


def build_board(
    items: Mapping[str, Item], *, now: datetime, paused: str = "", queue_paused: str = ""
) -> Board:
    """Return the board; `paused` and `queue_paused` are reasons, empty when it goes on."""
    line = {item.id: place for place, item in enumerate(order(items), 1)}
    rows = sorted(
        (_row(item, line) for item in items.values() if item.status in SHOWN),
        key=lambda row: (SHOWN.index(row.status), line.get(row.id, 0), row.since, row.id),
    )
    landed = sorted(
        (_row(item, line) for item in items.values() if item.status is Status.LANDED),
        key=lambda row: (row.since, row.id),
        reverse=True,
    )
    return Board(
        counts=Counter(item.status for item in items.values()),
        landed_today=sum(row.since.date() == now.date() for row in landed),
        rows=tuple(rows),
        landed=tuple(landed[:10]),
        paused=paused,
        queue_paused=queue_paused,
    )


def _row(item: Item, line: Mapping[str, int]) -> Row:
    who = item.lease.who if item.lease else ""
    if item.status is Status.WAITING:
        who = "for you"
    if item.status is Status.QUEUED:
        who = "next" if line.get(item.id) == 1 else f"number {line.get(item.id)}"
    return Row(item.status, item.id, item.stage, item.title, who, item.since, item.reason)


def age(since: datetime, now: datetime) -> str:
    """Return a short span of time: 48s, 6m, 2h, 3d."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def markdown(board: Board) -> str:
    """Draw the board for people who browse the branch."""
    counts = " · ".join(f"{board.counts[s]} {s.value}" for s in Status if board.counts.get(s))
    lines = ["# gitmill board", "", counts or "nothing yet", ""]
    if board.paused:
        lines += [f"**Paused:** {_cell(board.paused)}", ""]
    if board.queue_paused:
        lines += [f"**Queue paused:** {_cell(board.queue_paused)}", ""]
    for heading, rows in (("Open", board.rows), ("Landed", board.landed)):
        if rows:
            lines += [
                f"## {heading}",
                "",
                "| item | status | stage | title | |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| {row.id} | {row.status.value} | {row.stage} | {_cell(row.title)} "
                f"| {_cell(row.reason)} |"
                for row in rows
            ]
            lines.append("")
    lines.append("Written by gitmill; `git log` on this branch is the history of each item.")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
