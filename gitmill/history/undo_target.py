"""Which event an undo would take back, and why none where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status, opposite
from gitmill.core.trailers import EventRecord
from gitmill.errors import CannotUndoError, LeasedError
from gitmill.git import trees
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.store import layout
from gitmill.store.history import Entry, entries, in_effect
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.leases import has_lapsed

# What a revert is made with, in one go with its claim and its approval.
_BEGINNINGS = frozenset({Event.CREATED.value, Event.READIED.value, Event.REOPENED.value})


@dataclass(frozen=True, slots=True)
class UndoTarget:
    """What an undo takes back: the last event, and those that only make sense with it.

    `first` is the claim that a worker's outcome began with, else the event itself.
    """

    last: Entry
    first: Entry
    ids: tuple[str, ...]

    @property
    def record(self) -> EventRecord:
        """The last event."""
        assert self.last.record is not None
        return self.last.record

    @property
    def landed(self) -> bool:
        """Whether it is a landing, which only another landing takes back."""
        return self.record.event == Event.LANDED.value


def last_of(mill: Mill, item_id: str) -> UndoTarget:
    """Return what an undo of an item takes back.

    Raises `CannotUndoError` when that is nothing, and `LeasedError` when somebody works on it.
    """
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    told = in_effect(entries(mill.store.backend, snapshot.commit, item_id))
    last = next(told, None)
    if last is None:
        raise CannotUndoError(
            f"nothing of {item_id} is left to undo",
            hints=[f"its whole story: `gitmill log {item_id}`"],
        )
    assert last.record is not None
    _refuse(mill, item, last.record, last.subject)
    together = [last, *_together(last.record, told)]
    _refuse_hands(mill, snapshot, item_id, last)
    ids = tuple(entry.record.id for entry in together if entry.record)
    return UndoTarget(last, together[-1], ids)


def last_of_all(mill: Mill) -> UndoTarget:
    """Return what an undo without a name takes back: the newest that one did oneself and can be.

    One's own is what this person said and what was done on this machine. Raises `CannotUndoError`.
    """
    snapshot, seen, passed = mill.snapshot(), set[str](), ""
    for entry in in_effect(entries(mill.store.backend, snapshot.commit)):
        assert entry.record is not None
        record = entry.record
        if record.item in seen:
            continue
        if record.item:
            seen.add(record.item)
        elif record.event not in control.STEERS:
            continue
        if record.by != mill.person and not record.by.endswith(f"@{mill.host}"):
            continue
        if not record.item:
            return UndoTarget(entry, entry, (record.id,))
        try:
            found = last_of(mill, record.item)
        except (CannotUndoError, LeasedError):
            passed = passed or entry.subject
            continue
        if found.landed and passed:
            # what is on the target is not taken back by a guess
            raise CannotUndoError(
                "your last event cannot be undone, and the one before it is a landing",
                evidence=[passed, found.last.subject],
                hints=[f"name it to take it back: `gitmill undo {record.item}`"],
            )
        return found
    raise CannotUndoError(
        "none of your last events can be undone", hints=["name an item: `gitmill undo ID`"]
    )


def _together(last: EventRecord, earlier: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the events that are taken back with the last one, newest first."""
    made = bool(last.extra.get("Reverts"))
    if not made and (
        last.status_before != Status.RUNNING.value or last.event == Event.EDITED.value
    ):
        return
    claimed = False
    for entry in earlier:
        assert entry.record is not None
        event = entry.record.event
        if claimed and event not in _BEGINNINGS:
            return
        if event != Event.EDITED.value:
            yield entry
        claimed = claimed or event == Event.CLAIMED.value
        if claimed and not made:
            return


def _refuse(mill: Mill, item: Item, last: EventRecord, subject: str) -> None:
    """Raise what keeps an event from being undone."""
    event = last.event
    if event == Event.LAND_STARTED.value:
        raise LeasedError(
            f"{item.id} is being landed", evidence=_holder(item),
            hints=["wait until that has ended: `gitmill queue`"],
        )  # fmt: skip
    if event == Event.CLAIMED.value:
        lease = item.lease
        if lease is not None and lease.pid:
            gone = has_lapsed(mill, lease)
            raise LeasedError(
                f"{item.id} is being worked on", evidence=_holder(item),
                hints=["its process is gone: `gitmill recover`" if gone
                       else "end it with `gitmill stop`"],
            )  # fmt: skip
        if lease is None or lease.who != mill.person:
            raise LeasedError(
                f"somebody else has taken {item.id}", evidence=_holder(item),
                hints=[f"see `gitmill task show {item.id}`"],
            )  # fmt: skip
    if not _leads_back(last):
        raise cannot(item, last, subject)


def _leads_back(last: EventRecord) -> bool:
    if last.event == Event.LANDED.value:
        return True
    try:
        at = Status(last.status_before) if last.status_before else None
        return opposite(Event(last.event), at, Status(last.to)) is not None
    except ValueError:  # a commit by hand can say anything
        return False


def _holder(item: Item) -> list[str]:
    return [f"{item.lease.who} holds it"] if item.lease else []


_HINTS = {
    Event.LAND_ABORTED: "take it out with `gitmill queue remove {id}`",
    Event.REVERTED: "begin it again with `gitmill task reopen {id}`",
    Event.FINISHED: "begin it again with `gitmill task reopen {id}`",
    Event.LAPSED: "take it out with `gitmill task block {id} -m WHY`",
    Event.RELEASED: "take it out with `gitmill task block {id} -m WHY`",
}


def cannot(item: Item, last: EventRecord, subject: str) -> CannotUndoError:
    """Return the error for an event that nothing leads back from."""
    hint = next(
        (text for event, text in _HINTS.items() if event.value == last.event),
        "see `gitmill task show {id}`",
    )
    return CannotUndoError(
        f"the last event of {item.id} is {last.event}, which cannot be undone",
        evidence=[subject],
        hints=[hint.format(id=item.id)],
    )


def _refuse_hands(mill: Mill, snapshot: Snapshot, item_id: str, last: Entry) -> None:
    """Raise `CannotUndoError` when a commit by hand has changed the document after the event."""
    backend, path = mill.store.backend, layout.item_path(item_id)
    for entry in entries(backend, snapshot.commit):
        if entry.commit == last.commit:
            return
        before = mill.store.parent(entry.commit)
        if entry.record is not None or before is None:
            continue
        if trees.find(backend, mill.tree_of(entry.commit), path) != trees.find(
            backend, mill.tree_of(before), path
        ):
            raise CannotUndoError(
                f"{item_id} was edited by hand since its last event",
                evidence=[f"{entry.commit[:10]} {entry.subject} ({entry.author})"],
                hints=[f"see `git log -p gitmill/state -- {path}`"],
            )
