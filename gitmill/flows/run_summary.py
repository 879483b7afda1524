"""The results of a run, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitmill.core.blame_rules import Races
from gitmill.core.board import moving_target
from gitmill.core.item import MOVED, Item
from gitmill.core.lifecycle import Status
from gitmill.errors import Exit, GitmillError, NotNowError, RedTargetError


@dataclass
class Summary:
    """The results of a run."""

    items: dict[str, Item] = field(default_factory=dict)
    attempts: int = 0
    released: set[str] = field(default_factory=set)  # not attempted again in this run
    not_now: dict[str, NotNowError] = field(default_factory=dict)  # why an item cannot start now
    waited: float = 0.0  # seconds spent waiting until an attempt could start
    untrusted: dict[str, GitmillError] = field(default_factory=dict)  # by item
    held: GitmillError | None = None  # why nothing can land in this run
    busy: bool = False  # another process is landing, and items remain to land
    races: Races = field(default_factory=Races)  # lost after a claim
    asked: set[str] = field(default_factory=set)  # named, and tried although a check is red

    @property
    def code(self) -> Exit:
        """The exit code: the first that applies of failed, needs a person, busy, ok."""
        statuses = {item.status for item in self.items.values()}
        ready = {item.id for item in self.items.values() if item.status is Status.READY}
        codes = {error.code for error in self.not_now.values()}
        if Status.BLOCKED in statuses or self.released & ready or Exit.FAILED in codes:
            return Exit.FAILED
        if Status.WAITING in statuses or Exit.PERSON in codes or self.untrusted:
            return Exit.PERSON
        lost = any(i.status is Status.QUEUED and i.count(MOVED) for i in self.items.values())
        return self.held.code if self.held else Exit.BUSY if codes or lost else Exit.OK

    @property
    def moving(self) -> str:
        """Why an item of the run keeps losing its landings to the target; empty if none does."""
        return moving_target(self.items.values())

    def clear_red(self) -> None:
        """Forget which items wait for the target: it may have moved."""
        waits = [name for name, error in self.not_now.items() if isinstance(error, RedTargetError)]
        for name in waits:
            del self.not_now[name]

    @property
    def first_not_now(self) -> NotNowError | None:
        """Why the remaining items cannot start now; of several reasons the first to end."""
        return min(self.not_now.values(), key=_end, default=None)


def _end(error: NotNowError) -> tuple[bool, float]:
    return (error.until is None, error.until.timestamp() if error.until else 0.0)
