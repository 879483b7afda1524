"""Compare documents with what gitmill itself would have written, to the byte.

Equal values are not enough: another spelling, order or comment is something that no event wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gitmill.core import changes
from gitmill.core.audit.event import AuditedEvent, Fault
from gitmill.core.change import Change
from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import value_of
from gitmill.core.redaction import is_redacted
from gitmill.errors import BadDocumentError

# The first and last keys of documents that are written once, in gitmill's order.
_RECORD = (
    "name", "command", "inputs", "tree", "definition", "setup", "platform", "shared", "lent",
    "seconds", "at", "by",
)  # fmt: skip
_LOG = (
    ("item", "number", "stage", "stages", "verdict", "exit", "by", "agent", "claim", "plan",
     "started", "seconds"),
    ("summary", "findings", "earlier", "checks"),
)  # fmt: skip


def wrong_bytes(turn: AuditedEvent, before: Item, allowed: Iterable[Change]) -> Iterator[Fault]:
    """Yield a fault if the item's document is not the one before with one of the changes."""
    after = turn.after
    if turn.record.version < 2:
        return  # the first versions wrote some values in other ways
    now = value_of(after.document, "since")
    for change in allowed:
        for over in _over(turn, before):
            expected = change.document(over, after.status, event_id=after.event, now=now)
            if _is(after.document, expected, over.document):
                return
    yield Fault("wrong-bytes", f"{turn.record.event} writes other bytes than it must")


def wrong_birth(turn: AuditedEvent) -> Iterator[Fault]:
    """Yield a fault if a new item's document is not as gitmill writes one."""
    if "Hand" in turn.record.extra:
        return  # the rest of it is as a person typed it
    if turn.after.extra:
        yield Fault("wrong-fields", f"no model has {', '.join(sorted(turn.after.extra))}")
    if not _is_canonical(turn.after.document, changes.FIRST):
        yield Fault("wrong-bytes", "the item was created in bytes that gitmill does not write")


def is_log(document: Document) -> bool:
    """Whether a run log has the form that gitmill writes."""
    return _is_canonical(document, *_LOG)


def is_record(document: Document) -> bool:
    """Whether the record of a passed check has the form that gitmill writes."""
    known = document.fields.keys() <= set(_RECORD)
    return known and not document.body and _is_canonical(document, _RECORD)


def _over(turn: AuditedEvent, before: Item) -> Iterator[Item]:
    """Yield the items whose document the event can have been written over.

    After a hand edit that is also the person's, in which what gitmill refused has its old value
    again.
    """
    yield before
    if turn.over is None:
        return
    new, old, after = turn.over, before.document, turn.after.document
    decided = {"status", "reason", "answer"}
    changed = sorted(
        key for key in {*old.fields, *new.fields} if value_of(old, key) != value_of(new, key)
    )
    back = [k for k in changed if k in decided or value_of(after, k) == value_of(old, k)]
    yield replace(before, document=new.update({key: old.value(key) for key in back}))


def _is(actual: Document, expected: Document, over: Document) -> bool:
    """Whether documents are equal; lines that an event adds may come in another order.

    Earlier versions wrote some of them in the order of a set.
    """
    if actual.text == expected.text or is_redacted(actual.text, expected.text):
        return True
    added = expected.fields.keys() - over.fields.keys()
    if not added <= actual.fields.keys() or any(
        _lines(actual, key) != _lines(expected, key) for key in added
    ):
        return False
    without = dict.fromkeys(added)
    return actual.update(without).text == expected.update(without).text


def _lines(document: Document, key: str) -> list[str]:
    field = document.fields[key]
    return document.text.split("\n")[field.start : field.end]


def _is_canonical(document: Document, first: Sequence[str], last: Sequence[str] = ()) -> bool:
    try:
        fields = list(document.fields)
        values = {key: document.value(key) for key in fields}
    except BadDocumentError:
        return False
    inner = [key for key in fields if key not in {*first, *last}]
    order = [key for key in first if key in values] + inner + [k for k in last if k in values]
    return fields == order and Document.new(values, document.body).text == document.text
