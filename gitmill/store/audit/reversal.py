"""The events of an item still in effect, and the item before each, for checking an undo."""

from __future__ import annotations

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import Event
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git.objects import Backend, Entry
from gitmill.store import layout
from gitmill.store.history import UNDOES


class Past:
    """The events of a history so far, by item; documents are stored as blob ids only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._in_effect: dict[str, list[EventRecord]] = {}
        self._before: dict[str, str] = {}  # by event: the blob of the document before it

    def event(self, record: EventRecord, before: Entry | None) -> Item | None:
        """Add an event; for an undo return the item as it was before the undone events.

        None if the undone events are not the last ones in effect.
        """
        records = self._in_effect.setdefault(record.item, [])
        if UNDOES not in record.extra:
            records.append(record)
            self._before[record.id] = before.oid if before is not None else ""
            return None
        ids = record.extra[UNDOES].split()
        known = {each.id: each for each in records}
        if not ids or not records or ids[0] != records[-1].id or not known.keys() >= set(ids):
            return None
        self._in_effect[record.item] = [each for each in records if each.id not in ids]
        last = known[ids[0]]
        creation = last.event == Event.CREATED.value or "Reverts" in last.extra
        # the undo of a creation cancels the item and leaves its document as it is
        oid = before.oid if creation and before is not None else self._before[ids[-1]]
        return self._item(record.item, oid)

    def _item(self, name: str, oid: str) -> Item | None:
        if not oid:
            return None
        data = self._backend.read(oid)[1]
        try:
            return read_item(Document.from_bytes(data, layout.item_path(name)))
        except BadDocumentError:
            return None
