"""A diagnosis: its level, its text, the commands that help, and a safe fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gitmill.errors import GitmillError
from gitmill.hints import Gitmill, Hint


class Level(StrEnum):
    """The severity; only a `problem` keeps tasks from landing."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


Fix = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One diagnosis with hints; `fix` repairs it and returns what it did."""

    level: Level
    text: str
    hints: tuple[Hint, ...] = ()
    fix: Fix | None = None


Diagnoses = Iterator[Diagnosis]


def ok(text: str) -> Diagnosis:
    """Return a diagnosis that needs no action."""
    return Diagnosis(Level.OK, text)


def note(text: str, *hints: Hint) -> Diagnosis:
    """Return a diagnosis for information."""
    return Diagnosis(Level.NOTE, text, hints)


def warning(text: str, *hints: Hint, fix: Fix | None = None) -> Diagnosis:
    """Return a diagnosis of something that works now but might fail."""
    return Diagnosis(
        Level.WARNING, text, (*hints, Hint("or", Gitmill("doctor", "--fix"))) if fix else hints, fix
    )


def problem(text: str, *hints: Hint) -> Diagnosis:
    """Return a diagnosis of something that does not work."""
    return Diagnosis(Level.PROBLEM, text, hints)


def problem_of(error: GitmillError) -> Diagnosis:
    """Return an error as a diagnosis."""
    evidence = [line.strip() for line in error.evidence[:3] if line.strip()]
    return Diagnosis(Level.PROBLEM, "; ".join([error.message, *evidence]), error.hints)
