"""Create and edit tasks, and apply a person's decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.core.item import Item
from gitmill.errors import CannotCompileError
from gitmill.mill import Mill
from gitmill.people import decisions, intake
from gitmill.plans.frozen import compile_at

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
    task = intake.NewTask(**fields)
    return intake.new_task(
        mill, task, ready=ready, builder=_builder(mill, task.script) if ready else ""
    )


def edit_task(mill: Mill, typed: str, fields: Mapping[str, Any], *, body: str | None) -> Item:
    """Set fields of the item that was `typed`; None removes one."""
    return intake.edit_task(mill, mill.snapshot().resolve(typed).id, fields, body=body)


def ready_task(mill: Mill, typed: str) -> Item:
    """Make a draft ready."""
    item = mill.snapshot().resolve(typed)
    return intake.ready_task(mill, item.id, builder=_builder(mill, item.script))


def _builder(mill: Mill, script: str) -> str:
    """Return the agent that builds a task without a script, empty if the loop does not compile."""
    if script.strip():
        return ""
    try:
        return compile_at(mill, mill.target_tip(mill.snapshot()), all_types()).first.agent
    except CannotCompileError:
        return ""  # a run reports the error


def decide(mill: Mill, decision: str, typed: str, *arguments: str, **options: bool) -> Item:
    """Apply a person's decision, one of `DECISIONS`, to the item that was `typed`."""
    item_id = mill.snapshot().resolve(typed).id
    return DECISIONS[decision](mill, item_id, *arguments, **options)
