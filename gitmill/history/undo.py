"""Undo: append the opposite of an item's last event, which restores the item as it was before.

Nothing is removed. An undo names the events that it undoes. Neither they nor the undo itself count
afterwards: the next undo of the item goes one event further back.
"""

from __future__ import annotations

from gitmill.core import undo_rules
from gitmill.core.change import Change
from gitmill.core.dependencies import check_after
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.trailers import EventRecord
from gitmill.errors import CannotUndoError
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.history.undo_target import UndoTarget, cannot_undo
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step, draft_step
from gitmill.store.history import UNDOES, entries
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.rescue import keep_commit


def undo_event(mill: Mill, target: UndoTarget) -> Item:
    """Append the opposite of an event and return the item, restored as it was before the event.

    Run logs stay, and work that the item loses is kept under a rescue ref. Raises
    `CannotUndoError` when another event was recorded in the meantime, and `BadDependencyError`.
    """
    record, item_id = target.record, target.record.item
    event_id, now = mill.new_token(), mill.now()
    current = mill.snapshot().item(item_id)
    event = undo_rules.undoing_event(_first(target), record)
    if event is None:
        raise cannot_undo(current, record, target.last.subject)
    change = _change(mill, target, event)
    work = change.fields.get("work")
    if "work" in change.fields and current.work:
        keep_commit(mill, item_id, current.work)
    _require_objects(mill, change)
    step = Step(
        change=change,
        subject=f"undone, {target.last.subject.removeprefix(f'{item_id}: ')}",
        by=mill.person,
        claim=current.lease.claim if event is Event.RELEASED and current.lease else None,
        refs={f"{layout.WORK}{item_id}": work or None} if "work" in change.fields else {},
        extra={UNDOES: " ".join(target.ids)},
    )

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        if item.event != current.event:
            raise _moved_on(mill, snapshot, item)
        if "after" in change.fields:
            check_after(snapshot.items, item_id, change.fields["after"] or ())
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    return mill.store.commit(build).item(item_id)


# -- whether it can be undone ----------------------------------------------------------------------


def _first(target: UndoTarget) -> EventRecord:
    assert target.first.record is not None
    return target.first.record


def _moved_on(mill: Mill, snapshot: Snapshot, item: Item) -> CannotUndoError:
    newest = next(entries(mill.store.backend, snapshot.commit, item.id))
    return CannotUndoError(
        f"{item.id} has moved on since, so nothing was undone",
        evidence=[newest.subject],
        hints=[Hint("see", Gitmill("log", item.id), ", then", Gitmill("undo", item.id))],
    )


def _require_objects(mill: Mill, change: Change) -> None:
    """Raise `CannotUndoError` when the restored work was pruned, or its landing left the target."""
    git, fields = mill.repository.git, change.fields
    work, landed = fields.get("work"), fields.get("landed")
    if work and git.run("cat-file", "-e", work, check=False).returncode != 0:
        raise CannotUndoError(
            "its earlier work is no longer in this repository",
            evidence=[work],
            hints=[Hint("see", Gitmill("log"))],
        )
    if change.back is not Status.LANDED or not landed:
        return
    ref = mill.target_ref(mill.snapshot())
    if git.run("merge-base", "--is-ancestor", landed, ref, check=False).returncode != 0:
        raise CannotUndoError(
            f"it landed as {landed[:10]}, which is not on {ref.removeprefix('refs/heads/')}",
            hints=[Hint("see", Shell("git log --oneline"))],
        )


def _change(mill: Mill, target: UndoTarget, event: Event) -> Change:
    """Return the change that restores the item as it was after its previous event.

    The parent commit is not enough: it can be a hand edit that the event has applied.
    """
    item_id = target.record.item
    parent = mill.store.parent(target.first.commit)
    entry = next(entries(mill.store.backend, parent, item_id), None) if parent else None
    before = mill.store.at(entry.commit).item(item_id) if entry is not None else None
    after = mill.store.at(target.last.commit).item(item_id)
    return undo_rules.undoing((target.record, _first(target)), before, after, event=event)
