"""The status of a repository: its board, and what holds on this machine only."""

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
    """The board of a state commit, unreadable documents, agents cooling down, the day's budget."""

    board: Board
    commit: str
    broken: dict[str, BadDocumentError]
    cooling: list[Cooling]
    budget: dict[str, Any]  # of the day; empty without one


def status(mill: Mill, *, past: bool = False) -> Overview:
    """Return the overview; for the `past` without agents and budget, which are not recorded."""
    snapshot = show.read(mill)
    board, broken = show.board(snapshot), snapshot.broken
    if past:
        return Overview(board, snapshot.commit, broken, [], {})
    agents = list(cooling(mill).values())
    return Overview(board, snapshot.commit, broken, agents, day_budget(mill, snapshot))
