"""What one undo of an item undoes, and the change that it makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gitmill.core import changes
from gitmill.core.change import Change
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status, opposite
from gitmill.core.trailers import EventRecord

# Landings, also those that are disputed or were upheld: only the landing of a revert undoes them.
LANDINGS = frozenset({Event.LANDED.value, Event.DISPUTED.value, Event.UPHELD.value})
# The events that precede the claim when a revert is made in one move of the branch.
_BEGINNINGS = frozenset({Event.CREATED.value, Event.READIED.value, Event.REOPENED.value})


def together(last: EventRecord, earlier: Iterable[EventRecord]) -> Iterator[EventRecord]:
    """Yield the earlier events that are undone along with the last one, newest first.

    `earlier` are the item's events in effect before it, newest first.
    """
    is_revert = bool(last.extra.get("Reverts"))
    if not is_revert and (
        last.status_before != Status.RUNNING.value or last.event == Event.EDITED.value
    ):
        return
    claimed = False
    for record in earlier:
        if claimed and record.event not in _BEGINNINGS:
            return
        if record.event != Event.EDITED.value:
            yield record
        claimed = claimed or record.event == Event.CLAIMED.value
        if claimed and not is_revert:
            return


def undoing_event(first: EventRecord, last: EventRecord) -> Event | None:
    """Return the event that leads back to the status before `first`, None if there is none."""
    if last.extra.get("Reverts"):
        return Event.CANCELLED
    try:
        at = Status(first.status_before) if first.status_before else None
        return opposite(Event(last.event), at, Status(last.to))
    except ValueError:  # a commit by hand can hold any text
        return None


def undoing(
    records: Sequence[EventRecord], before: Item | None, after: Item, *, event: Event
) -> Change:
    """Return the change that undoes events, newest first, by their opposite `event`.

    `before` is the item as it was before the first of them, `after` the one after the last.
    """
    first, last = records[-1], records[0]
    if last.event == Event.CREATED.value or last.extra.get("Reverts") or before is None:
        at = Status(first.status_before) if first.status_before else None
        return changes.undone_creation(event, at)
    return changes.undone(before, after, event=event, attempt=first is not last)


def is_free(last: EventRecord, item: Item, *, by: str) -> bool:
    """Whether a person may undo an item's last event: nobody else, and no process, holds it."""
    if last.event == Event.LAND_STARTED.value:
        return False
    if last.event != Event.CLAIMED.value:
        return True
    return item.lease is not None and not item.lease.pid and item.lease.who == by
