"""Create and edit tasks, and apply a person's decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.core.item import Item
from gitmill.mill import Mill
from gitmill.people import decisions, intake

DECISIONS: Mapping[str, Callable[..., Item]] = {
    "approve": decisions.approve,
    "return": decisions.send_back,
    "answer": decisions.answer,
    "block": decisions.block,
    "cancel": decisions.cancel,
    "unblock": decisions.unblock,
    "reopen": decisions.reopen,
}


def new_task(mill: Mill, *, ready: bool = False, **fields: Any) -> Item:
    """Create a task from the fields of `intake.NewTask`; `ready` lets it run immediately."""
    return intake.new_task(mill, intake.NewTask(**fields), all_types(), ready=ready)


def edit_task(mill: Mill, typed: str, fields: Mapping[str, Any], *, body: str | None) -> Item:
    """Set fields of the item that was `typed`; None removes one."""
    return intake.edit_task(mill, mill.snapshot().resolve(typed).id, fields, body=body)


def ready_task(mill: Mill, typed: str) -> Item:
    """Make a draft ready."""
    return intake.ready_task(mill, mill.snapshot().resolve(typed).id, all_types())


def decide(mill: Mill, decision: str, typed: str, *arguments: str, **options: bool) -> Item:
    """Apply a person's decision, one of `DECISIONS`, to the item that was `typed`."""
    item_id = mill.snapshot().resolve(typed).id
    return DECISIONS[decision](mill, item_id, *arguments, **options)
