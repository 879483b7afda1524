"""What a person wants who writes another status into a document by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gitmill.core.item import Item
from gitmill.core.lifecycle import FINAL, Event, Status
from gitmill.errors import IllegalTransitionError
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import require_ready
from gitmill.store.events import Step


@dataclass(frozen=True, slots=True)
class Words:
    """What stands beside the status that was written, where it is new."""

    reason: str = ""
    answer: str = ""


Wish = Callable[[Mill, Item, Words], Step]


def wish_for(at: Status, wanted: Status, words: Words) -> Callable[[Mill, Item], Step]:
    """Return what makes the step from one status to another, for what was written by hand.

    Raises `IllegalTransitionError` when no command of a person's leads there.
    """
    wish = _WISHES.get((at, wanted)) or _ALWAYS.get(wanted)
    if wish is None:
        raise IllegalTransitionError(f"nobody makes it {wanted.value} from {at.value}")
    return lambda mill, item: wish(mill, item, words)


def _ready(mill: Mill, item: Item, words: Words) -> Step:  # noqa: ARG001
    require_ready(mill, mill.snapshot(), item.criteria)
    return Step(event=Event.READIED, subject="ready", by=mill.person)


def _approve(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.approval(mill, item, words.reason)


def _answer_or_return(mill: Mill, item: Item, words: Words) -> Step:
    if words.answer:
        return decisions.answering(mill, item, words.answer)
    if words.reason:
        return decisions.sending_back(mill, item, words.reason)
    raise IllegalTransitionError("set `answer` to answer it, or `reason` to send it back")


def _unblock(mill: Mill, item: Item, words: Words) -> Step:  # noqa: ARG001
    return decisions.unblocking(mill, item, reset=False)


def _reopen(mill: Mill, item: Item, words: Words) -> Step:  # noqa: ARG001
    return decisions.reopening(mill, item)


def _queue(mill: Mill, _item: Item, words: Words) -> Step:  # noqa: ARG001
    return Step(event=Event.QUEUED, subject="queued", by=mill.person)


def _dequeue(mill: Mill, _item: Item, words: Words) -> Step:  # noqa: ARG001
    return Step(event=Event.DEQUEUED, subject="dequeued", by=mill.person)


def _block(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.blocking(mill, item, words.reason or "blocked by hand")


def _cancel(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.cancelling(mill, item, words.reason)


S = Status
_WISHES: Mapping[tuple[Status, Status], Wish] = {
    (S.DRAFT, S.READY): _ready,
    (S.WAITING, S.APPROVED): _approve,
    (S.WAITING, S.READY): _answer_or_return,
    (S.BLOCKED, S.READY): _unblock,
    (S.APPROVED, S.QUEUED): _queue,
    (S.QUEUED, S.APPROVED): _dequeue,
    **{(at, S.READY): _reopen for at in FINAL},
}
_ALWAYS: dict[Status, Wish] = {S.BLOCKED: _block, S.CANCELLED: _cancel}
