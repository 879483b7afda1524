"""Compare an item after an event with the changes that the rules allow for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gitmill.core.audit.event import AuditedEvent, Fault
from gitmill.core.audit.written import wrong_bytes
from gitmill.core.change import BOOKS, Change
from gitmill.core.item import KEYS, Item, Reviewed
from gitmill.core.lifecycle import Event
from gitmill.core.product import document_hash

# What `check_event` and the evidence have checked already.
_CHECKED = BOOKS | {"lease"}
_COMPARED = sorted(KEYS - _CHECKED)
# Fields that events of the first version of the rules were never checked for.
_UNCHECKED_IN_1 = frozenset({
    "labels", "feedback", "returned", "bare", "answer", "reason", "reverted", "cancel_requested",
})  # fmt: skip
_RULES = {
    "stage": "outcome", "counters": "counters", "reviewed": "wrong-review", "base": "wrong-work",
    "work": "wrong-work",
}  # fmt: skip


def compare(turn: AuditedEvent, before: Item, allowed: Sequence[Change]) -> Iterator[Fault]:
    """Yield nothing if one of the allowed changes is met, else the differences to the nearest."""
    event, after = turn.event, turn.after
    assert event is not None
    matching = [
        change
        for change in allowed
        if (change.event, change.value(before, "stage")) == (event, after.stage)
    ]
    if not matching:
        yield Fault("outcome", _mismatch(event, before, after, allowed))
        return
    differences = [(change, list(_differing(turn, before, change))) for change in matching]
    nearest, differing = min(differences, key=lambda each: len(each[1]))
    work_reported = False
    for name in differing:
        rule = _RULES.get(name, "wrong-fields")
        if rule == "wrong-work" and work_reported:
            continue
        work_reported = work_reported or rule == "wrong-work"
        yield Fault(rule, _described(event, name, before, after, nearest))
    yield from _reviewed_work(turn, before)
    faults = list(_rest_of_document(turn, event, before, nearest))
    yield from faults
    equal = [change for change, names in differences if not names]
    if equal and not faults:
        yield from wrong_bytes(turn, before, [_with_patches(turn, change) for change in equal])


def _mismatch(event: Event, before: Item, after: Item, allowed: Sequence[Change]) -> str:
    if not allowed:
        return "no stage of the frozen plan can have given this verdict"
    first = allowed[0]
    actual = f"{event.value} at {after.stage or 'no stage'}"
    planned = f"{first.event.value} at {first.value(before, 'stage') or 'no stage'}"
    return f"it is {actual}, but the frozen plan leads to {planned}"


def _differing(turn: AuditedEvent, before: Item, change: Change) -> Iterator[str]:
    """Yield the fields whose value after the event is not the one of the change."""
    for name in _COMPARED:
        expected, actual = change.value(before, name), getattr(turn.after, name)
        if name == "reviewed" and _same(expected, actual):
            continue
        if turn.record.version < 2 and name in _UNCHECKED_IN_1:
            continue
        if expected != actual:
            yield name


def _described(event: Event, name: str, before: Item, after: Item, change: Change) -> str:
    expected, actual = change.value(before, name), getattr(after, name)
    if name == "counters":
        return f"the counters are {_counters(actual)}, not {_counters(expected)}"
    if name == "reviewed":
        return "its approvals are not those of passed reviews of its work"
    if name in ("work", "base"):
        made = change.value(before, "work")[:10] or "none"
        return f"the work is {after.work[:10] or 'none'}, the attempt made {made}"
    old = getattr(before, name)
    if expected == old:
        return f"{event.value} does not change {name}"
    return f"{event.value} leaves {name} as it was" if actual == old else f"{name} is another"


def _counters(counters: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counters.items())) or "none"


def _same(expected: tuple[Reviewed, ...], actual: tuple[Reviewed, ...]) -> bool:
    """Whether approvals are equal. A person's run log has no patch; the landing checks that one."""
    return len(expected) == len(actual) and all(
        replace(a, patch="") == replace(b, patch="") and (not a.patch or a.patch == b.patch)
        for a, b in zip(expected, actual, strict=True)
    )


def _with_patches(turn: AuditedEvent, change: Change) -> Change:
    """Return a change with the patches of its approvals, which a person's run log does not have."""
    if change.fields.get("reviewed") is None:
        return change
    return replace(change, fields={**change.fields, "reviewed": turn.after.reviewed})


def _reviewed_work(turn: AuditedEvent, before: Item) -> Iterator[Fault]:
    after, run = turn.after, turn.run
    has_more = len(after.reviewed) > len(before.reviewed)
    if run is not None and has_more and after.is_written:
        if run.document != document_hash(after.document.body):
            yield Fault("wrong-review", "the review was of another text than the document")
    elif run is not None and has_more and run.work != after.work:
        reviewed = run.work[:10] or "nothing"
        yield Fault("wrong-review", f"the review was of {reviewed}, the work is {after.work[:10]}")


def _rest_of_document(
    turn: AuditedEvent, event: Event, before: Item, change: Change
) -> Iterator[Fault]:
    """Yield what an event changed beside the known fields: the text, the time, unknown keys."""
    after = turn.after
    body = before.document.body if change.body is None else change.body
    if after.document.body != body:
        yield Fault("wrong-fields", f"{event.value} does not change the text")
    if after.status is before.status and after.since != before.since:
        yield Fault("wrong-fields", f"{event.value} does not change since")
    known: Mapping[str, Any] = {**before.extra, **change.extra}
    for key in sorted(known.keys() | after.extra.keys()):
        if after.extra.get(key) != known.get(key):
            yield Fault("wrong-fields", f"{event.value} does not change {key}, which no model has")
