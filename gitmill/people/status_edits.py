"""The decisions that people make by editing the status of a document by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gitmill.core import changes
from gitmill.core.item import Item
from gitmill.core.lifecycle import FINAL, Status
from gitmill.errors import IllegalTransitionError
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import refuse_landing, require_ready
from gitmill.store.events import Step


@dataclass(frozen=True, slots=True)
class Words:
    """Who edits the status, and the reason and answer that the edit has changed along with it."""

    by: str
    reason: str = ""
    answer: str = ""


StepBuilder = Callable[[Mill, Item, Words], Step]


def step_builder(at: Status, wanted: Status, words: Words) -> Callable[[Mill, Item], Step]:
    """Return the function that builds the step for a status edit.

    Raises `IllegalTransitionError` when no command of a person leads from `at` to `wanted`.
    """
    builder = _FROM_TO.get((at, wanted)) or _FROM_ANY.get(wanted)
    if builder is None:
        raise IllegalTransitionError(f"a person cannot move it from {at.value} to {wanted.value}")
    return lambda mill, item: builder(mill, item, words)


def _ready(mill: Mill, item: Item, words: Words) -> Step:
    require_ready(mill, mill.snapshot(), item.kind, item.criteria)
    return Step(change=changes.readied(), subject="ready", by=words.by)


def _approve(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.approval_step(mill, item, words.reason, by=words.by)


def _answer_or_return(mill: Mill, item: Item, words: Words) -> Step:
    if words.answer:
        return decisions.answer_step(item, words.answer, by=words.by)
    if words.reason:
        return decisions.return_step(mill, item, words.reason, by=words.by)
    raise IllegalTransitionError("set `answer` to answer it, or `reason` to send it back")


def _uphold(mill: Mill, item: Item, words: Words) -> Step:
    if not item.disputed:
        raise IllegalTransitionError("a person cannot land it")
    return decisions.approval_step(mill, item, words.reason, by=words.by)


def _unblock(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.unblock_step(mill, item, reset=False, by=words.by)


def _reopen(mill: Mill, item: Item, words: Words) -> Step:
    return decisions.reopen_step(mill, item, by=words.by)


def _queue(_mill: Mill, item: Item, words: Words) -> Step:
    refuse_landing(item)
    return Step(change=changes.queued(item), subject="queued", by=words.by)


def _dequeue(_mill: Mill, _item: Item, words: Words) -> Step:
    return Step(change=changes.dequeued(), subject="dequeued", by=words.by)


def _block(_mill: Mill, item: Item, words: Words) -> Step:
    return decisions.block_step(item, words.reason or "blocked by hand", by=words.by)


def _cancel(_mill: Mill, item: Item, words: Words) -> Step:
    return decisions.cancel_step(item, words.reason, by=words.by)


S = Status
_FROM_TO: Mapping[tuple[Status, Status], StepBuilder] = {
    (S.DRAFT, S.READY): _ready,
    (S.WAITING, S.APPROVED): _approve,
    (S.WAITING, S.READY): _answer_or_return,
    (S.WAITING, S.LANDED): _uphold,
    (S.BLOCKED, S.READY): _unblock,
    (S.APPROVED, S.QUEUED): _queue,
    (S.QUEUED, S.APPROVED): _dequeue,
    **{(at, S.READY): _reopen for at in FINAL},
}
_FROM_ANY: dict[Status, StepBuilder] = {S.BLOCKED: _block, S.CANCELLED: _cancel}
