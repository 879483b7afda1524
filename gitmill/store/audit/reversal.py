"""The events of an item still in effect, and its documents around each, for checking an undo."""

from __future__ import annotations

from dataclasses import dataclass

from gitmill.core import undo_rules
from gitmill.core.audit.event import Undone
from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git.objects import Backend
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.history import UNDOES


@dataclass(frozen=True, slots=True)
class _Event:
    """An event in effect, and the blobs of its item's document around it, empty for none."""

    record: EventRecord
    before: str
    after: str


class Past:
    """The events of a history so far, by item; documents are stored as blob ids only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._in_effect: dict[str, list[_Event]] = {}

    def event(self, record: EventRecord, change: Change | None) -> Undone | None:
        """Add an event with its change of the item; for an undo return what it undoes.

        None if the undone events are not the last ones in effect.
        """
        events = self._in_effect.setdefault(record.item, [])
        if UNDOES not in record.extra:
            events.append(_Event(record, _blob(change, "old"), _blob(change, "new")))
            return None
        return self._undone(record.extra[UNDOES].split(), record.item, events)

    def _undone(self, ids: list[str], item: str, events: list[_Event]) -> Undone | None:
        if not events:
            return None
        last = events[-1]
        earlier = (event.record for event in reversed(events[:-1]))
        records = (last.record, *undo_rules.together(last.record, earlier))
        if ids != [record.id for record in records]:
            return None
        first = next(event for event in events if event.record is records[-1])
        events[:] = [event for event in events if event.record not in records]
        after = self._item(item, last.after)
        return Undone(records, self._item(item, first.before), after) if after is not None else None

    def _item(self, name: str, oid: str) -> Item | None:
        if not oid:
            return None
        try:
            data = self._backend.read(oid)[1]
            return read_item(Document.from_bytes(data, layout.item_path(name)))
        except BadDocumentError:
            return None


def _blob(change: Change | None, side: str) -> str:
    entry = getattr(change, side) if change is not None else None
    return entry.oid if entry is not None else ""
