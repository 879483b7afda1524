"""The merge queue, derived from the `queued` items; it is not stored."""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.core.dependencies import unmet
from gitmill.core.item import Item
from gitmill.core.lifecycle import MET, Status


def order(items: Mapping[str, Item]) -> list[Item]:
    """Return the queue by priority, then age, with no item before a queued dependency."""
    waiting = sorted(
        (item for item in items.values() if item.status is Status.QUEUED),
        key=lambda item: (item.priority, item.created, item.id),
    )
    done = {item.id for item in items.values() if item.status in MET}
    queue: list[Item] = []
    while waiting:
        remaining = {item.id for item in waiting}
        chosen = (
            next((i for i in waiting if not set(i.after) - done), None)
            # the others wait for an item outside the queue
            or next((i for i in waiting if not set(i.after) & remaining), waiting[0])
        )
        queue.append(chosen)
        done.add(chosen.id)
        waiting.remove(chosen)
    return queue


def next_to_land(items: Mapping[str, Item]) -> Item | None:
    """Return the first queued item that can land now, None if there is none."""
    return next((item for item in order(items) if not unmet(items, item)), None)
