"""Pause and resume: fields of `control.md` that every clone obeys."""

from __future__ import annotations

from gitmill.core import control_rules
from gitmill.core.control_rules import Fields
from gitmill.core.trailers import EventRecord
from gitmill.errors import CannotUndoError
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.store import layout
from gitmill.store.history import UNDOES, Entry
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import Build, StateCommit

CONTROL_EVENTS = (control_rules.PAUSED, control_rules.RESUMED)


def pause(mill: Mill, reason: str) -> None:
    """Pause work: no new attempt begins."""
    refuse_secrets(mill, {"message": reason})
    _set_control(mill, control_rules.PAUSED, control_rules.paused(reason), f"paused: {reason}")


def resume(mill: Mill) -> None:
    """Resume work: attempts may begin again."""
    _set_control(mill, control_rules.RESUMED, control_rules.resumed(), "resumed")


def pause_queue(mill: Mill, reason: str) -> None:
    """Pause the queue: nothing lands."""
    refuse_secrets(mill, {"message": reason})
    mill.store.commit(pausing_queue(mill, reason))


def pausing_queue(mill: Mill, reason: str) -> Build:
    """Return what builds the commit that pauses the queue."""
    fields = control_rules.queue_paused(reason)
    return _setting_control(mill, control_rules.PAUSED, fields, f"queue paused: {reason}")


def resume_queue(mill: Mill) -> None:
    """Resume the queue: approved work may land again."""
    _set_control(mill, control_rules.RESUMED, control_rules.queue_resumed(), "queue resumed")


def undo_control_event(mill: Mill, last: Entry) -> None:
    """Append the opposite of a pause or resume.

    Raises `CannotUndoError` when control.md was changed after it.
    """
    assert last.record is not None
    record, event_id, person = last.record, mill.new_token(), mill.person
    parent = mill.store.parent(last.commit)
    assert parent is not None, "the root commit has no control event"
    old, new = mill.store.at(parent).control, mill.store.at(last.commit).control
    fields = control_rules.undone(old, new)

    def build(snapshot: Snapshot) -> StateCommit:
        control = snapshot.control
        if control.text != new.text:
            raise CannotUndoError(
                f"{layout.CONTROL} was changed since, so nothing was undone",
                hints=[
                    Hint(
                        "see",
                        Gitmill("status"),
                        ", then",
                        Gitmill("pause"),
                        "or",
                        Gitmill("resume"),
                    )
                ],
            )
        data = control_rules.written(control, fields, person).to_bytes()
        undo = EventRecord(
            event=next(name for name in CONTROL_EVENTS if name != record.event),
            id=event_id, by=person, extra={UNDOES: record.id},
        )  # fmt: skip
        return StateCommit(f"undone, {last.subject}", undo, {layout.CONTROL: data})

    mill.store.commit(build)


def _set_control(mill: Mill, event: str, fields: Fields, subject: str) -> None:
    mill.store.commit(_setting_control(mill, event, fields, subject))


def _setting_control(mill: Mill, event: str, fields: Fields, subject: str) -> Build:
    """Return what sets fields of control.md; it writes nothing when all have these values."""
    event_id, person = mill.new_token(), mill.person

    def build(snapshot: Snapshot) -> StateCommit | None:
        control = snapshot.control
        if all(control.value(key) == value for key, value in fields.items()):
            return None
        data = control_rules.written(control, fields, person).to_bytes()
        record = EventRecord(event=event, id=event_id, by=person)
        return StateCommit(subject, record, {layout.CONTROL: data})

    return build
