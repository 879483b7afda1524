"""What people commit to the state branch by hand: taken up as events, or put back with the reason.

A commit without trailers of gitmill is a person's. What they may decide becomes the event that the
command would have made, by them; what only gitmill writes is put back. All of it is one move of
the branch: either everything is taken up or nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from gitmill.core.dependencies import check_after
from gitmill.core.document import Document
from gitmill.core.ids import kind_of
from gitmill.core.item import Item, read_item, value_of
from gitmill.core.lifecycle import Event, Status
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError, GitmillError, RefMovedError, StateMovedError
from gitmill.mill import Mill
from gitmill.people.intake import FROZEN, VOIDED, refuse_frozen
from gitmill.people.status_edits import Words, wish_for
from gitmill.store import foreign_commits, layout
from gitmill.store.events import Step, creation_time, draft_created, draft_step, timestamp
from gitmill.store.foreign_commits import HandEdit
from gitmill.store.snapshot import Control, Snapshot
from gitmill.store.transaction import Build, StateCommit

_TRIES = 20
# What a person may write into a document; keys that gitmill does not know are theirs too.
_FREE = FROZEN | {"title", "priority", "risk", "labels", "after"}
_WISH = frozenset({"status", "reason", "answer"})  # together they say what is wanted


@dataclass
class _Reconciliation:
    """What is to be committed, and what is to be said."""

    builds: list[Build] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def reconcile(mill: Mill) -> list[str]:
    """Take up what hands have changed; returns a sentence for each thing, none when there was none.

    Documents that cannot be read stay as they are and are named.
    """
    for _ in range(_TRIES):
        snapshot = mill.snapshot()
        if not foreign_commits.is_by_hand(mill.store.backend, snapshot.commit):
            return []
        base, edits = foreign_commits.hand_edits(mill.store.backend, snapshot.commit)
        found = _Reconciliation()
        for edit in edits:
            with mill.on_behalf_of(edit.person):
                _judge(mill, snapshot, base, edit, found)
        if not found.builds:
            return found.told
        try:
            mill.store.commit(_unless_moved(snapshot.commit), *found.builds)
        except RefMovedError:
            continue  # somebody has committed meanwhile, gitmill or a person
        return found.told
    raise StateMovedError("the state branch moved each time that hand edits were taken up")


def _unless_moved(commit: str) -> Build:
    def build(snapshot: Snapshot) -> None:
        if snapshot.commit != commit:
            raise RefMovedError("the state branch has moved")

    return build


def _judge(
    mill: Mill, snapshot: Snapshot, base: str, edit: HandEdit, found: _Reconciliation
) -> None:
    item_id = layout.item_of(edit.path)
    if item_id:
        try:
            _judge_item(mill, snapshot, base, edit, item_id, found)
        except BadDocumentError as error:
            found.told.append(f"{error.message}; it stays as {edit.person} left it")
    elif edit.path == layout.CONTROL:
        _judge_control(mill, snapshot, edit, found)
    elif foreign_commits.is_gitmill_file(edit.path):
        why = f"put back {edit.path}, only gitmill writes it"
        record = _record(mill, "put-back", edit)
        found.builds.append(lambda _: StateCommit(why, record, {edit.path: edit.old}))
        found.told.append(why)


def _record(mill: Mill, event: str, edit: HandEdit) -> EventRecord:
    return EventRecord(event=event, id=mill.new_token(), by=edit.person, extra=_by_hand(edit))


def _by_hand(edit: HandEdit) -> Mapping[str, str]:
    return {"Hand": edit.commit}


def _judge_control(mill: Mill, snapshot: Snapshot, edit: HandEdit, found: _Reconciliation) -> None:
    """Take up an emergency stop, which anyone may commit; one that cannot be read stops all."""
    backend = mill.store.backend
    before = Control(
        backend.read(edit.old.oid)[1].decode() if edit.old else "---\n---\n", layout.CONTROL
    )
    now = snapshot.control
    stopped = (now.paused, now.queue_paused)
    more = stopped > (before.paused, before.queue_paused)
    event = "paused" if more else "resumed"
    data = now.update({"by": edit.person}).to_bytes()
    record = _record(mill, event, edit)
    told = f"{event} by hand ({_name(edit.person)})"
    found.builds.append(lambda _: StateCommit(told, record, {layout.CONTROL: data}))
    found.told.append(told)


# -- items -----------------------------------------------------------------------------------------


def _judge_item(
    mill: Mill, snapshot: Snapshot, base: str, edit: HandEdit, item_id: str, found: _Reconciliation
) -> None:
    old = _last_readable(mill, base, edit.path)
    if edit.new is None:
        if old is not None:
            _edited(mill, old, {"its document": "an item is cancelled, not removed"}, edit, found)
        return
    new = Document.from_bytes(mill.store.backend.read(edit.new.oid)[1], edit.path)
    if old is None:
        _created(mill, snapshot, new, item_id, edit, found)
        return
    read_item(new)
    item, back = _merged(snapshot, old, new)
    wish = None
    if value_of(new, "status") != old.status.value:
        try:
            wish = wish_for(old.status, Status(value_of(new, "status")), _words(old, new))
            wish(mill, item)  # refused here, it is put back with the rest
        except GitmillError as error:
            back["status"], wish = error.message, None
    edited = item.document.text != old.document.text or bool(back)
    if edited:
        asked = any(value_of(item.document, k) != value_of(old.document, k) for k in FROZEN)
        void = VOIDED if asked and old.frozen else ()
        _edited(mill, item, back, edit, found, void=void)
    if wish is not None:
        _wanted(mill, item, wish, edit, found, fresh=edited)


def _last_readable(mill: Mill, commit: str, path: str) -> Item | None:
    for data in foreign_commits.gitmill_versions(mill.store.backend, commit, path):
        try:
            return read_item(Document.from_bytes(data, path))
        except BadDocumentError:
            continue
    return None


def _merged(snapshot: Snapshot, old: Item, new: Document) -> tuple[Item, dict[str, str]]:
    """Return the item with what a person may change, and why the rest is put back, by key."""
    back: dict[str, str] = {}
    for key in {*old.document.fields, *new.fields}:
        if value_of(old.document, key) == value_of(new, key):
            continue
        if key in _FREE:
            if why := _refused(snapshot, old, key, new):
                back[key] = why
        elif key in Item.model_fields and key not in _WISH:
            back[key] = "only gitmill writes it"
    kept = {key for key in _WISH if value_of(old.document, key) != value_of(new, key)} | set(back)
    document = new.update({key: old.document.value(key) for key in sorted(kept)})
    return read_item(document), back


def _refused(snapshot: Snapshot, old: Item, key: str, new: Document) -> str:
    try:
        if key in FROZEN and old.frozen:
            refuse_frozen(old)
        if key == "after":
            check_after(snapshot.items, old.id, read_item(new).after)
    except GitmillError as error:
        return error.message
    return ""


def _words(old: Item, new: Document) -> Words:
    told = {
        key: str(value_of(new, key) or "")
        for key in ("reason", "answer")
        if value_of(new, key) != value_of(old.document, key)
    }
    return Words(**told)


def _edited(
    mill: Mill,
    item: Item,
    back: Mapping[str, str],
    edit: HandEdit,
    found: _Reconciliation,
    *,
    void: Collection[str] = (),
) -> None:
    """Take an edit up, without what is put `back`, key by key with the reason.

    `void` are fields that hold no longer after it.
    """
    reasons = ", ".join(f"{key} ({why})" for key, why in sorted(back.items()))
    subject = f"edited by hand ({_name(edit.person)})" + (f"; put back {reasons}" if back else "")
    extra = {**_by_hand(edit), **({"Put-Back": reasons} if back else {})}
    fields = dict.fromkeys(void)
    step = Step(event=Event.EDITED, subject=subject, by=edit.person, fields=fields, extra=extra)
    event_id, now, backend = mill.new_token(), mill.now(), mill.store.backend

    def build(snapshot: Snapshot) -> StateCommit:
        return draft_step(
            backend, snapshot, item.id, step, event_id=event_id, now=now, item=item
        )  # fmt: skip

    found.builds.append(build)
    found.told.append(f"{item.id}: {subject}")


def _wanted(
    mill: Mill,
    item: Item,
    wish: Callable[[Mill, Item], Step],
    edit: HandEdit,
    found: _Reconciliation,
    *,
    fresh: bool,
) -> None:
    event_id, now, backend = mill.new_token(), mill.now(), mill.store.backend

    def build(snapshot: Snapshot) -> StateCommit:
        stands = snapshot.item(item.id) if fresh else item
        with mill.on_behalf_of(edit.person):
            step = wish(mill, stands)
        step = replace(step, extra={**step.extra, **_by_hand(edit)})
        return draft_step(
            backend, snapshot, item.id, step, event_id=event_id, now=now, item=stands
        )  # fmt: skip

    found.builds.append(build)
    with mill.on_behalf_of(edit.person):
        event = wish(mill, item).event.value
    found.told.append(f"{item.id}: {event} by hand ({_name(edit.person)})")


def _created(
    mill: Mill,
    snapshot: Snapshot,
    new: Document,
    item_id: str,
    edit: HandEdit,
    found: _Reconciliation,
) -> None:
    """Make an item of a document that a person has put where items are."""
    event_id, now = mill.new_token(), mill.now()
    ours = set(Item.model_fields) - _FREE - {"document"}
    mine = {
        "id": item_id, "kind": kind_of(item_id).value, "status": Status.DRAFT.value,
        "event": event_id, "created": creation_time(now), "since": timestamp(now),
        "by": edit.person,
    }  # fmt: skip
    wanted = value_of(new, "status")
    document = new.update(dict.fromkeys(ours & set(new.fields)) | mine)
    item = read_item(document)
    check_after(snapshot.items, item_id, item.after)
    found.builds.append(
        lambda _: draft_created(
            document, item_id, event_id=event_id, by=edit.person, extra=_by_hand(edit)
        )
    )
    found.told.append(f"{item_id}: created by hand ({_name(edit.person)})")
    if wanted == Status.READY.value:
        ready = wish_for(Status.DRAFT, Status.READY, Words())
        try:
            ready(mill, item)
        except GitmillError as error:
            found.told.append(f"{item_id} stays a draft: {error.message}")
        else:
            _wanted(mill, item, ready, edit, found, fresh=True)


def _name(person: str) -> str:
    return person.partition(" <")[0]
