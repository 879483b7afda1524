"""What a look at one thing comes to, and what would put it right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gitmill.errors import GitmillError


class Level(StrEnum):
    """How bad it is; a `problem` keeps tasks from getting landed."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


Fix = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line: how bad, what was seen, what to type. `fix` mends it and says what it did."""

    level: Level
    text: str
    hints: tuple[str, ...] = ()
    fix: Fix | None = None


Diagnoses = Iterator[Diagnosis]


def ok(text: str) -> Diagnosis:
    """Return a sign that there is nothing to do."""
    return Diagnosis(Level.OK, text)


def note(text: str, *hints: str) -> Diagnosis:
    """Return a sign that is good to know."""
    return Diagnosis(Level.NOTE, text, hints)


def warning(text: str, *hints: str, fix: Fix | None = None) -> Diagnosis:
    """Return a sign that it works and may go wrong."""
    return Diagnosis(
        Level.WARNING, text, (*hints, "or `gitmill doctor --fix`") if fix else hints, fix
    )


def problem(text: str, *hints: str) -> Diagnosis:
    """Return a sign that it does not work."""
    return Diagnosis(Level.PROBLEM, text, hints)


def problem_of(error: GitmillError) -> Diagnosis:
    """Say what an error says."""
    shown = [line.strip() for line in error.evidence[:3] if line.strip()]
    return Diagnosis(Level.PROBLEM, "; ".join([error.message, *shown]), error.hints)
