"""Budgets: the costs of items and of the day, from run logs, compared with the policy.

The sum of the day up to a state commit is stored in `.git/gitmill/spent.json`, so that the next
run reads only later events. Without that file it reads the events of the day again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from gitmill import files
from gitmill.config import AttemptBudget, DayBudget, ItemBudget, Policy
from gitmill.core.budget_rules import (
    NOTHING,
    Allowance,
    Bounds,
    Spent,
    budget_exhausted,
    format_spent,
    spent_in,
)
from gitmill.core.item import Item
from gitmill.core.runlog import read_fields
from gitmill.errors import (
    DayBudgetError,
    GitmillError,
    ItemBudgetError,
    MissingObjectError,
    PlantedFileError,
)
from gitmill.git import trees
from gitmill.git.objects import Backend, read_commit
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.plans.policy import POLICY
from gitmill.store import layout
from gitmill.store.history import entries
from gitmill.store.snapshot import Snapshot

FILE = "spent.json"
_FIELDS = ("agent", "usage", "cost", "seconds")
SKEW = 3600.0  # seconds that the clocks of machines which share a state may differ


def allowance(mill: Mill, snapshot: Snapshot, policy: Policy, item: Item) -> Allowance:
    """Return the budget of the next attempt at an item.

    Raises `ItemBudgetError` or `DayBudgetError` when the attempt may not start.
    """
    budget, parts = policy.budget, []
    if bounds := _bounds(budget.attempt):
        parts.append(("attempt", bounds, NOTHING))
    if bounds := _bounds(budget.item):
        spent = spent_on(snapshot, item)
        if why := budget_exhausted(spent, bounds):
            raise ItemBudgetError(
                f"its budget is used up: {why}",
                hints=[Hint("give it a new one with", Gitmill("task", "retry", item.id))],
            )
        parts.append(("item", bounds, spent))
    if bounds := _bounds(budget.day):
        spent = spent_today(mill, snapshot)
        if why := budget_exhausted(spent, bounds):
            raise DayBudgetError(
                f"the budget of the day is used up: {why}",
                until=_midnight(mill.now()) + timedelta(days=1),
                hints=[
                    Hint("continue after midnight UTC with", Gitmill("run")),
                    Hint("or commit a larger `[budget.day]` to .gitmill/config.toml"),
                ],
            )
        parts.append(("day", bounds, spent))
    return Allowance(tuple(parts))


def day_budget(mill: Mill, snapshot: Snapshot) -> dict[str, Any]:
    """Return the day's cost and budget in the form of `status`; empty without a budget."""
    bounds = _bounds(_day(mill, snapshot))
    if not bounds:
        return {}
    spent = spent_today(mill, snapshot)
    return {"told": format_spent(spent, bounds), "used_up": budget_exhausted(spent, bounds) or None,
            "spent": asdict(spent), "bounds": asdict(bounds)}  # fmt: skip


def _day(mill: Mill, snapshot: Snapshot) -> DayBudget:
    """Return the day's budget; cheap if the policy has none or is broken."""
    from gitmill.config import parse_policy  # noqa: PLC0415  (pulls in tomllib)

    reader, ref = mill.repository.reader, mill.target_ref(snapshot)
    try:
        tip = reader.ref(ref)
        tree = read_commit(reader, tip).tree if tip else ""
        data = (trees.read_file(reader, tree, POLICY) if tree else None) or b""
        if b"budget" in data:
            return parse_policy(data.decode("utf-8", "replace"), source=POLICY).budget.day
    except GitmillError:  # any command that runs an item reports what is wrong with the policy
        pass
    return DayBudget()


def _bounds(budget: AttemptBudget | ItemBudget | DayBudget) -> Bounds:
    attempts = None if isinstance(budget, AttemptBudget) else budget.attempts
    return Bounds(tokens=budget.tokens, cost=budget.cost, attempts=attempts, seconds=budget.time)


def spent_on(snapshot: Snapshot, item: Item) -> Spent:
    """Return the cost of an item since the start of its budget."""
    spent = NOTHING
    for path in snapshot.files(layout.runs_folder(item.id)):
        number = path.rpartition("/")[2].partition("-")[0]
        if not number.isdigit() or int(number) > item.budget_after:
            spent += spent_in(read_fields(snapshot.read(path) or b"", *_FIELDS))
    return spent


def spent_today(mill: Mill, snapshot: Snapshot) -> Spent:
    """Return the cost of all attempts that ended since midnight UTC."""
    midnight = _midnight(mill.now())
    day, path = f"{midnight:%Y-%m-%d}", mill.repository.private / FILE
    tip, known = _stored_sum(mill, day)
    if tip == snapshot.commit:
        return known
    # Loading libgit2 pays off for the events of a whole day, not for a few.
    backend = mill.repository.reader if tip else mill.store.backend
    spent = _since(backend, snapshot.commit, tip, midnight.timestamp(), known)
    record = {"day": day, "tip": snapshot.commit, "spent": asdict(spent)}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(record).encode())
    return spent


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _stored_sum(mill: Mill, day: str) -> tuple[str, Spent]:
    """Return the state commit and the sum in the file; "" and nothing if it is of another day."""
    try:
        record = json.loads(files.read_regular(mill.repository.private / FILE))
        if record["day"] == day:
            return str(record["tip"]), Spent(**record["spent"])
    except (OSError, PlantedFileError, ValueError, KeyError, TypeError):
        pass
    return "", NOTHING


def _since(backend: Backend, at: str, tip: str, midnight: float, known: Spent) -> Spent:
    """Add up the events from a commit back to the one with a stored sum, else to midnight."""
    spent = NOTHING
    for entry in entries(backend, at):
        if entry.commit == tip:
            return spent + known
        if entry.seconds < midnight - SKEW:
            break
        if entry.record is not None and entry.record.evidence and entry.seconds >= midnight:
            try:
                spent += spent_in(read_fields(backend.read(entry.record.evidence)[1], *_FIELDS))
            except MissingObjectError:
                continue  # a partial clone: the cost of a missing run log is unknown
    return spent
