"""The change of an item by one event, as a value, and the inputs that an event may bring.

`changes.py` has one function per event that builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import KEYS, Item, RedTarget, Reviewed, as_json
from gitmill.core.lifecycle import Event, Status

# The fields of an item, by who may change them.
CLAIMED_TEXT = frozenset({"criteria", "script", "paths"})  # a claim freezes them
TEXT = CLAIMED_TEXT | {  # a person's
    "title", "risk", "priority", "after", "labels", "fixes_check",
}  # fmt: skip
# Work on an item begins without these; an edit of `CLAIMED_TEXT` empties them again.
WORK = frozenset({
    "stage", "plan", "frozen", "counters", "builder", "base", "work", "reviewed", "feedback",
    "returned", "bare", "red_target",
})  # fmt: skip
WORDS = frozenset({"reason", "answer"})
PROGRESS = WORK | WORDS | {
    "landing", "landed", "checked", "reverted", "disputed", "cancel_requested",
}  # fmt: skip
BIRTH = frozenset({"id", "kind", "created", "by", "parent", "source"})  # set once
BOOKS = frozenset({"status", "event", "since", "attempt"})
_WRITTEN_OUT = frozenset({"priority", "risk"})  # also when they have their default
CHANGEABLE = KEYS - BIRTH - {"status", "event"}
_DEFAULTS: Mapping[str, Any] = {
    known.name: known.default_factory() if known.default_factory is not MISSING else known.default
    for known in fields(Item)
}


class InputError(ValueError):
    """An input of an event breaks its rule, or names a field that its event may not bring."""


@dataclass(frozen=True, slots=True)
class Change:
    """The effect of an event on the fields of an item, as values of `Item`; None empties a field.

    `body` is the new text, None if it stays. `back` is the status that `undone` leads to. `extra`
    has unknown keys that a person wrote and that an undo restores, as values of the document.
    """

    event: Event
    fields: Mapping[str, Any] = field(default_factory=dict)
    body: str | None = None
    back: Status | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a field that no event may change, or that no model defines."""
        if unknown := self.fields.keys() - CHANGEABLE | self.extra.keys() & KEYS:
            raise InputError(f"{self.event.value} cannot change {', '.join(sorted(unknown))}")

    def value(self, item: Item, name: str) -> Any:
        """Return the value of a field of the item after the change."""
        if name not in self.fields:
            return getattr(item, name)
        value = self.fields[name]
        return _DEFAULTS[name] if value is None else value

    def document(self, item: Item, status: Status, *, event_id: str, now: str) -> Document:
        """Return the item's document after the change; lines of other fields stay as they are.

        `now` is the time of the event in the form of documents.
        """
        changed = {name: _written(name, value) for name, value in self.fields.items()}
        changed |= {"status": status.value, "event": event_id} | dict(self.extra)
        if status is not item.status:
            changed.setdefault("since", now)
        old = item.document
        kept = {
            key: value
            for key, value in changed.items()
            if value is not None or key in old.fields
            if key not in old.fields or old.value(key) != value
        }
        document = old.update(kept)
        return document if self.body is None else document.with_body(self.body)


def _written(name: str, value: Any) -> Any:
    """Return a value as documents have it, None for a line that is left out."""
    if value is None or (value == _DEFAULTS[name] and name not in _WRITTEN_OUT):
        return None
    json = as_json(value)
    # A person's lease has no process.
    return {k: v for k, v in json.items() if v not in ("", 0)} if name == "lease" else json


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work that an attempt made: its commits, and who built it."""

    base: str
    commit: str
    builder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The document that an attempt wrote: the item's new text, the commit read, and its author."""

    base: str
    body: str
    builder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the end of an attempt, or a decision of a person, brings; it has a run log.

    `run` is the path of that run log. `work` is set if the attempt made work, `written` if it wrote
    a document, `approval` if it approves the item's work or document. `tree` is set if it returns
    that tree, or the document of that hash, `red_target` if a check is red on the target as well.
    """

    stage: str
    counters: Mapping[str, int]
    run: str
    reason: str = ""
    work: Work | None = None
    written: Written | None = None
    approval: Reviewed | None = None
    tree: str = ""
    red_target: RedTarget | None = None
