"""Verdicts: the typed outcome of an attempt, with its findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gitmill.core.product import DocumentPayload, Product


class VerdictWord(StrEnum):
    """The outcome of an attempt in one word."""

    PASS = "pass"  # noqa: S105  (not a password)
    RETURN = "return"
    ASK = "ask"
    FAIL = "fail"
    IMPOSSIBLE = "impossible"


class Severity(StrEnum):
    """The severity of a finding."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `file` is untrusted text, never a path to open."""

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
    """The outcome of an attempt, from an agent, a check or a person."""

    word: VerdictWord
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    payload: DocumentPayload | None = None


def verdict_problem(verdict: Verdict, earlier: int, produces: Product = Product.VERDICT) -> str:
    """Return why a verdict is unusable for a prompt with `earlier` numbered findings, else empty.

    A pass or a return must answer each of those findings, and a pass must resolve all of them. A
    pass of a stage that produces a document must come with one.
    """
    if produces is Product.DOCUMENT and verdict.word is VerdictWord.PASS and not verdict.payload:
        return "it passes, but `payload` has neither the text of the document nor its file"
    answered = {answer.number for answer in verdict.earlier}
    is_review = verdict.word in (VerdictWord.PASS, VerdictWord.RETURN)
    missing = [n for n in range(1, earlier + 1) if n not in answered]
    if is_review and missing:
        return f"`earlier` has no answer to finding {missing[0]} of the last round"
    unresolved = [a.number for a in verdict.earlier if not a.resolved and a.number <= earlier]
    if verdict.word is VerdictWord.PASS and unresolved:
        return f"it passes although finding {unresolved[0]} of the last round is not resolved"
    return ""
