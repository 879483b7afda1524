"""Which events of an item still count, and how it was before each: what an undo is held against."""

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
    """The events of a history so far, by item; documents are kept as ids only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._standing: dict[str, list[EventRecord]] = {}
        self._before: dict[str, str] = {}  # by event: the blob of the document before it

    def event(self, record: EventRecord, before: Entry | None) -> Item | None:
        """Take up an event; of an undo return the item as it was before what is taken back.

        None when what is named are not the last events that still count.
        """
        told = self._standing.setdefault(record.item, [])
        if UNDOES not in record.extra:
            told.append(record)
            self._before[record.id] = before.oid if before is not None else ""
            return None
        ids = record.extra[UNDOES].split()
        known = {one.id: one for one in told}
        if not ids or not told or ids[0] != told[-1].id or not known.keys() >= set(ids):
            return None
        self._standing[record.item] = [one for one in told if one.id not in ids]
        last = known[ids[0]]
        begun = last.event == Event.CREATED.value or "Reverts" in last.extra
        # what was created is cancelled as it stands
        oid = before.oid if begun and before is not None else self._before[ids[-1]]
        return self._item(record.item, oid)

    def _item(self, name: str, oid: str) -> Item | None:
        if not oid:
            return None
        data = self._backend.read(oid)[1]
        try:
            return read_item(Document.from_bytes(data, layout.item_path(name)))
        except BadDocumentError:
            return None
