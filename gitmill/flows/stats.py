"""Statistics: lead time, attempts, returns, usage and cost, by stage and agent."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gitmill.attempts.budget import day_budget
from gitmill.core.budget_rules import NOTHING, Spent, spent_in, tokens_of
from gitmill.core.lifecycle import Status
from gitmill.core.runlog import read_fields
from gitmill.flows import show
from gitmill.git import trees
from gitmill.git.objects import Backend
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot

_FIELDS = ("agent", "stage", "verdict", "exit", "usage", "cost", "seconds")
_RELEASED = frozenset({
    "rate-limited", "overloaded", "unauthorised", "unavailable", "cancelled",
})  # fmt: skip


@dataclass
class Row:
    """All attempts of one agent at one stage."""

    stage: str
    agent: str
    verdicts: Counter[str] = field(default_factory=Counter)  # pass, return …, and `released`
    exits: Counter[str] = field(default_factory=Counter)
    spent: Spent = NOTHING
    usage: Counter[str] = field(default_factory=Counter)

    def add(self, log: Mapping[str, Any]) -> None:
        """Count one run log."""
        released = log.get("exit") in _RELEASED
        self.verdicts["released" if released else str(log.get("verdict"))] += 1
        self.exits[str(log.get("exit"))] += 1
        self.spent += spent_in(log)
        usage = log.get("usage")
        if isinstance(usage, Mapping) and tokens_of(usage) is not None:
            self.usage.update({key: n for key, n in usage.items() if isinstance(n, int)})


@dataclass(frozen=True)
class Stats:
    """Counts of items by status, seconds from creation to landing, rows by stage and agent."""

    items: Mapping[str, int]
    lead: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def total(self) -> Spent:
        """Time, usage and cost of all attempts."""
        total = NOTHING
        for row in self.rows:
            total += row.spent
        return total

    def as_json(self) -> dict[str, Any]:
        """Return the form for `--json`."""
        rows = [
            {"stage": row.stage, "agent": row.agent, "verdicts": dict(row.verdicts),
             "exits": dict(row.exits), "usage": dict(row.usage), "spent": asdict(row.spent)}
            for row in self.rows
        ]  # fmt: skip
        return {"items": dict(self.items), "lead_time": self.lead_json(), "rows": rows,
                "total": asdict(self.total)}  # fmt: skip

    def lead_json(self) -> dict[str, Any] | None:
        """Return median and 90th percentile of the lead time in seconds; None without landings."""
        if not self.lead:
            return None
        ordered = sorted(self.lead)
        p90 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
        return {"count": len(ordered), "median": statistics.median(ordered), "p90": p90}


def today(mill: Mill) -> dict[str, Any]:
    """Return the day's cost against its budget; empty without a budget."""
    return day_budget(mill, show.read(mill))


def stats(mill: Mill) -> Stats:
    """Count all items and all attempts of the state."""
    snapshot, backend = show.read(mill), mill.store.backend
    items = snapshot.items.values()
    lead = tuple(
        max(0.0, (item.since - item.created).total_seconds())  # `since` is truncated to seconds
        for item in items
        if item.status is Status.LANDED
    )
    rows: dict[tuple[str, str], Row] = {}
    for log in _logs(backend, snapshot):
        if log.get("agent"):
            key = (str(log.get("stage")), str(log["agent"]))
            rows.setdefault(key, Row(*key)).add(log)
    counts = Counter(item.status.value for item in items)
    return Stats(counts, lead, tuple(rows[key] for key in sorted(rows)))


def _logs(backend: Backend, snapshot: Snapshot) -> Iterator[Mapping[str, Any]]:
    runs = trees.find(backend, snapshot.tree, "runs")
    for _, entry in trees.walk(backend, runs.oid) if runs else ():
        yield read_fields(backend.read(entry.oid)[1], *_FIELDS)
