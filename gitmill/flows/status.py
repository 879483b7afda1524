"""The status of a repository: its board, and what holds on this machine only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitmill.attempts.budget import day_budget
from gitmill.attempts.cooldown import cooling
from gitmill.core.board import Board
from gitmill.core.cooldown_rules import Cooling
from gitmill.core.red_target import red_checks
from gitmill.errors import BadDocumentError
from gitmill.flows import show
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Overview:
    """The board of a state commit, unreadable documents, agents cooling down, the day's budget."""

    board: Board
    commit: str
    broken: dict[str, BadDocumentError]
    cooling: list[Cooling]
    budget: dict[str, Any]  # of the day; empty without one
    red: tuple[str, ...] = ()  # the checks that are red on the target
    target: str = ""


def status(mill: Mill, *, past: bool = False) -> Overview:
    """Return the overview; for the `past` without agents and budget, which are not recorded."""
    snapshot = show.read(mill)
    board, broken = show.board(snapshot), snapshot.broken
    if past:
        return Overview(board, snapshot.commit, broken, [], {})
    agents = list(cooling(mill).values())
    budget = day_budget(mill, snapshot)
    red = _red(mill, snapshot)
    return Overview(board, snapshot.commit, broken, agents, budget, red, snapshot.control.target)


def _red(mill: Mill, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the checks that items found red on the target as it is now."""
    if all(item.red_target is None for item in snapshot.items.values()):
        return ()
    tip = mill.store.backend.ref(mill.target_ref(snapshot))
    return tuple(red_checks(snapshot.items.values(), tip)) if tip else ()
