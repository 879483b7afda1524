"""What holds an item back, although its status would allow an attempt or a landing."""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.core.dependencies import unmet
from gitmill.core.item import Item, is_revert_task
from gitmill.core.lifecycle import Event


def held_back(
    items: Mapping[str, Item], item: Item, event: Event, *, paused: bool, queue_paused: bool
) -> str:
    """Return why an attempt or a landing must not start now, empty if it may.

    A person's revert of a landing waits for nothing: it is the way out of what the pause is for.
    """
    if event is Event.LAND_STARTED:
        return "the queue is paused" if queue_paused else ""
    if event is not Event.CLAIMED or is_revert_task(item):
        return ""
    if paused:
        return "work is paused"
    waits_for = unmet(items, item)
    return f"it comes after {waits_for[0]}, which is not done yet" if waits_for else ""
