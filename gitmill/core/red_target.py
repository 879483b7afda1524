"""Checks that are red on the target without any work: no item is to blame for them.

The items that found them know them, so that every clone does; docs/supervision.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gitmill.core.item import Item, RedTarget
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.product import Product

RED = "red-target"  # begins the reason of an item that waits for the target to move
# The name of the set-up among the results of checks; no check can have it.
SET_UP = "worktree.setup"
# The statuses of a shell for a command that is not executable or not there.
UNSTARTABLE = (126, 127)


@dataclass(frozen=True, slots=True)
class OnTarget:
    """How a command that is red with the work ends without it, on a commit of the target."""

    check: str
    commit: str
    status: int
    ended: str = "exited"

    def as_json(self) -> dict[str, Any]:
        """Return the form of run logs."""
        return {
            "check": self.check,
            "commit": self.commit,
            "status": self.status,
            "ended": self.ended,
        }

    def is_same_fault(self, status: int) -> bool:
        """Whether the machine is why it ends with `status`: without the work it does not start.

        A set-up has to end the same way, whatever its status.
        """
        return status == self.status and (self.check == SET_UP or status in UNSTARTABLE)

    def red_target(self, status: int) -> RedTarget | None:
        """Return what keeps the item waiting, None if the machine is at fault."""
        return None if self.is_same_fault(status) else RedTarget(self.check, self.commit)


def read_on_target(value: object) -> OnTarget | None:
    """Read the form of run logs, None for no value. Raises `TypeError` and `KeyError`."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError
    texts = (str(value["check"]), str(value["commit"]))
    return OnTarget(*texts, int(value["status"]), str(value["ended"]))


def red_checks(items: Iterable[Item], tip: str) -> dict[str, str]:
    """Return the checks that are red at a tip of the target, each with an item that found it."""
    return {
        item.red_target.check: item.id
        for item in items
        if item.red_target is not None and item.stands_red(tip)
    }


def needed(plan: FrozenPlan, item: Item, red: Iterable[str]) -> str:
    """Return the red check for which the next build of an item has to wait, empty if there is none.

    An item that is there to fix the check does not wait, nor does one past its build.
    """
    stage = plan.stage(item.stage) if item.stage else plan.first
    if stage.product is not Product.WORK:
        return ""
    names = {check.name for check in plan.checks}
    return next((name for name in red if name in names and name != item.fixes_check), "")


def sentence(check: str, target: str) -> str:
    """Return what users read of a red check."""
    return f"`{check}` is red on {target}"
