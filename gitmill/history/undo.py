"""Undo: append the opposite of an item's last event, so that it stands as it did before that.

Nothing is removed. An undo names the events that it takes back, and those and the undo itself do
not count any more: the next undo of the item goes one event further back.
"""

from __future__ import annotations

from typing import Any

from gitmill.core.dependencies import check_after
from gitmill.core.item import Item
from gitmill.core.item_reader import value_of
from gitmill.core.lifecycle import MET, Event, Status, opposite
from gitmill.errors import CannotUndoError
from gitmill.history.undo_target import UndoTarget, cannot
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.history import UNDOES, entries
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.rescue import keep_commit

# What each event writes anew; an undo never puts it back.
_BOOKS = frozenset({"status", "event", "since", "attempt", "lease"})
# What an attempt may change. What a person edited while it ran stays.
_WORKED = frozenset({
    "stage", "plan", "frozen", "counters", "builder", "base", "work", "reviewed", "feedback",
    "bare", "reason", "answer",
})  # fmt: skip


def take_back(mill: Mill, taken: UndoTarget) -> Item:
    """Append the opposite of an event; its item then stands as it did before.

    Run logs stay, and work that the item loses is kept under a rescue ref. Raises
    `CannotUndoError` when something came after the event meanwhile, `BadDependencyError`.
    """
    record, item_id = taken.record, taken.record.item
    event_id, now, person = mill.new_token(), mill.now(), mill.person
    seen = mill.snapshot().item(item_id)
    fields, body = _as_before(mill, taken)
    at = (
        Status(taken.first.record.status_before)
        if taken.first.record and taken.first.record.status_before
        else None
    )
    event = _opposite(taken, at)
    if event is None:
        raise cannot(seen, record, taken.last.subject)
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

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        if item.event != seen.event:
            raise _moved_on(mill, snapshot, item)
        if "after" in fields:
            check_after(snapshot.items, item_id, fields["after"] or ())
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    return mill.store.commit(build).item(item_id)


# -- what can be taken back ------------------------------------------------------------------------


def _opposite(taken: UndoTarget, at: Status | None) -> Event | None:
    record = taken.record
    if record.extra.get("Reverts"):
        return Event.CANCELLED
    return opposite(Event(record.event), at, Status(record.to))


def _moved_on(mill: Mill, snapshot: Snapshot, item: Item) -> CannotUndoError:
    newest = next(entries(mill.store.backend, snapshot.commit, item.id))
    return CannotUndoError(
        f"{item.id} has moved on since, so nothing was undone",
        evidence=[newest.subject],
        hints=[f"see `gitmill log {item.id}`, then `gitmill undo {item.id}`"],
    )


def _refuse_gone(mill: Mill, fields: dict[str, Any], at: Status | None) -> None:
    """Raise `CannotUndoError` when what would count again is not there any more.

    That is work that was pruned, or a landing that is not on the target.
    """
    git, work, landed = mill.repository.git, fields.get("work"), fields.get("landed")
    if work and git.run("cat-file", "-e", work, check=False).returncode != 0:
        raise CannotUndoError(
            "the work that it had is not in this repository any more",
            evidence=[work],
            hints=["see `gitmill log`"],
        )
    if at is not Status.LANDED or not landed:
        return
    ref = mill.target_ref(mill.snapshot())
    if git.run("merge-base", "--is-ancestor", landed, ref, check=False).returncode != 0:
        raise CannotUndoError(
            f"it had landed as {landed[:10]}, which is not on {ref.removeprefix('refs/heads/')}",
            hints=["see `git log --oneline`"],
        )


# -- how it was before -----------------------------------------------------------------------------


def _as_before(mill: Mill, taken: UndoTarget) -> tuple[dict[str, Any], str | None]:
    """Return the fields that the event has changed as they were, and the body if it has.

    That is how the item's event before left it: right below the event may be a commit by hand that
    it has taken up.
    """
    item_id = taken.record.item
    parent = mill.store.parent(taken.first.commit)
    before = next(entries(mill.store.backend, parent, item_id), None) if parent else None
    begun = taken.record.event == Event.CREATED.value or taken.record.extra.get("Reverts")
    if begun or before is None:
        return {"reason": "undone"}, None
    old = mill.store.at(before.commit).item(item_id).document
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
    if value_of(old, "status") in MET:
        kept["since"] = value_of(old, "since")  # it does not land today
    return kept, old.body if alone and old.body != new.body else None
