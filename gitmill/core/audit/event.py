"""Check that one event of an item was legal, from the history alone.

`check_event` checks all but the evidence and its outcome; those are in `core.audit.outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitmill.core import changes
from gitmill.core.document import Document
from gitmill.core.item import Item, frozen_hash
from gitmill.core.lifecycle import STARTS, WORKING, Event, Status, advance, check_claim
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.runlog import Log
from gitmill.core.trailers import EventRecord, one_line
from gitmill.errors import IllegalTransitionError, LeasedError

# The rules of fsck; docs/verify.md has the same table.
RULES = {
    "root": "the first commit is the fixed one that all clones share",
    "bad-trailers": "gitmill's trailers are readable and name one event",
    "hand-edit": "a hand edit was applied before the next event",
    "unknown-event": "gitmill knows the event",
    "duplicate-event": "no two commits carry the same event",
    "broken-chain": "an event names the item's event before it",
    "illegal-event": "the lifecycle allows the event in the item's status",
    "wrong-status": "trailers, document and lifecycle agree on the statuses",
    "disagrees": "trailers and document agree on event, stage and plan",
    "wrong-claim": "a worker's event carries the claim of the lease, and no claim is used twice",
    "wrong-actor": "the holder of the claim, an agent of the plan or a person recorded an event",
    "too-early": "an attempt or a landing starts when no pause and no dependency holds it back",
    "wrong-control": "`control.md` has exactly the bytes that its events write",
    "wrong-lease": "an item has a lease while work or a landing runs, only then, and for no longer",
    "wrong-files": "a commit changes only what its event may change",
    "wrong-fields": "an event sets exactly the fields that its function of the rules computes",
    "wrong-bytes": "a document has exactly the bytes that gitmill writes for the event",
    "rules": "the version of the rules is one that gitmill knows, and it never falls",
    "wrong-target": "an event that read the policy names the commit it read, where the target was",
    "document": "documents are readable",
    "criteria-changed": "criteria, script and paths stay as they were at the claim",
    "evidence": "an attempt has one run log, named by its hash, of this item and this claim",
    "run-log-changed": "a run log is never rewritten or removed",
    "outcome": "the verdict of an attempt led to the stage that the frozen plan names",
    "counters": "counters change as the frozen plan requires",
    "wrong-review": "an approval is a passed review of exactly the item's work",
    "wrong-work": "the work is the commit that the attempt made",
    "missing-check": "every required check passed on exactly that tree",
    "frozen-plan": "a frozen plan is named by the hash of its content and never changes",
    "pass-changed": "the record of a passed check agrees with its name and never changes",
    "pass-without-run": "a passed check was recorded by the attempt or landing that ran it",
    "wrong-candidate": "the landed commit is the recorded candidate, on the recorded target tip",
    "landed-twice": "a commit lands once",
    "not-on-target": "a landed commit is on the target's first-parent line, unless it was reverted",
    "not-landed": "a commit of the target that names an item has landed as its work",
    "wrong-end": "a revert undoes what landed, and what ended as on the target already was there",
    "wrong-patch": "the landed patch is the reviewed patch",
    "not-sane": "the landed change passes sanity, or a person has approved what sanity asks about",
    "not-reviewed": "the landed patch passed every review that the frozen plan requires",
    "wrong-undo": "an undo reverses the last effective events and restores the state before them",
    "note": "every landed commit, and no other, has a note that agrees with the state",
    "work-ref": "an item's work ref points to the item's work",
    "anchor": "an anchor is a signed tag of a commit on the line of the state branch",
}

E = Event
# The trailers beside those of every event, and the events that have them; none: any event.
EXTRAS: Mapping[str, frozenset[Event]] = {
    "Undoes": frozenset(), "Hand": frozenset(), "Put-Back": frozenset(),
    "Candidate": frozenset({E.LAND_STARTED, E.LANDED}),
    "Onto": frozenset({E.LAND_STARTED, E.LANDED, E.FINISHED}),
    "Reverts": frozenset({E.APPROVED}), "Reverted-By": frozenset({E.REVERTED}),
}  # fmt: skip
LATE = timedelta(minutes=15)  # between the choice of an event's time and its commit
_EVENTS = {event.value: event for event in Event}


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule, and how it is broken."""

    rule: str
    what: str


@dataclass(frozen=True, slots=True)
class Undone:
    """The events that an undo undoes, newest first; the item before the first, after the last."""

    records: tuple[EventRecord, ...]
    before: Item | None
    after: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEvent:
    """One event of an item, as recorded in a commit.

    `claimed` is the item at the time when the lease of `before` was taken, `plan` its frozen plan,
    `run` the run log that the commit adds, `run_oid` its blob and `run_path` its file. For an undo,
    `undone` has the undone events, None if those were not the last effective ones.
    `over` is the document that a person had edited by hand, if the event applies that, `at` the
    time of the commit, and `held_back` what kept an attempt or a landing from starting then.
    """

    record: EventRecord
    before: Item | None
    after: Item
    claimed: Item | None = None
    plan: FrozenPlan | None = None
    run: Log | None = None
    run_oid: str = ""
    run_path: str = ""
    undone: Undone | None = None
    over: Document | None = None
    at: datetime | None = None
    held_back: str = ""

    @property
    def is_undo(self) -> bool:
        """Whether it undoes events."""
        return "Undoes" in self.record.extra

    @property
    def event(self) -> Event | None:
        """The event, None if the lifecycle has none of that name."""
        return _EVENTS.get(self.record.event)


def check_event(turn: AuditedEvent) -> Iterator[Fault]:
    """Yield the faults of an event, except those of its evidence."""
    event, before = turn.event, turn.before
    if event is None:
        yield Fault("unknown-event", f"there is no event {turn.record.event}")
        return
    previous = before.event if before else ""
    if turn.record.after != previous:
        named, expected = turn.record.after or "none", previous or "none"
        yield Fault("broken-chain", f"it names {named} as the event before it, not {expected}")
    yield from _status(turn, event)
    yield from _agreement(turn)
    yield from trailer_faults(turn.record)
    yield from _since(turn, event)
    yield from _claim(turn, event)
    if before is None:
        yield from _newborn(turn.after)
        if one_line(turn.after.by) != turn.record.by:
            yield Fault("disagrees", f"the item is by {turn.after.by}, not {turn.record.by}")
    yield from _frozen(turn, event)


def _status(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    before = turn.before.status if turn.before else None
    recorded, actual = turn.record.status_before, before.value if before else ""
    if recorded != actual:
        what = f"it records the status before as {recorded or 'none'}, not {actual or 'none'}"
        yield Fault("wrong-status", what)
    if turn.record.to != turn.after.status.value:
        what = f"it records the status after as {turn.record.to}, not {turn.after.status.value}"
        yield Fault("wrong-status", what)
    try:
        leads = advance(before, event, back=turn.after.status)
    except IllegalTransitionError as error:
        yield Fault("illegal-event", error.message)
        return
    if leads is not turn.after.status:
        what = f"{event.value} leads to {leads.value}, but the item is {turn.after.status.value}"
        yield Fault("wrong-status", what)


def _agreement(turn: AuditedEvent) -> Iterator[Fault]:
    record, after = turn.record, turn.after
    plan = after.plan or (turn.before.plan if turn.before else "")
    for name, recorded, stored in (
        ("event", record.id, after.event),
        ("stage", record.stage, after.stage),
        ("plan", record.plan, plan),
    ):
        if recorded != stored:
            what = f"the trailers have {name} {recorded or 'none'}, the document {stored or 'none'}"
            yield Fault("disagrees", what)


def trailer_faults(record: EventRecord) -> Iterator[Fault]:
    """Yield the faults in the trailers of an event, of an item or of the whole branch."""
    if not record.by:
        yield Fault("bad-trailers", "it names nobody as the one who did it")
    for name in record.extra:
        events = EXTRAS.get(name)
        if events is None or (events and record.event not in events):
            yield Fault("bad-trailers", f"{record.event} has no trailer Gitmill-{name}")
    if "Undoes" in record.extra and not record.item and record.event not in ("paused", "resumed"):
        yield Fault("wrong-undo", f"{record.event} undoes nothing")


def _since(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    """Compare the time of a new status with the time of the commit."""
    before, after, at = turn.before, turn.after, turn.at
    if at is None or (before is not None and before.status is after.status):
        return
    undone = turn.undone.before if turn.undone is not None else None
    if undone is not None and after.since == undone.since:
        return
    if not -LATE <= at - after.since <= LATE:
        yield Fault("wrong-fields", f"since is {after.since}, {event.value} was at {at}")


def _claim(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    lease, claim = turn.after.lease, turn.record.claim or None
    held = turn.before.lease if turn.before else None
    status = turn.before.status if turn.before else Status.DRAFT
    try:
        check_claim(status, event, holder=held.claim if held else None, claim=claim)
    except LeasedError as error:
        carried = f"claim {claim}" if claim else "no claim"
        leased = f"the lease has claim {held.claim}" if held else "there is no lease"
        yield Fault("wrong-claim", f"it carries {carried}, {leased}: {error.message}")
    if (lease is not None) != (turn.after.status in WORKING):
        what = f"the item is {turn.after.status.value} with {'a' if lease else 'no'} lease"
        yield Fault("wrong-lease", what)
    elif lease is not None and event in STARTS:
        if lease.claim != claim:
            yield Fault("wrong-claim", f"it carries {claim or 'no claim'}, not {lease.claim}")
    elif lease is not None and held != lease:
        yield Fault("wrong-lease", "the lease changed while it was held")


def _newborn(item: Item) -> Iterator[Fault]:
    """Refuse a new item with fields that only an attempt can set."""
    for name in changes.earned(item):
        yield Fault("wrong-fields", f"the item was created with {name}")


def _frozen(turn: AuditedEvent, event: Event) -> Iterator[Fault]:
    """Compare the item with the hash frozen at its claim; it may change only between attempts."""
    before, after = turn.before, turn.after
    if not after.frozen:
        editable = before is None or before.status in (Status.DRAFT, Status.READY, Status.BLOCKED)
        is_edit = event is E.EDITED and not turn.is_undo
        if is_edit and before is not None and before.frozen and not editable:
            yield Fault("criteria-changed", f"edited while the item was {before.status.value}")
        return
    if before is not None and before.frozen == after.frozen and _terms(before) == _terms(after):
        return  # reported at the event that caused it
    if after.frozen != frozen_hash(*_terms(after)):
        yield Fault("criteria-changed", f"the claim froze {after.frozen}, the item now differs")


def _terms(item: Item) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return the fields that a claim freezes."""
    return item.criteria, item.script, item.paths
