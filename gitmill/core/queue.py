"""The merge queue, derived from the `queued` items; it is not stored."""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.core.dependencies import unmet
from gitmill.core.item import MOVED, Item
from gitmill.core.lifecycle import MET, Status

FIRST = 3  # landings lost to a target that moved, after which an item goes first


def order(items: Mapping[str, Item]) -> list[Item]:
    """Return the queue in its order, with no item before a queued dependency.

    Items that have lost `FIRST` landings to a moving target go first; then by priority, then age.
    """
    waiting = sorted(
        (item for item in items.values() if item.status is Status.QUEUED),
        key=lambda item: (item.count(MOVED) < FIRST, item.priority, item.created, item.id),
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
