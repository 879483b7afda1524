"""Hints as the command line prints them."""

from __future__ import annotations

from collections.abc import Iterable

from gitmill.cli import command_line
from gitmill.hints import Hint


def shown(hints: Iterable[Hint]) -> tuple[str, ...]:
    """Return each hint as a screen shows it."""
    return tuple(command_line.sentence(hint) for hint in hints)
