"""Undo: append the opposite of an item's last event, so that it stands as it did before that.

Nothing is removed. An undo names the events that it takes back, and those and the undo itself do
not count any more: the next undo of the item goes one event further back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gitmill.core.graph import check_after
from gitmill.core.item import Item, value_of
from gitmill.core.lifecycle import Event, Status, opposite
from gitmill.core.trailers import EventRecord
from gitmill.errors import CannotUndoError, LeasedError
from gitmill.flows.rescue import keep_commit
from gitmill.git import trees
from gitmill.mill import Mill, layout
from gitmill.store.events import Step, draft_step
from gitmill.store.history import UNDOES, Entry, entries, standing
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import Draft

# What each event writes anew; an undo never puts it back.
_BOOKS = frozenset({"status", "event", "since", "attempt", "lease"})
# What an attempt may change. What a person edited while it ran stays.
_WORKED = frozenset({
    "stage", "plan", "frozen", "counters", "builder", "base", "work", "reviewed", "feedback",
    "bare", "reason", "answer",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
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


def last_of(mill: Mill, item_id: str) -> Taken:
    """Return what an undo of an item takes back.

    Raises `CannotUndoError` when that is nothing, and `LeasedError` when somebody works on it.
    """
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    told = standing(entries(mill.store.backend, snapshot.commit, item_id))
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
    return Taken(last, together[-1], ids)


def last_of_all(mill: Mill) -> Taken:
    """Return what an undo without a name takes back: the newest that one did oneself and can be.

    One's own is what this person said and what was done on this machine. Raises `CannotUndoError`.
    """
    snapshot, seen, passed = mill.snapshot(), set[str](), ""
    for entry in standing(entries(mill.store.backend, snapshot.commit)):
        assert entry.record is not None
        record = entry.record
        if not record.item or record.item in seen:
            continue
        seen.add(record.item)
        if record.by != mill.person and not record.by.endswith(f"@{mill.host}"):
            continue
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


def take_back(mill: Mill, taken: Taken) -> Item:
    """Append the opposite of an event; its item then stands as it did before.

    Run logs stay, and work that the item loses is kept under a rescue ref. Raises
    `CannotUndoError` when something came after the event meanwhile, `BadDependencyError`.
    """
    record, item_id = taken.record, taken.record.item
    event_id, now, person = mill.mint(), mill.now(), mill.person
    seen = mill.snapshot().item(item_id)
    fields, body = _as_before(mill, taken)
    at = Status(taken.first.record.at) if taken.first.record and taken.first.record.at else None
    event = _opposite(taken, at)
    if event is None:
        raise _cannot(seen, record, taken.last.subject)
    if "work" in fields and seen.work:
        keep_commit(mill, item_id, seen.work)
    _refuse_gone(mill, fields, at)
    step = Step(
        event=event,
        subject=f"undone, {taken.last.subject.removeprefix(f'{item_id}: ')}",
        by=person,
        back=at,
        claim=seen.lease.claim if event is Event.RELEASED and seen.lease else None,
        fields=fields,
        body=body,
        refs={f"{layout.WORK}{item_id}": fields["work"]} if "work" in fields else {},
        extra={UNDOES: " ".join(taken.ids)},
    )

    def build(snapshot: Snapshot) -> Draft:
        item = snapshot.item(item_id)
        if item.event != seen.event:
            raise _moved_on(mill, snapshot, item)
        if "after" in fields:
            check_after(snapshot.items, item_id, fields["after"] or ())
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    return mill.store.commit(build).item(item_id)


# -- what can be taken back ------------------------------------------------------------------------


def _together(last: EventRecord, earlier: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the events that are taken back with the last one, newest first."""
    if last.extra.get("Reverts"):
        # A revert is made ready, claimed and approved in one go.
        begin = {Event.CREATED.value, Event.REOPENED.value}
    elif last.at == Status.RUNNING.value and last.event != Event.EDITED.value:
        begin = {Event.CLAIMED.value}
    else:
        return
    for entry in earlier:
        assert entry.record is not None
        edited = entry.record.event == Event.EDITED.value
        if not edited:
            yield entry
        if entry.record.event in begin:
            return


def _opposite(taken: Taken, at: Status | None) -> Event | None:
    record = taken.record
    if record.extra.get("Reverts"):
        return Event.CANCELLED
    return opposite(Event(record.event), at, Status(record.to))


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
            raise LeasedError(
                f"{item.id} is being worked on", evidence=_holder(item),
                hints=["end it with `gitmill stop`"],
            )  # fmt: skip
        if lease is None or lease.who != mill.person:
            raise LeasedError(
                f"somebody else has taken {item.id}", evidence=_holder(item),
                hints=[f"see `gitmill task show {item.id}`"],
            )  # fmt: skip
    known = event in {one.value for one in Event}
    if not known or (
        event != Event.LANDED.value
        and opposite(Event(event), _status(last.at), Status(last.to)) is None
    ):
        raise _cannot(item, last, subject)


def _status(text: str) -> Status | None:
    return Status(text) if text else None


def _holder(item: Item) -> list[str]:
    return [f"{item.lease.who} holds it"] if item.lease else []


_HINTS = {
    Event.LAND_ABORTED: "take it out with `gitmill queue remove {id}`",
    Event.REVERTED: "begin it again with `gitmill task reopen {id}`",
    Event.FINISHED: "begin it again with `gitmill task reopen {id}`",
    Event.LAPSED: "take it out with `gitmill task block {id} -m WHY`",
    Event.RELEASED: "take it out with `gitmill task block {id} -m WHY`",
}


def _cannot(item: Item, last: EventRecord, subject: str) -> CannotUndoError:
    hint = next(
        (text for event, text in _HINTS.items() if event.value == last.event),
        "see `gitmill task show {id}`",
    )
    return CannotUndoError(
        f"the last event of {item.id} is {last.event}, which cannot be undone",
        evidence=[subject],
        hints=[hint.format(id=item.id)],
    )


def _moved_on(mill: Mill, snapshot: Snapshot, item: Item) -> CannotUndoError:
    newest = next(entries(mill.store.backend, snapshot.commit, item.id))
    return CannotUndoError(
        f"{item.id} has moved on since, so nothing was undone",
        evidence=[newest.subject],
        hints=[f"see `gitmill log {item.id}`, then `gitmill undo {item.id}`"],
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


def _refuse_gone(mill: Mill, fields: dict[str, Any], at: Status | None) -> None:
    """Raise `CannotUndoError` when a landing that would count again is not on the target."""
    landed = fields.get("landed")
    if at is not Status.LANDED or not landed:
        return
    ref = mill.target_ref(mill.snapshot())
    git = mill.repository.git
    if git.run("merge-base", "--is-ancestor", landed, ref, check=False).returncode != 0:
        raise CannotUndoError(
            f"it had landed as {landed[:10]}, which is not on {ref.removeprefix('refs/heads/')}",
            hints=["see `git log --oneline`"],
        )


# -- how it was before -----------------------------------------------------------------------------


def _as_before(mill: Mill, taken: Taken) -> tuple[dict[str, Any], str | None]:
    """Return the fields that the event has changed as they were, and the body if it has."""
    item_id = taken.record.item
    parent = mill.store.parent(taken.first.commit)
    begun = taken.record.event == Event.CREATED.value or taken.record.extra.get("Reverts")
    if begun or parent is None:
        return {"reason": "undone"}, None
    old = mill.store.at(parent).item(item_id).document
    new = mill.store.at(taken.last.commit).item(item_id).document
    changed = {
        key: value_of(old, key)
        for key in sorted(old.fields.keys() | new.fields.keys())
        if value_of(old, key) != value_of(new, key)
    }
    alone = taken.first is taken.last
    kept = {
        key: value
        for key, value in changed.items()
        if key not in _BOOKS and (alone or key in _WORKED)
    }
    return kept, old.body if alone and old.body != new.body else None
