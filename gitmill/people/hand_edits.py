"""Hand edits of the state branch: applied as events, or restored with the reason.

A commit without gitmill's trailers is a person's. An edit that a person may make becomes the event
that the command would have recorded, in that person's name; an edit of anything else is undone. All
of it is one move of the branch: either everything is applied, or nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gitmill.core import changes
from gitmill.core.blame_rules import is_refusal
from gitmill.core.change import CLAIMED_TEXT, TEXT
from gitmill.core.dependencies import check_after
from gitmill.core.document import Document
from gitmill.core.ids import kind_of
from gitmill.core.item import KEYS, Item
from gitmill.core.item_reader import read_item, value_of
from gitmill.core.lifecycle import Status
from gitmill.core.redaction import Secret
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError, GitmillError, RefMovedError, StateMovedError
from gitmill.mill import Mill
from gitmill.people.hand_secrets import holding_step, secrets_added, without_secrets
from gitmill.people.intake import is_text_frozen, refuse_frozen
from gitmill.people.status_edits import Words, step_builder
from gitmill.store import foreign_commits, layout
from gitmill.store.events import Step, creation_time, draft_created, draft_step, timestamp
from gitmill.store.foreign_commits import HandEdit
from gitmill.store.secret_search import clean
from gitmill.store.snapshot import Control, Snapshot
from gitmill.store.transaction import Build, StateCommit
from gitmill.store.write_lock import WriteLock

_TRIES = 20
_DECISION = frozenset({"status", "reason", "answer"})  # together they state a decision


@dataclass
class _Reconciliation:
    """The commits to make, and one line to report for each."""

    builds: list[Build] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def reconcile(mill: Mill, lock: WriteLock | None = None) -> list[str]:
    """Apply the hand edits of the state branch; return one sentence for each of them.

    A document that cannot be read stays as it is and is reported. `lock` is the write lock if the
    caller holds it.
    """
    for _ in range(_TRIES):
        snapshot = mill.snapshot()
        if not foreign_commits.is_by_hand(mill.store.backend, snapshot.commit):
            return []
        base, edits = foreign_commits.hand_edits(mill.store.backend, snapshot.commit)
        result = _Reconciliation()
        for found in edits:
            edit = replace(found, person=clean(found.person))
            _reconcile_path(mill, snapshot, base, edit, result)
        if not result.builds:
            return result.lines
        try:
            mill.store.commit(_unless_moved(snapshot.commit), *result.builds, lock=lock)
        except RefMovedError:
            continue  # gitmill or a person has committed in the meantime
        return result.lines
    raise StateMovedError("the state branch moved each time that hand edits were applied")


def _unless_moved(commit: str) -> Build:
    def build(snapshot: Snapshot) -> None:
        if snapshot.commit != commit:
            raise RefMovedError("the state branch has moved")

    return build


def _reconcile_path(
    mill: Mill, snapshot: Snapshot, base: str, edit: HandEdit, result: _Reconciliation
) -> None:
    item_id = layout.item_of(edit.path)
    if item_id:
        try:
            _reconcile_item(mill, snapshot, base, edit, item_id, result)
        except BadDocumentError as error:
            result.lines.append(f"{error.message}; it stays as {edit.person} left it")
    elif edit.path == layout.CONTROL:
        _reconcile_control(mill, snapshot, edit, result)
    elif foreign_commits.is_gitmill_file(edit.path):
        subject = f"restored {edit.path}, only gitmill writes it"
        record = _record(mill, "put-back", edit)
        result.builds.append(lambda _: StateCommit(subject, record, {edit.path: edit.old}))
        result.lines.append(subject)


def _record(mill: Mill, event: str, edit: HandEdit) -> EventRecord:
    return EventRecord(event=event, id=mill.new_token(), by=edit.person, extra=_trailers(edit))


def _trailers(edit: HandEdit) -> Mapping[str, str]:
    return {"Hand": edit.commit}


def _reconcile_control(
    mill: Mill, snapshot: Snapshot, edit: HandEdit, result: _Reconciliation
) -> None:
    """Apply an edit of control.md: anyone may commit a stop, and an unreadable file stops all."""
    backend = mill.store.backend
    old = Control(
        backend.read(edit.old.oid)[1].decode() if edit.old else "---\n---\n", layout.CONTROL
    )
    new = snapshot.control
    stops = (new.paused, new.queue_paused) > (old.paused, old.queue_paused)
    event = "paused" if stops else "resumed"
    document = without_secrets(mill, new) if secrets_added(mill, edit) else new
    data = document.update({"by": edit.person}).to_bytes()
    record = _record(mill, event, edit)
    subject = f"{event} by hand ({_name(edit.person)})"
    result.builds.append(lambda _: StateCommit(subject, record, {layout.CONTROL: data}))
    result.lines.append(subject)


# -- items -----------------------------------------------------------------------------------------


def _reconcile_item(
    mill: Mill,
    snapshot: Snapshot,
    base: str,
    edit: HandEdit,
    item_id: str,
    result: _Reconciliation,
) -> None:
    old = _last_readable(mill, base, edit.path)
    if edit.new is None:
        if old is not None:
            why = {"its document": "an item is cancelled, not removed"}
            _record_edit(mill, old, why, edit, result)
        return
    new = Document.from_bytes(mill.store.backend.read(edit.new.oid)[1], edit.path)
    secrets = secrets_added(mill, edit)
    if old is None:
        _create(mill, snapshot, new, item_id, edit, result, secrets)
        return
    if secrets:
        _add_step(mill, old, holding_step(old, edit, secrets), result)
        return
    read_item(new)
    item, restored = _merge(mill, snapshot, old, new)
    builder = None
    if value_of(new, "status") != old.status.value:
        try:
            builder = step_builder(
                old.status, Status(value_of(new, "status")), _words(edit.person, old, new)
            )
            builder(mill, item)  # an error here restores the status along with the other fields
        except GitmillError as error:  # the person's status is refused, with the reason
            if not is_refusal(error):
                raise
            restored["status"], builder = error.message, None
    edited = item.document.text != old.document.text or bool(restored)
    if edited:
        frozen_changed = any(
            value_of(item.document, k) != value_of(old.document, k) for k in CLAIMED_TEXT
        )
        frozen_changed |= old.is_written and item.document.body != old.document.body
        _record_edit(mill, item, restored, edit, result, again=frozen_changed)
    if builder is not None:
        _record_decision(mill, item, builder, edit, result, fresh=edited)


def _last_readable(mill: Mill, commit: str, path: str) -> Item | None:
    for data in foreign_commits.gitmill_versions(mill.store.backend, commit, path):
        try:
            return read_item(Document.from_bytes(data, path))
        except BadDocumentError:
            continue
    return None


def _merge(mill: Mill, snapshot: Snapshot, old: Item, new: Document) -> tuple[Item, dict[str, str]]:
    """Return the item with the permitted edits, and by key why each other edit is restored."""
    restored: dict[str, str] = {}
    for key in {*old.document.fields, *new.fields}:
        if value_of(old.document, key) == value_of(new, key):
            continue
        if key in TEXT:
            if why := _refusal(snapshot, old, key, new):
                restored[key] = why
        elif key in KEYS and key not in _DECISION:
            restored[key] = "only gitmill writes it"
    decided = {key for key in _DECISION if value_of(old.document, key) != value_of(new, key)}
    keys = sorted(decided | restored.keys())
    document = new.update({key: old.document.value(key) for key in keys})
    if new.body != old.document.body and (why := _text_refusal(mill, old)):
        restored["text"] = why
        document = document.with_body(old.document.body)
    return read_item(document), restored


def _refusal(snapshot: Snapshot, old: Item, key: str, new: Document) -> str:
    """Return why a field cannot change, empty if it can."""
    try:
        if key in CLAIMED_TEXT and old.frozen:
            refuse_frozen(old)
        if key == "after":
            check_after(snapshot.items, old.id, read_item(new).after)
    except GitmillError as error:  # the person's value is refused, with the reason
        if not is_refusal(error):
            raise
        return error.message
    return ""


def _text_refusal(mill: Mill, old: Item) -> str:
    """Return why the text cannot change, empty if it can."""
    try:
        if is_text_frozen(mill, old):
            refuse_frozen(old)
    except GitmillError as error:  # the person's text is refused, with the reason
        if not is_refusal(error):
            raise
        return error.message
    return ""


def _words(person: str, old: Item, new: Document) -> Words:
    changed = {
        key: str(value_of(new, key) or "")
        for key in ("reason", "answer")
        if value_of(new, key) != value_of(old.document, key)
    }
    return Words(person, **changed)


def _record_edit(
    mill: Mill,
    item: Item,
    restored: Mapping[str, str],
    edit: HandEdit,
    result: _Reconciliation,
    *,
    again: bool = False,
) -> None:
    """Add the `edited` event of a hand edit; with `again` the work so far is void.

    `restored` gives the reason for each field that gets its old value back.
    """
    reasons = ", ".join(f"{key} ({why})" for key, why in sorted(restored.items()))
    subject = f"edited by hand ({_name(edit.person)})"
    subject += f"; restored {reasons}" if restored else ""
    extra = {**_trailers(edit), **({"Put-Back": reasons} if restored else {})}
    # The document has the edit already.
    change = changes.edited(item, {}, again=again)
    step = Step(change=change, subject=subject, by=edit.person, extra=extra)
    _add_step(mill, item, step, result)


def _add_step(mill: Mill, item: Item, step: Step, result: _Reconciliation) -> None:
    """Add the event of a step on an item, whatever document the branch has now."""
    event_id, now, backend = mill.new_token(), mill.now(), mill.store.backend

    def build(snapshot: Snapshot) -> StateCommit:
        return draft_step(backend, snapshot, item.id, step, event_id=event_id, now=now, item=item)

    result.builds.append(build)
    result.lines.append(f"{item.id}: {step.subject}")


def _record_decision(
    mill: Mill,
    item: Item,
    builder: Callable[[Mill, Item], Step],
    edit: HandEdit,
    result: _Reconciliation,
    *,
    fresh: bool,
) -> None:
    """Add the event of a status edit; `fresh` takes the item as an event of this edit left it."""
    event_id, now, backend = mill.new_token(), mill.now(), mill.store.backend

    def build(snapshot: Snapshot) -> StateCommit:
        current = snapshot.item(item.id) if fresh else item
        step = builder(mill, current)
        step = replace(step, extra={**step.extra, **_trailers(edit)})
        return draft_step(
            backend, snapshot, item.id, step, event_id=event_id, now=now, item=current
        )

    result.builds.append(build)
    event = builder(mill, item).event.value
    result.lines.append(f"{item.id}: {event} by hand ({_name(edit.person)})")


def _create(
    mill: Mill,
    snapshot: Snapshot,
    new: Document,
    item_id: str,
    edit: HandEdit,
    result: _Reconciliation,
    secrets: Sequence[Secret],
) -> None:
    """Add the events of a new document: `created`, and `readied` if it is to be ready and can.

    With secrets, which are redacted, it is `held`.
    """
    event_id = mill.new_token()
    source = without_secrets(mill, new) if secrets else new
    document = _new_document(mill, source, item_id, edit, event_id)
    item = read_item(document)
    check_after(snapshot.items, item_id, item.after)
    result.builds.append(
        lambda _: draft_created(
            document, item_id, event_id=event_id, by=edit.person, extra=_trailers(edit)
        )
    )
    result.lines.append(f"{item_id}: created by hand ({_name(edit.person)})")
    if secrets:
        _add_step(mill, item, holding_step(item, edit, secrets), result)
    elif value_of(new, "status") == Status.READY.value:
        builder = step_builder(Status.DRAFT, Status.READY, Words(edit.person))
        try:
            builder(mill, item)
        except GitmillError as error:  # the person's status is refused, with the reason
            if not is_refusal(error):
                raise
            result.lines.append(f"{item_id} stays a draft: {error.message}")
        else:
            _record_decision(mill, item, builder, edit, result, fresh=True)


def _new_document(
    mill: Mill, new: Document, item_id: str, edit: HandEdit, event_id: str
) -> Document:
    """Return a new document with gitmill's own fields set and the other ones of the item empty."""
    now = mill.now()
    birth = {
        "id": item_id, "kind": kind_of(item_id), "created": creation_time(now), "by": edit.person,
    }  # fmt: skip
    values = changes.created(birth, {}, event_id=event_id, now=timestamp(now))
    return new.update(dict.fromkeys((KEYS - TEXT) & set(new.fields)) | values)


def _name(person: str) -> str:
    return person.partition(" <")[0]
