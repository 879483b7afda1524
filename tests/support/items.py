"""Items and plans for tests of the rules, read and compiled as everywhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.config import parse_policy
from gitmill.config.values import Permission, When
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.plans.compile import AgentFacts, compile_plan
from gitmill.core.plans.loop import read_loop
from gitmill.core.plans.mode import Mode
from gitmill.core.plans.plan import FrozenPlan

SHIPPED = Path(__file__).parents[2] / "gitmill/loops"
FIELDS: dict[str, Any] = {
    "id": "t-k3f9x",
    "kind": "task",
    "title": "Fix the parser",
    "status": "ready",
    "event": "e0",
    "created": "2026-01-02T03:04:05.678Z",
    "since": "2026-01-02T03:04:05Z",
}
LEASE = {"claim": "c1", "who": "shell@host", "until": "2026-01-02T04:00:00Z"}


def document(body: str = "", **fields: Any) -> Document:
    """Return the document of an item; a field that is None is left out."""
    return Document.new(FIELDS | fields, body, "tasks/k3/t-k3f9x.md")


def item(name: str = "t-k3f9x", **fields: Any) -> Item:
    """Return an item."""
    return read_item(document(id=name, **fields))


def by_id(*items: Item) -> dict[str, Item]:
    """Return items as the rules take them."""
    return {item.id: item for item in items}


@cache
def deliver(
    policy: str = "",
    *,
    gate: When = When.HIGH_RISK,
    more: tuple[tuple[str, str], ...] = (),
    optional: bool = False,
) -> FrozenPlan:
    """Compile the shipped loop for tasks; `more` adds or replaces files of it.

    Its optional stages are part of it only when asked for.
    """
    files = {path.name: path.read_text() for path in (SHIPPED / "deliver").iterdir()} | dict(more)
    loop = read_loop("deliver", files, all_types())
    roles = {
        stage.role: ("any",) for stage in loop.stages if stage.role and optional >= stage.optional
    }
    return compile_plan(
        mode=Mode("test", "modes/test.md", roles, {"approve": gate}),
        loops={"deliver": loop},
        policy=parse_policy(policy),
        agents={"any": AgentFacts("any", frozenset(Permission))},
        types=all_types(),
        kind=Kind.TASK,
    )
