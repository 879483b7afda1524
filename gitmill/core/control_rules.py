"""The changes of `control.md` by the events of the branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitmill.core.document import Document

PAUSED, RESUMED = "paused", "resumed"  # the events that change control.md
Fields = Mapping[str, Any]


def paused(reason: str) -> Fields:
    """Pause work: no new attempt begins."""
    return {"paused": True, "reason": reason}


def resumed() -> Fields:
    """Resume work: attempts may begin again."""
    return {"paused": False, "reason": None}


def queue_paused(reason: str) -> Fields:
    """Pause the queue: nothing lands."""
    return {"queue_paused": True, "queue_reason": reason}


def queue_resumed() -> Fields:
    """Resume the queue: approved work may land again."""
    return {"queue_paused": None, "queue_reason": None}


def undone(before: Document, after: Document) -> Fields:
    """Restore the fields that an event changed, from the document `before` to `after` it."""
    keys = sorted(before.fields.keys() | after.fields.keys())
    return {k: before.value(k) for k in keys if before.value(k) != after.value(k)}


def written(control: Document, fields: Fields, by: str) -> Document:
    """Return the document after an event that a person has recorded."""
    return control.update({**fields, "by": by})
