"""The merge queue: add, remove, land."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from gitmill.core import changes
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.errors import IllegalTransitionError, RefMovedError
from gitmill.flows.recover import recover
from gitmill.hints import Gitmill, Hint
from gitmill.landing.land import LandingListener, land_all, refuse_paused
from gitmill.mill import Mill
from gitmill.people.intake import refuse_landing
from gitmill.store.events import Step
from gitmill.workspace.moved import unless_moved
from gitmill.workspace.signals import stop_on_signals


def enqueue(mill: Mill, item_id: str, *, after: str | None = None) -> None:
    """Queue approved work.

    Raises `IllegalTransitionError` for an item without work, and `RefMovedError` when another event
    has followed `after`.
    """
    item = mill.snapshot().item(item_id)
    refuse_landing(item)
    mill.apply(
        item_id, Step(change=changes.queued(item), subject="queued", by=mill.person, after=after)
    )


def dequeue(mill: Mill, item_id: str) -> None:
    """Take an item out of the queue; it stays approved."""
    mill.apply(item_id, Step(change=changes.dequeued(), subject="dequeued", by=mill.person))


def land_queue(mill: Mill, listener: LandingListener, *, only: Collection[str] = ()) -> list[Item]:
    """Queue approved items and land the queue; `only` these items when any are named.

    Raises `IllegalTransitionError` for a named item that is neither approved nor queued, and the
    errors of `land_all`. A named item whose check is red on the target is tried again.
    """
    mill.repository.require_usable()
    with unless_moved(mill), stop_on_signals(mill) as stop:
        recover(mill, stop=stop)
        snapshot = mill.snapshot()
        refuse_paused(snapshot)
        for item in snapshot.items.values():
            if item.id in only:
                refuse_landing(item)
            if item.status is Status.APPROVED and item.work and (not only or item.id in only):
                with suppress(RefMovedError):  # another process queued it first
                    enqueue(mill, item.id, after=item.event)
            elif item.id in only and item.status is not Status.QUEUED:
                raise IllegalTransitionError(
                    f"{item.id} is {item.status.value}, so it cannot be landed",
                    hints=[Hint("see", Gitmill("task", "show", item.id))],
                )
        return land_all(mill, listener, only=only, asked=only, stop=stop)
