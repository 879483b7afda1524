"""Dependencies between items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gitmill.core.item import Item
from gitmill.core.lifecycle import MET, Status
from gitmill.errors import BadDependencyError
from gitmill.hints import Gitmill, Hint


def check_after(items: Mapping[str, Item], item_id: str, after: Iterable[str]) -> None:
    """Raise `BadDependencyError` when a dependency is unknown or closes a cycle."""
    for other in after:
        if other not in items:
            raise BadDependencyError(
                f"{item_id} cannot come after {other}: there is no such item",
                hints=[Hint("see all with", Gitmill("task", "list"))],
            )
        path = _path(items, other, item_id)
        if path:
            raise BadDependencyError(
                f"{item_id} cannot come after {other}: they would wait for each other",
                evidence=[" after ".join([item_id, *path])],
                hints=[Hint("see", Gitmill("task", "show", other))],
            )


def _path(items: Mapping[str, Item], start: str, wanted: str) -> list[str]:
    """Return a chain of dependencies from `start` to `wanted`, empty if there is none."""
    chains: list[list[str]] = [[start]]
    seen = {start}
    while chains:
        chain = chains.pop()
        if chain[-1] == wanted:
            return chain
        item = items.get(chain[-1])
        for other in item.after if item else ():
            if other not in seen:
                seen.add(other)
                chains.append([*chain, other])
    return []


def unmet(items: Mapping[str, Item], item: Item) -> Sequence[str]:
    """Return the unmet dependencies; an unknown one is never met."""
    return [o for o in item.after if o not in items or items[o].status not in MET]


def never_met(items: Mapping[str, Item], item: Item) -> Sequence[str]:
    """Return the cancelled dependencies; the item would wait for them forever."""
    return [o for o in item.after if o in items and items[o].status is Status.CANCELLED]
