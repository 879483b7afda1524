"""The lifecycle of an item: a closed table, a pure function, and a diagram drawn from them."""

from __future__ import annotations

from enum import StrEnum
from itertools import groupby

from gitmill.errors import IllegalTransitionError, LeasedError

# The version of the rules: this table, and the functions of `changes.py`. A changed rule is a new
# version, and the old one is kept for events that follow it; docs/formats.md lists the versions.
RULES = 2
DISPUTES_SINCE = 2  # a landing can be disputed and upheld
MOVED_SINCE = 2  # landings lost to a target that moved are counted
RED_TARGETS_SINCE = 2  # a check can be red without the work: the item waits for the target
NOTHING_TO_DO_SINCE = 2  # a build that changes nothing can end its item


class Status(StrEnum):
    """The status of an item."""

    DRAFT = "draft"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    BLOCKED = "blocked"
    APPROVED = "approved"
    QUEUED = "queued"
    LANDING = "landing"
    LANDED = "landed"
    DONE = "done"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """An event in the life of an item."""

    CREATED = "created"
    READIED = "readied"
    EDITED = "edited"
    SPLIT = "split"
    CLAIMED = "claimed"
    ADVANCED = "advanced"
    APPROVAL_COUNTED = "approval-counted"
    RETURNED = "returned"
    FAILED = "failed"
    LAPSED = "lapsed"
    RELEASED = "released"
    ASKED = "asked"
    ANSWERED = "answered"
    HELD = "held"
    APPROVED = "approved"
    EXPANDED = "expanded"
    FINISHED = "finished"
    QUEUED = "queued"
    DEQUEUED = "dequeued"
    LAND_STARTED = "land-started"
    LAND_ABORTED = "land-aborted"
    EJECTED = "ejected"
    RE_REVIEW = "re-review"
    LANDED = "landed"
    DISPUTED = "disputed"
    UPHELD = "upheld"
    REVERTED = "reverted"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    CANCELLED = "cancelled"
    REOPENED = "reopened"
    UNDONE = "undone"


S, E = Status, Event
FINAL = frozenset({S.LANDED, S.DONE, S.CANCELLED})
MET = frozenset({S.LANDED, S.DONE})  # a dependency with one of these statuses is met
WORKING = frozenset({S.RUNNING, S.LANDING})  # the item has a lease
_OPEN = frozenset(Status) - FINAL


def _rows() -> dict[tuple[Status | None, Event], Status]:
    table: dict[tuple[Status | None, Event], Status] = {
        (None, E.CREATED): S.DRAFT,
        (S.DRAFT, E.READIED): S.READY,
        (S.READY, E.CLAIMED): S.RUNNING,
        (S.RUNNING, E.ADVANCED): S.READY,
        (S.WAITING, E.ADVANCED): S.READY,
        (S.RUNNING, E.APPROVAL_COUNTED): S.READY,
        (S.RUNNING, E.RETURNED): S.READY,
        (S.WAITING, E.RETURNED): S.READY,
        (S.RUNNING, E.FAILED): S.READY,
        (S.RUNNING, E.LAPSED): S.READY,
        (S.RUNNING, E.RELEASED): S.READY,
        (S.RUNNING, E.ASKED): S.WAITING,
        (S.WAITING, E.ANSWERED): S.READY,
        (S.RUNNING, E.APPROVED): S.APPROVED,
        (S.WAITING, E.APPROVED): S.APPROVED,
        (S.READY, E.EXPANDED): S.READY,
        (S.RUNNING, E.FINISHED): S.DONE,
        (S.APPROVED, E.FINISHED): S.DONE,
        (S.APPROVED, E.QUEUED): S.QUEUED,
        (S.QUEUED, E.DEQUEUED): S.APPROVED,
        (S.QUEUED, E.LAND_STARTED): S.LANDING,
        (S.LANDING, E.LAND_ABORTED): S.QUEUED,
        (S.LANDING, E.EJECTED): S.READY,
        (S.LANDING, E.RE_REVIEW): S.READY,
        (S.LANDING, E.LANDED): S.LANDED,
        (S.LANDED, E.DISPUTED): S.WAITING,
        (S.WAITING, E.UPHELD): S.LANDED,
        (S.LANDED, E.REVERTED): S.WAITING,
        (S.WAITING, E.REVERTED): S.WAITING,
        (S.BLOCKED, E.UNBLOCKED): S.READY,
        (S.BLOCKED, E.REOPENED): S.READY,
        (S.WAITING, E.REOPENED): S.READY,
    }
    table |= {(status, event): status for status in Status for event in (E.EDITED, E.SPLIT)}
    table |= {(status, E.HELD): S.WAITING for status in _OPEN - {S.LANDING}}
    table |= {
        (status, E.BLOCKED): S.BLOCKED
        for status in (S.DRAFT, S.READY, S.RUNNING, S.WAITING, S.APPROVED, S.QUEUED)
    }
    table |= {(status, E.CANCELLED): S.CANCELLED for status in _OPEN - {S.LANDING}}
    return table | {(status, E.REOPENED): S.READY for status in FINAL}


TRANSITIONS = _rows()

# Events that `undo` reverses along their arrow. Not among them are events with an opposite of
# their own (queued, edited, claimed), events that cost nothing (lapsed, released), and facts about
# the target (ejected, landed, disputed, upheld, reverted): a landing is undone by its revert.
UNDOABLE = frozenset({
    E.READIED, E.ADVANCED, E.APPROVAL_COUNTED, E.RETURNED, E.FAILED, E.ASKED, E.ANSWERED,
    E.APPROVED, E.BLOCKED, E.UNBLOCKED, E.CANCELLED, E.REOPENED,
})  # fmt: skip
# The pairs of statuses that `undone` can connect. A worker's outcome is undone together with its
# claim, so the item returns to the status before the claim and never to a lease.
UNDOES = frozenset(
    (to, S.READY if at is S.RUNNING else at)
    for (at, event), to in TRANSITIONS.items()
    if event in UNDOABLE and at is not None
)

# Events that only the holder of the lease can record; each carries its claim.
WORKERS = frozenset({
    E.APPROVAL_COUNTED, E.FAILED, E.RELEASED, E.ASKED,
    E.LAND_ABORTED, E.EJECTED, E.RE_REVIEW, E.LANDED,
})  # fmt: skip
# Events that take a lease.
STARTS = frozenset({E.CLAIMED, E.LAND_STARTED})
# Events that a person can record while work runs: the worker loses its lease.
OVERRULES = frozenset({E.BLOCKED, E.CANCELLED, E.HELD, E.LAPSED, E.EDITED})


def advance(status: Status | None, event: Event, *, back: Status | None = None) -> Status:
    """Return the status after an event. Raises `IllegalTransitionError` if the table has none.

    `back` is for `undone` only: the status before the undone event.
    """
    if event is E.UNDONE and status and back and (status, back) in UNDOES:
        return back
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        now = "does not exist" if status is None else f"is {status.value}"
        raise IllegalTransitionError(f"the item {now}, so it cannot be {event.value}") from None


def is_transition(status: Status | None, event: Event, to: Status) -> bool:
    """Whether an event can lead from one status to another, as a state commit claims."""
    if event is E.UNDONE:
        return (status, to) in UNDOES
    return TRANSITIONS.get((status, event)) is to


_OPPOSITES = {
    E.QUEUED: E.DEQUEUED, E.DEQUEUED: E.QUEUED, E.EDITED: E.EDITED, E.CLAIMED: E.RELEASED,
    E.BLOCKED: E.UNBLOCKED, E.UNBLOCKED: E.BLOCKED, E.CANCELLED: E.REOPENED,
    E.REOPENED: E.CANCELLED,
}  # fmt: skip


def opposite(event: Event, at: Status | None, to: Status) -> Event | None:
    """Return the event that leads back from `to` to `at`, None if the event cannot be undone.

    That is the event of a person's command if it leads exactly there, else `undone`. A created
    item is cancelled, because no status precedes it.
    """
    if event is E.CREATED:
        return E.CANCELLED
    if event in _OPPOSITES and TRANSITIONS.get((to, _OPPOSITES[event])) is at:
        return _OPPOSITES[event]
    return E.UNDONE if event in UNDOABLE else None


def check_claim(status: Status, event: Event, *, holder: str | None, claim: str | None) -> None:
    """Refuse a worker without the current claim, and a person acting in a worker's place.

    Raises `LeasedError`. `holder` is the claim in the item's lease, `claim` the one of the event.
    """
    if event in STARTS:
        return
    if claim is not None and claim != holder:
        raise LeasedError("this claim is no longer current; the result was not recorded")
    if claim is None and status in WORKING and event not in OVERRULES:
        raise LeasedError("another process is working on it")
    if claim is None and event in WORKERS:
        raise LeasedError(f"only the holder of the lease can record {event.value}")


def allowed(status: Status) -> tuple[Event, ...]:
    """Return the events that are legal in a status, in the table's order."""
    return tuple(event for (at, event) in TRANSITIONS if at is status)


def mermaid() -> str:
    """Return the table as a Mermaid state diagram; events with equal ends share an arrow."""
    moves = sorted(
        (at.value if at else "[*]", to.value, event.value)
        for (at, event), to in TRANSITIONS.items()
        if at is not to or event is E.EXPANDED
    )
    lines = ["stateDiagram-v2"]
    for (at, to), group in groupby(moves, key=lambda move: move[:2]):
        lines.append(f"    {at} --> {to}: {', '.join(event for _, _, event in group)}")
    lines += [f"    {status.value} --> [*]" for status in Status if status in FINAL]
    return "\n".join(lines) + "\n"
