"""The events of an item still in effect, and its documents around each, for checking an undo."""

from __future__ import annotations

from gitmill.core import undo_rules
from gitmill.core.audit.event import Undone
from gitmill.core.item import Item
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.errors import BadDocumentError
from gitmill.git.objects import Backend, read_commit
from gitmill.git.trees import Change
from gitmill.store.audit.replayed import Items, PastEvent
from gitmill.store.history import UNDOES


class Past:
    """The events of a history so far, by item."""

    def __init__(
        self, backend: Backend, items: Items, in_effect: dict[str, list[PastEvent]]
    ) -> None:
        self._backend = backend
        self._items = items
        self._in_effect = in_effect

    def event(self, commit: str, record: EventRecord, change: Change | None) -> Undone | None:
        """Add the event of a commit with its change of the item; for an undo return what it undoes.

        None if the undone events are not the last ones in effect.
        """
        events = self._in_effect.setdefault(record.item, [])
        if UNDOES not in record.extra:
            events.append(PastEvent(commit, blob(change, "old"), blob(change, "new")))
            return None
        return self._undone(record.extra[UNDOES].split(), record.item, events)

    def _undone(self, ids: list[str], item: str, events: list[PastEvent]) -> Undone | None:
        if not events:
            return None
        newest_first = [(e, record_of(self._backend, e.commit)) for e in reversed(events)]
        last, *earlier = [record for _, record in newest_first]
        records = (last, *undo_rules.together(last, earlier))
        if ids != [record.id for record in records]:
            return None
        first = next(event for event, record in newest_first if record is records[-1])
        after = self._item(item, events[-1].after)
        events[:] = [e for e, record in reversed(newest_first) if record not in records]
        return Undone(records, self._item(item, first.before), after) if after is not None else None

    def _item(self, name: str, oid: str) -> Item | None:
        try:
            return self._items.at(name, oid) if oid else None
        except BadDocumentError:
            return None


def record_of(backend: Backend, commit: str) -> EventRecord:
    """Return the record of a commit that is an event."""
    record = parse_message(read_commit(backend, commit).message)[1]
    assert record is not None, commit
    return record


def blob(change: Change | None, side: str) -> str:
    """Return the blob of a change's `old` or `new` side, empty for none."""
    entry = getattr(change, side) if change is not None else None
    return entry.oid if entry is not None else ""
