"""The status of a repository: its board, and the facts of this machine beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitmill.attempts.budget import day_budget
from gitmill.attempts.cooldown import cooling
from gitmill.core.board import Board
from gitmill.core.cooldown_rules import Cooling
from gitmill.errors import BadDocumentError
from gitmill.flows import show
from gitmill.mill import Mill


@dataclass(frozen=True, slots=True)
class Overview:
    """The board of a state commit, documents that cannot be read, agents that cool down, budget."""

    board: Board
    commit: str
    broken: dict[str, BadDocumentError]
    cooling: list[Cooling]
    budget: dict[str, Any]  # of the day; empty without one


def status(mill: Mill, *, past: bool = False) -> Overview:
    """Return the overview. In the `past` nothing is known of agents and budgets."""
    snapshot = show.read(mill)
    board, broken = show.board(snapshot), snapshot.broken
    if past:
        return Overview(board, snapshot.commit, broken, [], {})
    cold = list(cooling(mill).values())
    return Overview(board, snapshot.commit, broken, cold, day_budget(mill, snapshot))
