"""The run log: the record of one attempt or decision, in the format of `docs/formats.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gitmill.core.document import Document
from gitmill.core.red_target import OnTarget, read_on_target
from gitmill.core.shown_text import in_markdown
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord
from gitmill.errors import BadDocumentError

# The exits of an agent, as in `agents.base`; only `completed` comes with the agent's own verdict.
COMPLETED = "completed"
EXITS = frozenset({
    COMPLETED, "timed-out", "rate-limited", "overloaded", "unauthorised", "unavailable", "crashed",
    "cancelled", "garbled", "over-budget",
})  # fmt: skip
OUTPUT_LIMIT = 20_000  # characters of output stored in a run log


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of one stage of an attempt."""

    stage: str
    agent: str
    verdict: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the result in the form used in documents."""
        seconds = round(self.seconds, 2)
        return {
            "stage": self.stage,
            "agent": self.agent,
            "verdict": self.verdict,
            "seconds": seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """The record of one attempt or of a person's decision; times are as in documents."""

    item: str
    stage: str
    verdict: Verdict
    by: str
    started: str
    seconds: float = 0.0
    exit: str = "completed"
    agent: str = ""
    claim: str = ""
    plan: str = ""
    stage_results: Sequence[StageResult] = ()
    facts: Mapping[str, Any] = field(
        default_factory=dict
    )  # base, work, tree, patch, document, usage …
    checks: Sequence[Mapping[str, Any]] = ()
    output: str = ""

    def document(self, number: int) -> Document:
        """Return the document of the run log, the item's `number`-th."""
        fields = {
            "item": self.item,
            "number": number,
            "stage": self.stage,
            "stages": [result.as_json() for result in self.stage_results] or None,
            "verdict": self.verdict.word.value,
            "exit": self.exit,
            "by": self.by,
            "agent": self.agent or None,
            "claim": self.claim or None,
            "plan": self.plan or None,
            "started": self.started,
            "seconds": round(self.seconds, 2),
            **{key: value for key, value in self.facts.items() if value not in (None, "")},
            "summary": self.verdict.summary,
            "findings": [finding_json(finding) for finding in self.verdict.findings] or None,
            "earlier": [asdict(answer) for answer in self.verdict.earlier] or None,
            "checks": [dict(check) for check in self.checks] or None,
        }
        return Document.new(fields, self._body())

    def _body(self) -> str:
        parts = [in_markdown(self.verdict.summary)]
        if self.verdict.findings:
            parts.append(in_markdown(findings_text(self.verdict.findings)))
        if self.output.strip():
            output = self.output[-OUTPUT_LIMIT:]
            fence = "`" * max(3, longest_run(output) + 1)
            parts.append(f"{fence}text\n{output.rstrip()}\n{fence}")
        return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def longest_run(text: str) -> int:
    """Return the length of the longest run of backticks, so that a fence can be longer."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding without its empty fields."""
    values = {
        "severity": finding.severity.value,
        "file": finding.file,
        "line": finding.line,
        "message": finding.message,
    }
    return {key: value for key, value in values.items() if value not in (None, "", 0)}


def findings_text(findings: Sequence[Finding]) -> str:
    """Return findings as a Markdown list; further lines of a message are indented below it."""
    lines = []
    for finding in findings:
        head, *rest = finding.message.splitlines() or [""]
        file, line = one_line(finding.file), finding.line
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        if file and head.startswith((f"{file}:{line} ", f"{file} ")):
            where = ""
        lines.append(f"- {finding.severity.value}: {where}{head}")
        lines += [f"      {more}" for more in rest]
    return "\n".join(lines)


def read_fields(data: bytes, *wanted: str) -> Mapping[str, Any]:
    """Return some fields of a run log; none if one is unreadable. The body can be long: unread."""
    end = data.find(b"\n---\n", 4)
    document = Document.from_bytes(data[: end + 5] if end > 0 else data)
    try:
        return {key: document.value(key) for key in wanted}
    except BadDocumentError:
        return {}


def read_findings(document: Document) -> tuple[Finding, ...]:
    """Return the findings of a run log; unreadable ones are skipped."""
    raw = document.value("findings")
    return tuple(
        Finding(
            str(entry.get("message", "")),
            Severity(entry.get("severity", "medium")),
            file=str(entry.get("file", "")),
            line=line if isinstance(line := entry.get("line"), int) else None,
        )
        for entry in (raw if isinstance(raw, list) else [])
        if isinstance(entry, dict) and entry.get("severity", "medium") in list(Severity)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The fields of a run log that an audit compares with other facts; absent texts are empty."""

    item: str
    number: int
    stage: str
    stage_results: tuple[tuple[str, str], ...]  # stage and verdict
    performers: tuple[str, ...]  # of each of these stages: its agent, or gitmill
    agent: str
    plan: str
    verdict: VerdictWord
    exit: str
    by: str
    claim: str
    base: str
    work: str
    document: str  # the hash of a document
    tree: str
    patch: str
    passed: tuple[tuple[str, str], ...]  # command and definition of each check that passed
    spent: tuple[object, ...]  # the cost and the counts of the usage, unvalidated
    has_high: bool = False  # whether one of its findings has the severity high
    failed: tuple[tuple[str, str, int], ...] = ()  # name, command, status of each red check
    on_target: OnTarget | None = None  # how the red check ends without the work


def read_log(document: Document) -> Log:
    """Read a run log. Raises `BadDocumentError` unless gitmill could have written it."""
    value = document.value
    try:
        return Log(
            **{key: str(value(key) or "") for key in _TEXTS},
            number=int(value("number", 0)),
            stage_results=tuple(
                (str(p["stage"]), str(p["verdict"])) for p in value("stages") or ()
            ),
            performers=tuple(str(p.get("agent") or "") for p in value("stages") or ()),
            verdict=VerdictWord(value("verdict")),
            passed=tuple(
                (str(check["command"]), str(check["definition"]))
                for check in value("checks") or ()
                if check["passed"] is True
            ),
            spent=(value("cost"), *dict(value("usage") or {}).values()),
            failed=tuple(
                (str(check["name"]), str(check["command"]), int(check["status"]))
                for check in value("checks") or ()
                if check["passed"] is not True
            ),
            on_target=read_on_target(value("on_target")),
            has_high=any(f.severity is Severity.HIGH for f in read_findings(document)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise document.error(0, "this is not a run log in gitmill's format") from None


_TEXTS = (
    "item", "stage", "exit", "by", "agent", "claim", "plan", "base", "work", "document", "tree",
    "patch",
)  # fmt: skip
