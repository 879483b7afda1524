"""Verdicts: the typed outcome of an attempt, with its findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class VerdictWord(StrEnum):
    """The outcome of an attempt in one word."""

    PASS = "pass"  # noqa: S105  (not a password)
    RETURN = "return"
    ASK = "ask"
    FAIL = "fail"
    IMPOSSIBLE = "impossible"


class Severity(StrEnum):
    """How much a finding matters."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found; `file` is text from outside, never a path to open."""

    message: str
    severity: Severity = Severity.MEDIUM
    file: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """A reviewer's answer to a finding of the previous round, by its number from 1."""

    number: int
    resolved: bool
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of an attempt, given by an agent, a check or a person."""

    word: VerdictWord
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()


def complaint(verdict: Verdict, earlier: int) -> str:
    """Return why a verdict cannot be used by a prompt with so many numbered findings, or nothing.

    Each of those findings needs an answer, and a pass needs all of them resolved.
    """
    said = {one.number for one in verdict.earlier}
    judges = verdict.word in (VerdictWord.PASS, VerdictWord.RETURN)
    missing = [n for n in range(1, earlier + 1) if n not in said]
    if judges and missing:
        return f"`earlier` has no answer to finding {missing[0]} of the last round"
    still = [one.number for one in verdict.earlier if not one.resolved and one.number <= earlier]
    if verdict.word is VerdictWord.PASS and still:
        return f"it passes although finding {still[0]} of the last round is not resolved"
    return ""
