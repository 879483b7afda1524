"""Whether one event of an item was legal, from the history alone.

`judge` is the whole judgement; what an attempt's evidence must have led to is in `core.outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gitmill.core.ids import Kind, derived_id
from gitmill.core.item import Item, frozen_hash
from gitmill.core.lifecycle import WORKING, Event, Status, advance, check_claim
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.runlog import Log
from gitmill.core.trailers import EventRecord
from gitmill.errors import IllegalTransitionError, LeasedError

# The rules of fsck; docs/verify.md has the same table.
RULES = {
    "root": "the first commit is the one that every clone begins with",
    "bad-trailers": "trailers of gitmill can be read and name one event",
    "hand-edit": "a hand edit was applied before the next event",
    "unknown-event": "an event is one that gitmill knows",
    "duplicate-event": "no two commits carry the same event",
    "broken-chain": "an event names the item's event before it",
    "illegal-event": "the lifecycle has this event from where the item stood",
    "wrong-status": "statuses in the trailers, in the document and by the lifecycle are the same",
    "disagrees": "event, stage and plan in the document are those of the trailers",
    "wrong-claim": "a worker's event carries the claim of the lease, a claim is never used twice",
    "wrong-lease": "an item has a lease while it is being worked on, and only then",
    "wrong-files": "a commit changes only what its event may change",
    "wrong-fields": "an event changes only the fields that it may change",
    "document": "documents can be read",
    "criteria-changed": "criteria, script and paths stay as they were at the claim",
    "evidence": "an attempt has one run log, named by its hash, of this item and this claim",
    "run-log-changed": "a run log is never rewritten or removed",
    "outcome": "the verdict of an attempt led to the stage that the frozen plan names",
    "counters": "counters grow as the frozen plan counts",
    "wrong-review": "an approval is a passed review of exactly the work that the item has",
    "wrong-work": "the work is the commit that the attempt made",
    "missing-check": "every required check passed on exactly that tree",
    "frozen-plan": "a frozen plan is named by the hash of its content and never changes",
    "pass-changed": "the record of a passed check agrees with its name and never changes",
    "pass-without-run": "a passed check was recorded by the attempt or landing that ran it",
    "wrong-candidate": "what landed is the candidate that was to land, on the commit below it",
    "landed-twice": "a commit lands once",
    "not-on-target": "what landed is on the target, unless it was reverted",
    "wrong-patch": "what landed is the patch that was reviewed",
    "not-reviewed": "every review that the frozen plan asks for was passed by the landed patch",
    "wrong-undo": "an undo reverses the last effective events and restores the state before them",
    "note": "every landed commit, and no other, has a note that agrees with the state",
    "work-ref": "the ref of an item's work is at the item's work",
}

REVERT = "revert:"  # prefix of the source of a task that reverts a landing
E = Event
_EVENTS = {event.value: event for event in Event}
_TEXT = frozenset({E.EDITED, E.SPLIT})
_MAKES_WORK = frozenset({
    E.ADVANCED, E.APPROVAL_COUNTED, E.APPROVED, E.RETURNED, E.FAILED, E.ASKED, E.BLOCKED,
    E.FINISHED, E.RE_REVIEW, E.HELD,
})  # fmt: skip
# The events that may change each field; those that restart an item may only empty the fields below.
_MAY = {
    "id": frozenset[Event](), "kind": frozenset[Event](), "created": frozenset[Event](),
    "by": frozenset[Event](), "parent": frozenset[Event](), "source": frozenset[Event](),
    "title": _TEXT, "risk": _TEXT, "priority": _TEXT, "after": _TEXT,
    "criteria": _TEXT, "script": _TEXT, "paths": _TEXT,
    "landed": frozenset({E.LANDED}), "checked": frozenset({E.LANDED}),
    "landing": frozenset({
        E.LAND_STARTED, E.LAND_ABORTED, E.EJECTED, E.RE_REVIEW, E.LANDED,
    }),
    "budget_after": frozenset({E.UNBLOCKED, E.REOPENED}),
    "plan": frozenset({E.CLAIMED}), "frozen": frozenset({E.CLAIMED}),
    "base": _MAKES_WORK, "work": _MAKES_WORK, "builder": _MAKES_WORK,
}  # fmt: skip
_EMPTIES = {
    E.REOPENED: frozenset({
        "landed", "checked", "landing", "plan", "frozen", "base", "work", "builder",
    }),
    E.REVERTED: frozenset({"landed", "checked"}),
    E.EDITED: frozenset({"plan", "frozen", "base", "work", "builder"}),
}  # fmt: skip
_EARNED = (
    "stage", "lease", "counters", "attempt", "budget_after", "reviewed", "landed", "checked",
    "landing", "plan", "frozen", "base", "work", "builder",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule that is broken, and how."""

    rule: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEvent:
    """One event of an item as a commit has it.

    `claimed` is the item as it was when the lease of `before` was taken, `plan` the frozen plan
    that it runs under, `run` the run log that the commit adds and `run_oid` that log's blob. For an
    undo `undone` is the item as it was before what is taken back, None when that is not the last.
    """

    record: EventRecord
    before: Item | None
    after: Item
    claimed: Item | None = None
    plan: FrozenPlan | None = None
    run: Log | None = None
    run_oid: str = ""
    undone: Item | None = None

    @property
    def is_undo(self) -> bool:
        """Whether it takes events back."""
        return "Undoes" in self.record.extra

    @property
    def event(self) -> Event | None:
        """The event, None when the lifecycle knows none of that name."""
        return _EVENTS.get(self.record.event)


def judge(turn: AuditedEvent) -> Iterator[Fault]:
    """Yield the faults of an event, except those of its evidence."""
    event, before = turn.event, turn.before
    if event is None:
        yield Fault("unknown-event", f"there is no event {turn.record.event}")
        return
    was = before.event if before else ""
    if turn.record.after != was:
        named = turn.record.after or "none"
        yield Fault("broken-chain", f"it names {named} as the event before it, not {was or 'none'}")
    yield from _status(turn, event)
    yield from _agreement(turn)
    yield from _claim(turn, event)
    if before is None:
        yield from _newborn(turn.after)
    elif turn.is_undo:
        yield from _undo(before, turn.after, turn.undone)
    else:
        yield from _fields(before, turn.after, event)
    yield from _frozen(turn, event)


def _status(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    before = turn.before.status if turn.before else None
    told, stands = turn.record.status_before, before.value if before else ""
    if told != stands:
        yield Fault(
            "wrong-status", f"it records from {told or 'nothing'}, but it was {stands or '-'}"
        )
    if turn.record.to != turn.after.status.value:
        yield Fault(
            "wrong-status", f"it records to {turn.record.to}, but it is {turn.after.status.value}"
        )
    try:
        leads = advance(before, event, back=turn.after.status)
    except IllegalTransitionError as error:
        yield Fault("illegal-event", error.message)
        return
    if leads is not turn.after.status:
        what = f"{event.value} leads to {leads.value}, and it is {turn.after.status.value}"
        yield Fault("wrong-status", what)


def _agreement(turn: AuditedEvent) -> Iterator[Fault]:
    record, after = turn.record, turn.after
    plan = after.plan or (turn.before.plan if turn.before else "")
    for name, told, stands in (
        ("event", record.id, after.event),
        ("stage", record.stage, after.stage),
        ("plan", record.plan, plan),
    ):
        if told != stands:
            what = f"the trailers have {name} {told or 'none'}, the document has {stands}"
            yield Fault("disagrees", what if stands else f"{what}none")


def _claim(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    lease, claim = turn.after.lease, turn.record.claim or None
    held = turn.before.lease if turn.before else None
    status = turn.before.status if turn.before else Status.DRAFT
    try:
        check_claim(status, event, holder=held.claim if held else None, claim=claim)
    except LeasedError as error:
        carried = f"claim {claim}" if claim else "no claim"
        lent = f"the lease is {held.claim}" if held else "there is no lease"
        yield Fault("wrong-claim", f"it carries {carried}, {lent}: {error.message}")
    if (lease is not None) != (turn.after.status in WORKING):
        has = "a lease" if lease else "no lease"
        yield Fault("wrong-lease", f"it is {turn.after.status.value} with {has}")
    elif lease is not None and event in (E.CLAIMED, E.LAND_STARTED):
        if lease.claim != claim:
            yield Fault("wrong-claim", f"it carries {claim or 'no claim'}, not {lease.claim}")
    elif lease is not None and held != lease:
        yield Fault("wrong-lease", "the lease changed while it was held")


def _fields(before: Item, after: Item, event: Event) -> Iterator[Fault]:
    empties = _EMPTIES.get(event, frozenset())
    for name, events in _MAY.items():
        value: Any = getattr(after, name)
        if value == getattr(before, name) or event in events:
            continue
        if event is E.CLAIMED and takes_back(before) and (name == "criteria" or not value):
            continue  # it is set again, whatever its value was
        if name not in empties or value:
            yield Fault("wrong-fields", f"{event.value} does not change {name}")
    again = event in (E.REOPENED, E.REVERTED) or (
        event is E.EDITED and before.frozen and not after.frozen
    )
    for name in sorted(empties) if again else ():
        value = getattr(after, name)
        if value and value == getattr(before, name):
            yield Fault("wrong-fields", f"{event.value} leaves {name} as it was")
    if before.document.body != after.document.body and event not in _TEXT:
        yield Fault("wrong-fields", f"{event.value} does not change the text")
    if after.budget_after not in (before.budget_after, after.attempt):
        what = f"the budget starts after run log {after.budget_after}, not {after.attempt}"
        yield Fault("counters", what)


def takes_back(item: Item) -> bool:
    """Whether an item is the one task that takes a certain landing back."""
    return item.source.startswith(REVERT) and item.id == derived_id(Kind.TASK, item.source)


def _undo(before: Item, after: Item, undone: Item | None) -> Iterator[Fault]:
    """Require each field to be unchanged, or as it was before the undone events."""
    if undone is None:
        yield Fault("wrong-undo", "it does not undo the last effective events")
        return
    for name in (*_MAY, "stage", "counters", "reviewed"):
        if getattr(after, name) not in (getattr(before, name), getattr(undone, name)):
            yield Fault("wrong-undo", f"{name} is not restored")
    if after.document.body not in (before.document.body, undone.document.body):
        yield Fault("wrong-undo", "the text is not restored")


def _newborn(item: Item) -> Iterator[Fault]:
    """Refuse a new item with fields that only an attempt can set."""
    for name in _EARNED:
        if getattr(item, name):
            yield Fault("wrong-fields", f"it was created with {name}")


def _frozen(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    """Compare the item with the hash that its claim froze; it may change only between attempts."""
    before, after = turn.before, turn.after
    if not after.frozen:
        rests = before is None or before.status in (Status.DRAFT, Status.READY, Status.BLOCKED)
        taken = event is E.EDITED and not turn.is_undo
        if taken and before is not None and before.frozen and not rests:
            yield Fault("criteria-changed", f"edited while it was {before.status.value}")
        return
    if before is not None and before.frozen == after.frozen and _asked(before) == _asked(after):
        return  # reported at the event that caused it
    if after.frozen != frozen_hash(*_asked(after)):
        yield Fault("criteria-changed", f"the claim froze {after.frozen}, the item now differs")


def _asked(item: Item) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    return item.criteria, item.script, item.paths
