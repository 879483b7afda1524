"""The board: the read model behind `status` and the README of the state branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gitmill.core.lifecycle import Status
from gitmill.core.shown_text import in_markdown

if TYPE_CHECKING:
    from gitmill.core.item import Item

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
    """Counts by status, open items by urgency, and the items that landed last."""

    counts: Mapping[Status, int]
    landed_on: Mapping[str, int]  # by day in UTC, such as 2026-01-31
    rows: tuple[Row, ...]
    landed: tuple[Row, ...]
    paused: str
    queue_paused: str
    moving: str  # why a queued item keeps losing its landings to the target; empty if none does

    def landed_today(self, now: datetime) -> int:
        """Return the number of items that landed on the day of `now`."""
        return self.landed_on.get(_day(now), 0)


def build_board(items: Mapping[str, Item], *, paused: str = "", queue_paused: str = "") -> Board:
    """Return the board; `paused` and `queue_paused` are reasons, empty if not paused."""
    from gitmill.core.queue import order  # noqa: PLC0415  (a stored board needs no items)

    positions = {item.id: position for position, item in enumerate(order(items), 1)}
    rows = sorted(
        (_row(item, positions) for item in items.values() if item.status in SHOWN),
        key=lambda row: (SHOWN.index(row.status), positions.get(row.id, 0), row.since, row.id),
    )
    landed = sorted(
        (_row(item, positions) for item in items.values() if item.status is Status.LANDED),
        key=lambda row: (row.since, row.id),
        reverse=True,
    )
    return Board(
        counts=dict(Counter(item.status for item in items.values())),
        landed_on=dict(Counter(_day(row.since) for row in landed)),
        rows=tuple(rows),
        landed=tuple(landed[:10]),
        paused=paused,
        queue_paused=queue_paused,
        moving=moving_target(items.values()),
    )


def moving_target(items: Iterable[Item]) -> str:
    """Return why a queued item keeps losing its landings to a moving target; empty if none does."""
    from gitmill.core.item import MOVED  # noqa: PLC0415  (a stored board needs no items)
    from gitmill.core.queue import FIRST  # noqa: PLC0415  (as above)

    lost = [i for i in items if i.status is Status.QUEUED and i.count(MOVED) >= FIRST]
    if not lost:
        return ""
    item = max(lost, key=lambda item: (item.count(MOVED), item.id))
    return (
        f"{item.id} lost {item.count(MOVED)} landings; at the last one {item.reason}; "
        f"make its checks quicker, or let the target rest and `gitmill queue land {item.id}`"
    )


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d}"


def _row(item: Item, positions: Mapping[str, int]) -> Row:
    who = item.lease.who if item.lease else ""
    if item.status is Status.WAITING:
        who = "for you"
    if item.status is Status.QUEUED:
        who = "next" if positions.get(item.id) == 1 else f"number {positions.get(item.id)}"
    return Row(item.status, item.id, item.stage, item.title, who, item.since, item.reason)


def to_json(board: Board) -> dict[str, Any]:
    """Return the board as JSON for `from_json` to read."""
    values = asdict(board)
    for row in (*values["rows"], *values["landed"]):
        row["since"] = row["since"].isoformat()
    return values


def from_json(values: Mapping[str, Any]) -> Board:
    """Read a board that `to_json` wrote. Raises `KeyError`, `TypeError` or `ValueError`."""

    def rows(name: str) -> tuple[Row, ...]:
        return tuple(
            Row(**row | {"status": Status(row["status"]),
                         "since": datetime.fromisoformat(row["since"])})
            for row in values[name]
        )  # fmt: skip

    return Board(
        counts={Status(name): count for name, count in values["counts"].items()},
        landed_on=dict(values["landed_on"]),
        rows=rows("rows"),
        landed=rows("landed"),
        paused=str(values["paused"]),
        queue_paused=str(values["queue_paused"]),
        moving=str(values["moving"]),
    )


def age(since: datetime, now: datetime) -> str:
    """Return the time since then in short form: 48s, 6m, 2h, 3d."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def markdown(board: Board) -> str:
    """Return the board as Markdown, for people who browse the branch."""
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
                f"| {row.id} | {row.status.value} | {_cell(row.stage)} | {_cell(row.title)} "
                f"| {_cell(row.reason)} |"
                for row in rows
            ]
            lines.append("")
    lines.append("Written by gitmill; `git log` on this branch is the history of each item.")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return in_markdown(" ".join(text.split())).replace("|", "\\|")
