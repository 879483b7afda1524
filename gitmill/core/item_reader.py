"""Read the document of an item, in two tiers.

This module reads values as gitmill writes them, by their plain types. A document with any other
value, which a person wrote, goes to `item_schema.py`: that returns the same item or reports the
fault, and imports pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from gitmill.core.document import Document
from gitmill.core.ids import PATTERN, Kind, kind_of
from gitmill.core.item import LINE, OID, Item, Landing, RedTarget, Reviewed, Risk
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import Status

# Fields whose scalars are text whatever they look like: 1.10, on, 007.
_TEXT = frozenset({
    "id", "title", "by", "stage", "after", "paths", "labels", "criteria", "script", "fixes_check",
    "parent", "source", "plan", "frozen", "builder", "base", "work", "feedback", "returned",
    "landed", "reverted", "disputed", "reason", "answer", "event", "status", "kind", "risk",
    "created", "since",
})  # fmt: skip
_LISTS = frozenset({"after", "paths", "labels", "criteria"})


def value_of(document: Document, key: str) -> Any:
    """Return a field of an item's document in the field's type: text stays as typed."""
    return document.text_value(key) if key in _TEXT else document.value(key)


def read_item(document: Document) -> Item:
    """Read a document as an item.

    Raises `BadDocumentError` with file, line, key and the expected value.
    """
    if not document.has_front_matter:
        raise document.error(0, "expected front matter between two lines `---`")
    values: dict[str, Any] = {}
    for key in document.fields:
        value = value_of(document, key)
        if key in _LISTS and isinstance(value, str):
            value = [value]
        if value is not None:
            values[key] = value
    item = _plain(document, values)
    if item is None:
        from gitmill.core.item_schema import validated  # noqa: PLC0415  (imports pydantic)

        item = validated(document, values)
    if kind_of(item.id) is not item.kind:
        what = f"kind must be {kind_of(item.id).value}, as in its id, not {item.kind.value}"
        raise document.error(document.line_of("kind"), what)
    return item


# -- the plain tier: values as gitmill writes them -------------------------------------------------


class _NotPlainError(Exception):
    """A value that only the schema can validate."""


def _plain(document: Document, values: Mapping[str, Any]) -> Item | None:
    """Return the item if every value has the plain type that gitmill writes, else None."""
    try:
        known = {key: _READERS[key](value) for key, value in values.items() if key in _READERS}
        extra = {key: value for key, value in values.items() if key not in _READERS}
        return Item(**known, document=document, extra=extra)
    except (_NotPlainError, TypeError, KeyError, ValueError):
        return None


def _of(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _NotPlainError
        return value

    return read


def _text(value: Any) -> str:
    if type(value) is not str or not (value.isascii() or _is_unicode(value)):
        raise _NotPlainError
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # from bytes that were not UTF-8
        return False
    return True


def _matching(allowed: Callable[[str], object]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not allowed(_text(value)):
            raise _NotPlainError
        return str(value)

    return read


def _number(lowest: int, highest: int | None = None) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or value < lowest or (highest is not None and value > highest):
            raise _NotPlainError
        return value

    return read


def _texts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise _NotPlainError
    return tuple(map(_text, value))


def _ids(value: Any) -> tuple[str, ...]:
    return tuple(map(_id, _texts(value)))


def _time(value: Any) -> datetime:
    if type(value) is not str or not value.endswith("Z") or len(value) not in (20, 24, 27):
        raise _NotPlainError
    return datetime.fromisoformat(value)


def _counters(value: Any) -> dict[str, int]:
    if type(value) is not dict:
        raise _NotPlainError
    return {key: _counter(count) for key, count in value.items()}


def _checks(value: Any) -> tuple[Mapping[str, Any], ...]:
    if type(value) is not list or any(type(check) is not dict for check in value):
        raise _NotPlainError
    return tuple(value)


def _part(kind: type, readers: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _NotPlainError
        known = {key: readers[key](inner) for key, inner in value.items() if key in readers}
        extra = {key: inner for key, inner in value.items() if key not in readers}
        return kind(**known, extra=extra)

    return read


def _approvals(value: Any) -> tuple[Reviewed, ...]:
    if type(value) is not list:
        raise _NotPlainError
    return tuple(map(_approval, value))


_flag, _counter = _of(bool), _number(0, 1000)
_id = _matching(PATTERN.fullmatch)
_oid = _matching(re.compile(OID).fullmatch)
_approval = _part(
    Reviewed,
    {
        "commit": _oid,
        "patch": _text,
        "by": _text,
        "run": _of(int),
        "stage": _text,
        "document": _text,
    },
)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TEXT, _text),
    **dict.fromkeys(("base", "work", "returned", "landed", "reverted", "disputed"), _oid),
    **dict.fromkeys(("paths", "labels", "criteria"), _texts),
    **dict.fromkeys(("created", "since"), _time),
    **dict.fromkeys(("attempt", "budget_after"), _number(0)),
    **dict.fromkeys(("bare", "cancel_requested"), _flag),
    "id": _id,
    "after": _ids,
    "title": _matching(re.compile(LINE).fullmatch),
    "kind": Kind,
    "status": Status,
    "risk": Risk,
    "priority": _number(0, 4),
    "counters": _counters,
    "checked": _checks,
    "reviewed": _approvals,
    "lease": _part(
        Lease,
        {"claim": _text, "who": _text, "until": _time, "host": _text, "boot": _text,
         "pidns": _text, "pid": _of(int), "started": _text},
    ),
    "landing": _part(Landing, {"candidate": _oid, "onto": _oid, "target": _text}),
    "red_target": _part(RedTarget, {"check": _text, "commit": _oid}),
}  # fmt: skip
