"""The event that an undo applies to, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.core import undo_rules
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event
from gitmill.core.trailers import EventRecord
from gitmill.errors import CannotUndoError, LeasedError
from gitmill.git import trees
from gitmill.hints import Blank, Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.store import layout
from gitmill.store.history import Entry, entries, in_effect
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.leases import has_lapsed


@dataclass(frozen=True, slots=True)
class UndoTarget:
    """The events that one undo undoes: the last one, and those that belong to it.

    `first` is the claim of the attempt that ended with the last event, else the last event itself.
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
        """Whether it is a landing, which only the landing of a revert can undo."""
        return self.record.event in undo_rules.LANDINGS


def target_for_item(mill: Mill, item_id: str) -> UndoTarget:
    """Return what an undo of an item undoes.

    Raises `CannotUndoError` when there is no such event, and `LeasedError` while someone else
    works on the item.
    """
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    history = in_effect(entries(mill.store.backend, snapshot.commit, item_id))
    last = next(history, None)
    if last is None:
        raise CannotUndoError(
            f"{item_id} has no event left to undo",
            hints=[Hint("see its whole history with", Gitmill("log", item_id))],
        )
    assert last.record is not None
    _refuse(mill, item, last.record, last.subject)
    events = [last, *_together(last.record, history)]
    _refuse_hand_edit(mill, snapshot, item_id, last)
    ids = tuple(entry.record.id for entry in events if entry.record)
    return UndoTarget(last, events[-1], ids)


def target_for_person(mill: Mill) -> UndoTarget:
    """Return what an undo without an id undoes: the newest own event that can be undone.

    Own events are this person's and those recorded on this machine. Raises `CannotUndoError`.
    """
    skipped = ""
    for entry in _own_events(mill):
        assert entry.record is not None
        item_id = entry.record.item
        if not item_id:
            return UndoTarget(entry, entry, (entry.record.id,))
        try:
            target = target_for_item(mill, item_id)
        except (CannotUndoError, LeasedError):
            skipped = skipped or entry.subject
            continue
        if target.landed and skipped:
            # A landing is never reverted as a second choice: it has to be named.
            raise CannotUndoError(
                "your last event cannot be undone, and the one before it is a landing",
                evidence=[skipped, target.last.subject],
                hints=[Hint("name it to revert it:", Gitmill("undo", item_id))],
            )
        return target
    raise CannotUndoError(
        "none of your last events can be undone",
        hints=[Hint("name an item:", Gitmill("undo", Blank("ID")))],
    )


def _own_events(mill: Mill) -> Iterator[Entry]:
    """Yield own pauses, resumes and each item's last event if it is an own one, newest first."""
    seen: set[str] = set()
    for entry in in_effect(entries(mill.store.backend, mill.snapshot().commit)):
        assert entry.record is not None
        record = entry.record
        if record.item in seen:
            continue
        if record.item:
            seen.add(record.item)
        elif record.event not in control.CONTROL_EVENTS:
            continue
        if record.by == mill.person or record.by.endswith(f"@{mill.host}"):
            yield entry


def _together(last: EventRecord, earlier: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the earlier entries that are undone along with the last one, newest first."""
    entry_of: dict[str, Entry] = {}

    def records() -> Iterator[EventRecord]:
        for entry in earlier:
            assert entry.record is not None
            entry_of[entry.record.id] = entry
            yield entry.record

    return (entry_of[record.id] for record in undo_rules.together(last, records()))


def _refuse(mill: Mill, item: Item, last: EventRecord, subject: str) -> None:
    """Raise `LeasedError` or `CannotUndoError` when the last event cannot be undone."""
    event = last.event
    if event == Event.LAND_STARTED.value:
        raise LeasedError(
            f"{item.id} is being landed", evidence=_holder(item),
            hints=[Hint("wait for the landing to end; watch it with", Gitmill("queue"))],
        )  # fmt: skip
    if event == Event.CLAIMED.value:
        lease = item.lease
        if lease is not None and lease.pid:
            dead = has_lapsed(mill, lease)
            raise LeasedError(
                f"{item.id} is being worked on", evidence=_holder(item),
                hints=[Hint("its process is dead, so run", Gitmill("recover")) if dead
                       else Hint("end it with", Gitmill("stop"))],
            )  # fmt: skip
        if lease is None or lease.who != mill.person:
            raise LeasedError(
                f"{item.id} is taken by someone else", evidence=_holder(item),
                hints=[Hint("see", Gitmill("task", "show", item.id))],
            )  # fmt: skip
    if event not in undo_rules.LANDINGS and undo_rules.undoing_event(last, last) is None:
        raise cannot_undo(item, last, subject)


def _holder(item: Item) -> list[str]:
    return [f"{item.lease.who} holds it"] if item.lease else []


def cannot_undo(item: Item, last: EventRecord, subject: str) -> CannotUndoError:
    """Return the error for an event without an opposite."""
    return CannotUndoError(
        f"the last event of {item.id} is {last.event}, which cannot be undone",
        evidence=[subject],
        hints=[_instead(item, last.event)],
    )


def _instead(item: Item, event: str) -> Hint:
    """Return the hint on what a person can do instead of undoing an event."""
    if event == Event.LAND_ABORTED.value:
        return Hint("remove it from the queue with", Gitmill("queue", "remove", item.id))
    if event in (Event.REVERTED.value, Event.FINISHED.value):
        return Hint("reopen it with", Gitmill("task", "reopen", item.id))
    if event in (Event.LAPSED.value, Event.RELEASED.value):
        return Hint("block it with", Gitmill("task", "block", item.id, "-m", Blank("WHY")))
    return Hint("see", Gitmill("task", "show", item.id))


def _refuse_hand_edit(mill: Mill, snapshot: Snapshot, item_id: str, last: Entry) -> None:
    """Raise `CannotUndoError` when a commit by hand changed the document after the event."""
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
                hints=[Hint("see", Shell(f"git log -p gitmill/state -- {path}"))],
            )
