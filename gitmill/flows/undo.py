"""Undo the last event of an item or of a person; a landing is reverted through the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.errors import Exit
from gitmill.flows import show
from gitmill.flows.land_queue import land_queue
from gitmill.history.undo import undo_event
from gitmill.history.undo_target import UndoTarget, target_for_item, target_for_person
from gitmill.landing.detect_reverts import detect_reverts
from gitmill.landing.land import LandingListener
from gitmill.landing.revert import revert
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.plans.policy import policy_now
from gitmill.store.history import entries


@dataclass(frozen=True, slots=True)
class Undone:
    """The event that was undone, its item now, and for a landing the task that reverts it."""

    target: UndoTarget
    item: Item | None  # None for a pause or a resume
    revert: Item | None = None
    exit: Exit = Exit.OK


def find_target(mill: Mill, typed: str = "") -> UndoTarget:
    """Return the event to undo: an item's last, else the last one of this person or machine.

    Raises `CannotUndoError`, and `LeasedError` while the item is being worked on.
    """
    return (
        target_for_item(mill, mill.snapshot().resolve(typed).id)
        if typed
        else target_for_person(mill)
    )


def undo(mill: Mill, target: UndoTarget) -> Undone:
    """Undo an event other than a landing."""
    if not target.record.item:
        control.undo_control_event(mill, target.last)
        return Undone(target, None)
    return Undone(target, undo_event(mill, target))


def undo_landing(
    mill: Mill,
    target: UndoTarget,
    listener: LandingListener,
    *,
    through: str,
    criteria: Sequence[str],
    report: Callable[[Item], None],
) -> Undone:
    """Create the task that reverts a landing, and land it unless `through` is `approved`.

    `report` receives that task before it lands. Raises the errors of `landing.revert.revert`.
    """
    refuse_secrets(mill, {"criterion": criteria})
    detect_reverts(mill)  # the landing can have been reverted by hand
    target = target_for_item(mill, target.record.item)
    onto = _landed_onto(mill, target.record.item)
    task = revert(mill, target.record.item, onto, criteria=criteria)
    lands = through == "landed" and policy_now(mill).land.auto
    if lands:
        report(task)
        land_queue(mill, listener, only=[task.id])
        show.redraw(mill)
    snapshot = mill.snapshot()
    item, task = snapshot.item(target.record.item), snapshot.item(task.id)
    ended = task.status in (Status.LANDED, Status.DONE)
    return Undone(target, item, task, Exit.OK if ended or not lands else Exit.PERSON)


def _landed_onto(mill: Mill, item_id: str) -> str:
    """Return the commit of the target that an item landed on last, empty if unknown."""
    history = entries(mill.store.backend, mill.snapshot().commit, item_id)
    landings = (entry.record for entry in history if entry.record)
    return next(
        (record.extra.get("Onto", "") for record in landings if record.event == Event.LANDED), ""
    )
