"""One event of one item as a state commit, checked against the lifecycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import STARTS, Event, Status, advance, check_claim
from gitmill.core.trailers import EventRecord
from gitmill.errors import IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git.objects import Backend, Move
from gitmill.hints import Gitmill, Hint
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit

if TYPE_CHECKING:
    from gitmill.core.change import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The event to record for an item: its change, and what comes with it.

    `after`, if given, is the event that must still be the item's last. `target` is the target's
    commit whose policy the event read. `run` is the name and document of a run log; its blob
    becomes the evidence. `refs` are gitmill's refs that move along, from any old value; `moves` are
    refs that move only from the old value named.
    """

    change: Change
    subject: str
    by: str
    claim: str | None = None
    after: str | None = None
    target: str = ""
    run: tuple[str, Document] | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    refs: Mapping[str, str | None] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def event(self) -> Event:
        """The event of the change."""
        return self.change.event


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

    Raises `IllegalTransitionError`, `LeasedError`, or `RefMovedError` if `after` is outdated or
    work was paused.
    """
    item = item or snapshot.item(item_id)
    _refuse_early(snapshot, item, step.event)
    status = _next_status(item, step)
    assert (step.run is not None) == ("attempt" in step.change.fields), "a run log is an attempt"
    files = dict(step.files)
    evidence = _add_run_log(item_id, item.attempt + 1, step, files)
    document = step.change.document(item, status, event_id=event_id, now=timestamp(now))
    files[layout.item_path(item_id)] = document.to_bytes()
    after = read_item(document)  # raises: never write a document that cannot be read
    record = EventRecord(
        event=step.event.value,
        id=event_id,
        item=item_id,
        after=item.event,
        status_before=item.status.value,
        to=status.value,
        stage=after.stage,
        by=step.by,
        claim=step.claim or "",
        plan=after.plan or item.plan,
        target=step.target,
        extra=step.extra,
    )
    return StateCommit(f"{item_id}: {step.subject}", record, files, _moves(backend, step), evidence)


def _refuse_early(snapshot: Snapshot, item: Item, event: Event) -> None:
    """Raise `RefMovedError` if a pause or a dependency has come since the caller looked."""
    if event not in STARTS:
        return
    from gitmill.core.start_rules import held_back  # noqa: PLC0415  (reads start nothing)

    control = snapshot.control
    paused, queue_paused = control.paused, control.queue_paused
    why = held_back(snapshot.items, item, event, paused=paused, queue_paused=queue_paused)
    if why:
        raise RefMovedError(f"{item.id} cannot start now: {why}")


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
        return advance(item.status, step.event, back=step.change.back)
    except IllegalTransitionError as error:
        raise IllegalTransitionError(
            error.message.replace("the item", item.id),
            hints=[Hint("see", Gitmill("task", "show", item.id))],
        ) from None
    except LeasedError as error:
        until = f", until {timestamp(item.lease.until)}" if item.lease else ""
        who = f"{item.lease.who} holds {item.id}{until}" if item.lease else f"{item.id} is free"
        raise LeasedError(
            error.message, evidence=[who], hints=[Hint("follow it with", Gitmill("log", item.id))]
        ) from None


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
