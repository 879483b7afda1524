"""What each event sets and empties in an item. Nothing else changes a field of a document.

There is one function per event. Its parameters are the inputs that the event may bring from
outside; all else it computes from the item before it. Writers record the change, and `fsck` takes
the inputs from a commit, computes the change again and compares. An input that breaks its rule
raises `InputError`, for a writer and for `fsck` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitmill.core.change import (
    BIRTH,
    BOOKS,
    CHANGEABLE,
    PROGRESS,
    TEXT,
    WORDS,
    WORK,
    Change,
    InputError,
    Outcome,
)
from gitmill.core.item import (
    ABORTS,
    MOVED,
    Item,
    Landing,
    RedTarget,
    Risk,
    as_json,
    frozen_hash,
)
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import MET, Event, Status
from gitmill.core.product import document_hash
from gitmill.core.trailers import one_line

REASON = 2000  # characters; a reason is one line


def _line(reason: str) -> str | None:
    """Return a reason; the rule is that it is one line of at most `REASON` characters."""
    if reason != one_line(reason, REASON):
        raise InputError("a reason is one line")
    return reason or None


def _lease(lease: Lease) -> Lease:
    """Return a lease; the rule is that it names its claim and its holder."""
    if not (lease.claim and lease.who):
        raise InputError("a lease names its claim and its holder")
    return lease


def _idle(event: Event, **changed: Any) -> Change:
    """Return the change of an event after which nobody has a lease."""
    return Change(event, {**changed, "lease": None})


# -- a person describes the item -------------------------------------------------------------------


# The order of the first lines of a new item; the others follow as they are given.
FIRST = ("id", "kind", "title", "status", "event", "created", "since", "by")


def created(
    birth: Mapping[str, Any], text: Mapping[str, Any], *, event_id: str, now: str
) -> dict[str, Any]:
    """Return the fields of a new item's document, a draft; `now` as in documents.

    `birth` has who made the item and when, its id, kind, parent and source; `text` is a person's.
    """
    if unknown := birth.keys() - BIRTH | text.keys() - TEXT:
        raise InputError(f"a new item cannot have {', '.join(sorted(unknown))}")
    start = {"status": Status.DRAFT, "event": event_id, "since": now}
    values = {**text, **birth, **start}
    names = [*FIRST, *(name for name in values if name not in FIRST)]
    return {name: _as_born(values[name]) for name in names if name in values}


def _as_born(value: Any) -> Any:
    return None if value in ("", (), []) else as_json(value)


def earned(item: Item) -> list[str]:
    """Return the fields of a new item that only an event after its creation can set."""
    names = (*PROGRESS, "lease", "attempt", "budget_after")
    return sorted(name for name in names if getattr(item, name))


def readied() -> Change:
    """Make a draft ready."""
    return _idle(Event.READIED)


def edited(
    item: Item, text: Mapping[str, Any], *, body: str | None = None, again: bool = False
) -> Change:
    """Set fields of a person's text; None empties one.

    With `again` the work so far is void, because what the claim froze has changed. An edit of the
    document that a loop wrote voids what came of it, as approvals of another text do not count.
    """
    if unknown := text.keys() - TEXT:
        raise InputError(f"edited cannot change {', '.join(sorted(unknown))}")
    changed = {name: _typed(name, value) for name, value in text.items()}
    again = again or (item.is_written and body not in (None, item.document.body))
    void = dict.fromkeys(WORK) if again and item.frozen else {}
    return Change(Event.EDITED, changed | void, body=body)


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    return Risk(value) if name == "risk" and value is not None else value


def cancel_requested(reason: str) -> Change:
    """Note that a person wants a landing item cancelled; it is an edit."""
    return Change(Event.EDITED, {"cancel_requested": True, "reason": _line(reason)})


# -- attempts --------------------------------------------------------------------------------------


def claimed(item: Item, *, stage: str, plan: str, lease: Lease) -> Change:
    """Begin an attempt: the item gets a lease, and its claimed text is frozen."""
    frozen = item.frozen or frozen_hash(item.criteria, item.script, item.paths)
    return Change(
        Event.CLAIMED,
        {
            "plan": plan, "frozen": frozen, "lease": _lease(lease), "reason": None, "stage": stage,
            "red_target": None,
        },
    )  # fmt: skip


def claimed_to_revert(
    item: Item, *, criteria: tuple[str, ...], stage: str, plan: str, lease: Lease
) -> Change:
    """Begin the one attempt of a task that reverts a landing, whatever came of an earlier one."""
    changed = dict.fromkeys(sorted(PROGRESS)) | {
        "plan": plan, "criteria": criteria, "lease": _lease(lease), "stage": stage,
        "frozen": frozen_hash(criteria, item.script, item.paths),
    }  # fmt: skip
    return Change(Event.CLAIMED, changed)


# Work or a document that an attempt made has no approval yet, and its author used what it had.
_BUILT = dict.fromkeys(("reviewed", "bare", "answer", "feedback"))


def _ended(event: Event, item: Item, outcome: Outcome, **more: Any) -> Change:
    """Return the change of an event that comes with a run log."""
    changed: dict[str, Any] = {}
    reviewed = item.reviewed
    if outcome.work is not None:
        reviewed = ()
        changed |= _BUILT | {
            "base": outcome.work.base, "work": outcome.work.commit,
            "builder": outcome.work.builder,
        }  # fmt: skip
    if outcome.written is not None:
        reviewed = ()
        changed |= _BUILT | {"base": outcome.written.base, "builder": outcome.written.builder}
    if outcome.approval is not None:
        changed["reviewed"] = (*reviewed, outcome.approval)
    changed |= {
        "stage": outcome.stage, "counters": dict(outcome.counters),
        "reason": _line(outcome.reason), "attempt": item.attempt + 1,
    }  # fmt: skip
    if outcome.red_target is not None:
        changed["red_target"] = outcome.red_target
    body = outcome.written.body if outcome.written is not None else None
    return Change(event, {**changed, **more, "lease": None}, body)


def advanced(item: Item, outcome: Outcome, *, advice: bool = False) -> Change:
    """Move past a stage; with `advice` the run log is for the author, who is next."""
    return _ended(Event.ADVANCED, item, outcome, **({"feedback": outcome.run} if advice else {}))


def approval_counted(item: Item, outcome: Outcome) -> Change:
    """Count one of several approvals at the same stage."""
    return _ended(Event.APPROVAL_COUNTED, item, outcome)


def approved(item: Item, outcome: Outcome) -> Change:
    """Approve the item: the last stage passed."""
    return _ended(Event.APPROVED, item, outcome)


def returned(item: Item, outcome: Outcome) -> Change:
    """Send the work back to its author with the findings of a stage, or of a person."""
    if item.status is Status.WAITING:
        return _ended(Event.RETURNED, item, outcome, feedback=outcome.run, reviewed=None)
    return _ended(
        Event.RETURNED, item, outcome, feedback=outcome.run, returned=outcome.tree or None
    )


def failed(item: Item, outcome: Outcome) -> Change:
    """End an attempt that failed; the run log is for the next one."""
    return _ended(Event.FAILED, item, outcome, feedback=outcome.run)


def asked(item: Item, outcome: Outcome) -> Change:
    """Let the item wait for a person."""
    return _ended(Event.ASKED, item, outcome)


def lapsed() -> Change:
    """End the lease of a process that is gone."""
    return _idle(Event.LAPSED)


def released(item: Item, outcome: Outcome | str = "") -> Change:
    """End a lease at no cost.

    With an outcome the agent could not be reached, or a check ends red without the work, too.
    """
    return _ends_or_reason(Event.RELEASED, item, outcome)


def held(item: Item, outcome: Outcome | str) -> Change:
    """Let the item wait because of tampering: an attempt ended with it, or for a reason."""
    return _ends_or_reason(Event.HELD, item, outcome)


def blocked(item: Item, outcome: Outcome | str) -> Change:
    """Block the item: an attempt ended so, as when it returned the same work, or for a reason."""
    return _ends_or_reason(Event.BLOCKED, item, outcome)


def finished(item: Item, outcome: Outcome | str = "") -> Change:
    """End the item without a landing: an attempt ended so, or for a reason.

    An approved document is done if its approvals are of its text as it is.
    """
    if item.is_written and not isinstance(outcome, Outcome):
        of_text = document_hash(item.document.body)
        if any(approval.document != of_text for approval in item.reviewed):
            raise InputError("its text is not the document that was approved")
    return _ends_or_reason(Event.FINISHED, item, outcome)


def _ends_or_reason(event: Event, item: Item, outcome: Outcome | str) -> Change:
    if isinstance(outcome, Outcome):
        more = {"returned": outcome.tree} if outcome.tree else {}
        return _ended(event, item, outcome, **more)
    return _idle(event, **({"reason": _line(outcome)} if outcome else {}))


# Events that no version has recorded yet.
UNRECORDED = frozenset({Event.SPLIT, Event.EXPANDED})
# How an attempt can end.
ENDS: Mapping[Event, Callable[[Item, Outcome], Change]] = {
    Event.ADVANCED: advanced,
    Event.APPROVAL_COUNTED: approval_counted,
    Event.APPROVED: approved,
    Event.RETURNED: returned,
    Event.FAILED: failed,
    Event.ASKED: asked,
    Event.RELEASED: released,
    Event.HELD: held,
    Event.BLOCKED: blocked,
    Event.FINISHED: finished,
}


# -- a person decides ------------------------------------------------------------------------------


def answered(text: str) -> Change:
    """Answer the question of a waiting item."""
    return _idle(Event.ANSWERED, answer=text or None, reason=None)


def unblocked(item: Item, *, reset: bool) -> Change:
    """Unblock the item; `reset` gives it all its attempts and its budget again."""
    again = {"counters": None, "returned": None, "budget_after": item.attempt} if reset else {}
    return _idle(Event.UNBLOCKED, reason=None, red_target=None, **again)


def cancelled(reason: str) -> Change:
    """Cancel the item."""
    return _idle(Event.CANCELLED, reason=_line(reason))


def reopened(item: Item) -> Change:
    """Begin the item again at its first stage, with its whole budget."""
    return _idle(Event.REOPENED, **dict.fromkeys(sorted(PROGRESS)), budget_after=item.attempt)


def undone(before: Item, after: Item, *, event: Event, attempt: bool) -> Change:
    """Restore the fields that the undone events changed, from the item `before` to `after` them.

    `event` is the opposite event. The undo of an `attempt` restores only what attempts may change:
    edits by a person while it ran are kept.
    """
    names = WORK | WORDS if attempt else CHANGEABLE - BOOKS - {"lease"}
    changed = {
        n: getattr(before, n) for n in sorted(names) if getattr(before, n) != getattr(after, n)
    }
    if before.status in MET:
        changed["since"] = before.since  # the time of the landing, not of the undo
    extra: Mapping[str, Any] = {} if attempt else _unknown_keys(before, after)
    body = before.document.body if before.document.body != after.document.body else None
    if attempt and not after.is_written:
        body = None
    if event is not Event.EDITED:
        changed["lease"] = None
    return Change(event, changed, body, before.status, extra)


def _unknown_keys(before: Item, after: Item) -> dict[str, Any]:
    keys = before.extra.keys() | after.extra.keys()
    changed = sorted(key for key in keys if before.extra.get(key) != after.extra.get(key))
    return {key: before.document.value(key) for key in changed}


def undone_creation(event: Event, back: Status | None) -> Change:
    """Cancel an item whose creation is undone, or that was made to revert a landing."""
    return Change(event, {"reason": "undone", "lease": None}, back=back)


# -- landings --------------------------------------------------------------------------------------


def queued(item: Item) -> Change:
    """Put the item into the queue; only work can land."""
    if item.status is Status.APPROVED and not item.work:
        raise InputError("an item without work cannot be queued")
    return _idle(Event.QUEUED)


def dequeued(reason: str = "") -> Change:
    """Take the item out of the queue."""
    return _idle(Event.DEQUEUED, **({"reason": _line(reason)} if reason else {}))


def land_started(*, landing: Landing, lease: Lease) -> Change:
    """Begin a landing."""
    changed = {"landing": landing, "lease": _lease(lease), "reason": None, "red_target": None}
    return Change(Event.LAND_STARTED, changed)


def land_aborted(
    item: Item, reason: str, *, counter: str = "", red_target: RedTarget | None = None
) -> Change:
    """End a landing without a result; `counter` names the counter that it adds one to, if any.

    With a `red_target` the item stays in the queue until the target has moved.
    """
    if counter not in ("", ABORTS, MOVED):
        raise InputError(f"an aborted landing is not counted as {counter}")
    more = {"counters": {**item.counters, counter: item.count(counter) + 1}} if counter else {}
    changed: dict[str, Any] = dict(more)
    if red_target is not None:
        if item.landing is None or red_target.commit != item.landing.onto:
            raise InputError("a landing waits only for the target that it began from to move")
        changed["red_target"] = red_target
    return _idle(Event.LAND_ABORTED, landing=None, reason=_line(reason), **changed)


def ejected(item: Item, outcome: Outcome, *, bare: bool) -> Change:
    """Send a landing item back to its author; `bare` begins at the target without the old work."""
    return _ended(
        Event.EJECTED, item, outcome, landing=None, reviewed=None, feedback=outcome.run,
        bare=bare or None,
    )  # fmt: skip


def re_review(item: Item, outcome: Outcome) -> Change:
    """Send a landing item back to review: its work is the candidate now."""
    assert item.landing is not None
    return _ended(
        Event.RE_REVIEW, item, outcome, landing=None, reviewed=None, feedback=outcome.run,
        bare=None, base=item.landing.onto, work=item.landing.candidate,
    )  # fmt: skip


def landed(item: Item, *, checked: Sequence[Mapping[str, Any]]) -> Change:
    """End a landing: the candidate is on the target. `checked` are the checks that it passed."""
    assert item.landing is not None
    counters = {name: count for name, count in item.counters.items() if name != MOVED}
    return _idle(
        Event.LANDED, landing=None, landed=item.landing.candidate, checked=tuple(checked),
        reason=None, counters=counters,
    )  # fmt: skip


def reverted(item: Item, *, by: str, reason: str) -> Change:
    """Let a landed or disputed item wait, because the commit `by` reverted it."""
    if not item.landed:
        raise InputError("only a landing can be reverted")
    return _idle(
        Event.REVERTED, landed=None, checked=None, reviewed=None, disputed=None, reverted=by,
        reason=_line(reason),
    )  # fmt: skip


def disputed(item: Item, reason: str) -> Change:
    """Let a landed item wait, because what landed is not what was tested."""
    return _idle(Event.DISPUTED, disputed=item.landed, reason=_line(reason))


def upheld(item: Item) -> Change:
    """Settle a dispute: the landing stands."""
    if not item.disputed:
        raise InputError("only a disputed landing can be upheld")
    return _idle(Event.UPHELD, disputed=None, reason=None)
