"""One event of one item as a state commit, checked against the lifecycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import Event, Status, advance, check_claim
from gitmill.core.trailers import EventRecord
from gitmill.errors import IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git.objects import Backend, Move
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit

_KEEPS_LEASE = frozenset({Event.CLAIMED, Event.LAND_STARTED, Event.EDITED, Event.SPLIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The event to record for an item, and the changes that come with it.

    `stage` is the item's new stage (None: unchanged). `fields` sets fields of the document; None
    removes one. `back` is the status that `undone` leads to. `after`, if given, is the event that
    must still be the item's last. `run` is the name and document of a run log; its blob becomes
    the evidence. `refs` are gitmill's refs that move along, from any old value; `moves` are refs
    that move only from the old value named.
    """

    event: Event
    subject: str
    by: str
    claim: str | None = None
    stage: str | None = None
    after: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    back: Status | None = None
    body: str | None = None
    run: tuple[str, Document] | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    refs: Mapping[str, str | None] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


def timestamp(now: datetime) -> str:
    """Return a time in the form of documents: UTC, to the second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def creation_time(now: datetime) -> str:
    """Return the time of a creation, to the millisecond because items are ordered by age."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def draft_step(
    backend: Backend,
    snapshot: Snapshot,
    item_id: str,
    step: Step,
    *,
    event_id: str,
    now: datetime,
    item: Item | None = None,
) -> StateCommit:
    """Return the commit for a step on an item: `item` if given, else the one in the snapshot.

    Raises `IllegalTransitionError`, `LeasedError`, or `RefMovedError` if `after` is outdated.
    """
    item = item or snapshot.item(item_id)
    status = _next_status(item, step)
    fields = _fields(item, step, status, event_id, now)
    files = dict(step.files)
    evidence = _add_run_log(item_id, item.attempt + 1, step, files)
    document = item.document.update(_changed(item.document, fields))
    if step.body is not None:
        document = document.with_body(step.body)
    files[layout.item_path(item_id)] = document.to_bytes()
    record = EventRecord(
        event=step.event.value,
        id=event_id,
        item=item_id,
        after=item.event,
        status_before=item.status.value,
        to=status.value,
        stage=read_item(document).stage,  # raises: never write a document that cannot be read
        by=step.by,
        claim=step.claim or "",
        plan=str(fields.get("plan") or item.plan),
        extra=step.extra,
    )
    return StateCommit(f"{item_id}: {step.subject}", record, files, _moves(backend, step), evidence)


def _fields(item: Item, step: Step, status: Status, event_id: str, now: datetime) -> dict[str, Any]:
    """Return the fields of the document that a step sets (None: removes)."""
    fields = dict(step.fields) | {"status": status.value, "event": event_id}
    if status is not item.status:
        fields.setdefault("since", timestamp(now))
    if step.stage is not None:
        fields["stage"] = step.stage
    if step.event not in _KEEPS_LEASE:
        fields["lease"] = None
    if step.run is not None:
        fields["attempt"] = item.attempt + 1
    return fields


def _add_run_log(item_id: str, number: int, step: Step, files: dict[str, bytes | None]) -> str:
    """Add the step's run log to the files; return its path, empty if there is none."""
    if step.run is None:
        return ""
    name, run = step.run
    path = layout.run_path(item_id, number, name)
    files[path] = run.to_bytes()
    return path


def _moves(backend: Backend, step: Step) -> tuple[Move, ...]:
    unconditional = (Move(ref, new, backend.ref(ref)) for ref, new in step.refs.items())
    return (*step.moves, *(move for move in unconditional if move.new != move.old))


def _next_status(item: Item, step: Step) -> Status:
    """Return the status after a step; raise an error with hints if the lifecycle forbids it."""
    holder = item.lease.claim if item.lease else None
    try:
        check_claim(item.status, step.event, holder=holder, claim=step.claim)
        if step.after is not None and step.after != item.event:
            raise RefMovedError(f"{item.id} has moved on")
        return advance(item.status, step.event, back=step.back)
    except IllegalTransitionError as error:
        raise IllegalTransitionError(
            error.message.replace("the item", item.id), hints=[f"see `gitmill task show {item.id}`"]
        ) from None
    except LeasedError as error:
        until = f", until {timestamp(item.lease.until)}" if item.lease else ""
        who = f"{item.lease.who} holds {item.id}{until}" if item.lease else f"{item.id} is free"
        raise LeasedError(
            error.message, evidence=[who], hints=[f"follow it with `gitmill log {item.id}`"]
        ) from None


def _changed(document: Document, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose value changes, so that all other lines stay as they are."""
    return {
        key: value
        for key, value in fields.items()
        if value is not None or key in document.fields
        if key not in document.fields or document.value(key) != value
    }


def draft_created(
    document: Document, item_id: str, *, event_id: str, by: str, extra: Mapping[str, str]
) -> StateCommit:
    """Return the commit that creates an item."""
    item = read_item(document)
    if item.status is not advance(None, Event.CREATED):
        raise IllegalTransitionError(f"a new item is a draft, not {item.status.value}")
    record = EventRecord(
        event=Event.CREATED.value,
        id=event_id,
        item=item_id,
        to=item.status.value,
        by=by,
        extra=extra,
    )
    path = layout.item_path(item_id)
    return StateCommit(f"{item_id}: created, {item.title}", record, {path: document.to_bytes()})
