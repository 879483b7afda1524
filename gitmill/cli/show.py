"""Items, events and the board as lines of text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gitmill.cli.output import seconds, style, word
from gitmill.core.lifecycle import Status

if TYPE_CHECKING:
    from gitmill.core.board import Board
    from gitmill.core.document import Document
    from gitmill.core.item import Item
    from gitmill.store.history import Entry

MOVING = "target keeps moving"  # before the reason why a queued item keeps losing its landings


def item_lines(item: Item, logs: Sequence[Document]) -> list[str]:
    """Return a task as lines."""
    lines = [f"{style(item.id, 'accent')}  {item.title}"]
    at = f" at {item.stage}" if item.stage and not item.is_final else ""
    lines.append(
        f"{word(item.status.value)}{at}   priority {item.priority}   risk {item.risk.value}"
    )
    if item.reason:
        lines.append(f"  {item.reason}")
    if item.lease:
        lines.append(f"  held by {item.lease.who} until {item.lease.until:%Y-%m-%d %H:%M} UTC")
    for label, values in (
        ("after", item.after), ("paths", item.paths), ("labels", item.labels),
        ("criteria", item.criteria), ("script", tuple(item.script.splitlines())),
        ("fixes", (item.fixes_check,) if item.fixes_check else ()),
    ):  # fmt: skip
        lines += [f"{label:>9}  {value}" if n == 0 else f"{'':>9}  {value}"
                  for n, value in enumerate(values)]  # fmt: skip
    if item.landed:
        lines.append(f"{'landed':>9}  {item.landed}")
    if item.document.body.strip():
        lines += ["", *(f"  {line}" for line in item.document.body.strip().splitlines())]
    if logs:
        lines.append("")
    for log in logs:
        lines += run_lines(log)
    return lines


def run_lines(log: Document) -> list[str]:
    """Return one run log as lines: a head, and its findings below it."""
    number, stage = log.value("number", 0), str(log.text_value("stage", ""))
    took = seconds(float(log.value("seconds", 0)))
    verdict = str(log.text_value("verdict", ""))
    head = f"  {number:>3}  {stage:<12} {word(verdict, 10)} {took:>6}  {log.text_value('by', '')}"
    lines = [f"{head}   {log.text_value('summary', '')}"]
    for finding in log.value("findings") or []:
        message = str(finding.get("message", "")).splitlines()
        if len(message) > 6:
            message = [message[0], "…", *message[-4:]]  # the reason comes last
        lines += [f"       {line}" for line in message]
    return lines


def run_json(log: Document) -> dict[str, Any]:
    """Return one run log as JSON."""
    return {key: log.value(key) for key in log.fields} | {"path": log.path}


def board_lines(board: Board, now: datetime, notes: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Return the board as lines of `status`; `notes` are facts of this machine."""
    from gitmill.core.board import age

    shown = (Status.READY, Status.RUNNING, Status.WAITING, Status.QUEUED, Status.BLOCKED)
    counts = [
        f"{s.value} {board.counts.get(s, 0)}"
        for s in shown
        if board.counts.get(s) or s is not Status.BLOCKED
    ]
    lines = ["   ".join([*counts, f"landed today {board.landed_today(now)}"])]
    stops = (
        ("paused", board.paused), ("queue paused", board.queue_paused),
        (MOVING, board.moving),
    )  # fmt: skip
    for label, reason in (*stops, *notes):
        if reason:
            lines.append(f"{style(label, 'warn')}: {reason}")
    if board.rows:
        lines.append("")
    for row in board.rows:
        stage = row.stage if row.status not in (Status.QUEUED, Status.APPROVED) else ""
        who = row.who.partition(" <")[0].partition("@")[0]
        lines.append(
            f"  {word(row.status.value, 8)}  {row.id}  {stage:<10}  {_fit(row.title, 40):<40}  "
            f"{who:<8}  {age(row.since, now)}"
        )
        if row.reason and row.status in (Status.WAITING, Status.BLOCKED, Status.READY):
            lines.append(f"            {style(row.reason, 'muted')}")
    return lines


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def board_json(board: Board, now: datetime) -> dict[str, Any]:
    """Return the board as JSON."""
    rows = [
        {"id": r.id, "status": r.status.value, "stage": r.stage, "title": r.title, "who": r.who,
         "since": r.since.isoformat().replace("+00:00", "Z"), "reason": r.reason}
        for r in board.rows
    ]  # fmt: skip
    counts = {status.value: board.counts.get(status, 0) for status in Status}
    return {
        "counts": counts, "landed_today": board.landed_today(now), "items": rows,
        "paused": board.paused, "queue_paused": board.queue_paused,
        "moving": board.moving or None,
    }  # fmt: skip


def entry_line(entry: Entry) -> str:
    """Return one event as a line."""
    when = datetime.fromtimestamp(entry.seconds, UTC).strftime("%Y-%m-%d %H:%M")
    by = entry.record.by if entry.record else entry.author
    who = by.partition(" <")[0].partition("@")[0]
    return f"{entry.commit[:10]}  {when}  {who:<10.10}  {entry.subject}"


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return one event as JSON."""
    data: dict[str, Any] = {"commit": entry.commit, "seconds": entry.seconds}
    data |= {"author": entry.author, "subject": entry.subject}
    if entry.record is None:
        return data | {"event": None}
    record = entry.record
    return data | {
        "event": record.event, "id": record.id, "item": record.item, "after": record.after,
        "from": record.status_before, "to": record.to, "stage": record.stage, "by": record.by,
        "claim": record.claim, "plan": record.plan, "evidence": record.evidence,
        **{key.lower(): value for key, value in record.extra.items()},
    }  # fmt: skip
