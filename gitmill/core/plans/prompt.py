"""The prompt of a stage: its variables and its rendering.

Text from trackers, people and agents is data. Multi-line text reaches the template inside a fence
that it cannot close; all other text is reduced to one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gitmill.core.item import Item
from gitmill.core.product import Product
from gitmill.core.shown_text import spelled, visible
from gitmill.core.verdict import Finding
from gitmill.core.verdict_schema import json_schema
from gitmill.errors import AttemptError
from gitmill.hints import Gitmill, Hint

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

# Every variable of a prompt. `[]` is one entry of a list.
VARIABLES: Mapping[str, str] = {
    "item.id": "id of the item, such as t-k3f9x",
    "item.title": "its title, one line",
    "item.body": "its text, fenced; empty if it has none",
    "item.kind": "analysis, goal, design, plan or task",
    "item.risk": "low, medium or high",
    "item.priority": "0 (first) to 4",
    "item.paths": "list of paths that it declares to change",
    "item.criteria": "list of criteria; one that begins with `$` is a command that must exit 0",
    "attempt.number": "number of this attempt at the stage in the round, from 1",
    "attempt.of": "number of attempts that the round allows",
    "findings": "list of the findings of the last round",
    "findings[].number": "its number from 1; a review must state for each whether it is resolved",
    "findings[].severity": "high, medium or low",
    "findings[].file": "path of the file, empty if none",
    "findings[].line": "line in that file, or none",
    "findings[].message": "what is wrong; fenced when it has more than one line",
    "commands": "list of the checks of the policy that judge the work",
    "commands[].name": "name of the check",
    "commands[].command": "its command",
    "commands[].red": "whether it is red on the target without any work",
    "checks": "list of the checks and criteria that failed",
    "checks[].name": "name of the check",
    "checks[].command": "its command",
    "checks[].output": "the end of its output, fenced",
    "diff": "the change under review, fenced; empty before there is one, and cut if it is too long",
    "changed": "list of all changed paths, even if the diff is cut",
    "conventions": "list of the documents in the repository that explain how to work in it",
    "conventions[].path": "path of the document, such as AGENTS.md",
    "conventions[].text": "its text, fenced and cut if it is too long",
    "last": "the attempt that failed or returned the work, or none",
    "last.stage": "stage at which it ended",
    "last.exit": "exit of the agent: completed, timed-out, crashed, garbled …",
    "last.by": "the agent or person",
    "last.summary": "its summary, one line",
    "last.output": "the end of its output, fenced",
    "resumed": "whether the agent continues the session of its last attempt",
    "target": "branch that the work will land on",
    "verdict_schema": "JSON Schema of a verdict of this stage, fenced",
    "nonce": "random text of this attempt, which its verdict must contain",
    "answer": "a person's answer to the question of this stage, fenced; else empty",
}


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check or criterion that failed, for the agent that must fix it."""

    name: str
    command: str
    output: str


@dataclass(frozen=True, slots=True)
class JudgingCheck:
    """A check of the policy that judges the work; `red` if it is red on the target without any."""

    name: str
    command: str
    red: bool


@dataclass(frozen=True, slots=True)
class Convention:
    """A document of the repository that explains how to work in it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class LastRun:
    """The attempt that led to this stage."""

    stage: str
    exit: str
    by: str
    summary: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptValues:
    """The values for a prompt, unquoted: rendering quotes them."""

    item: Item
    attempt: int
    of: int
    target: str
    nonce: str
    produces: Product = Product.VERDICT
    findings: tuple[Finding, ...] = ()
    commands: tuple[JudgingCheck, ...] = ()
    checks: tuple[FailedCheck, ...] = ()
    diff: str = ""
    changed: tuple[str, ...] = ()
    answer: str = ""
    conventions: tuple[Convention, ...] = ()
    last: LastRun | None = None
    resumed: bool = False


def quote(text: str, info: str = "") -> str:
    """Return a text in a fence that nothing in it can close. Empty text stays empty.

    What people cannot see, a model must not read.
    """
    text = visible(text)
    if not text.strip():
        return ""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{info}\n{text.removesuffix(chr(10))}\n{fence}"


def one_line(text: str) -> str:
    """Return a text without line breaks and invisible characters."""
    return visible(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)).strip()


def render_prompt(template: str, values: PromptValues) -> str:
    """Return the prompt. Raises `AttemptError` if the template fails with these values."""
    try:
        text = environment().from_string(template).render(_context(values))
    except Exception as error:  # an expression of a template can raise anything
        raise AttemptError(
            f"the prompt could not be rendered: {one_line(str(error))}",
            hints=[Hint("list the variables of a prompt with", Gitmill("explain", "prompt"))],
        ) from error
    return text.encode("utf-8", "replace").decode().rstrip("\n") + "\n"


@lru_cache(maxsize=1)
def environment() -> SandboxedEnvironment:
    """Return the sandbox in which templates are parsed and rendered."""
    import jinja2  # noqa: PLC0415
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["quote"] = quote
    return environment


def _context(values: PromptValues) -> dict[str, Any]:
    """Return the quoted value of each variable."""
    return {
        "item": _item(values.item),
        "attempt": {"number": values.attempt, "of": values.of},
        "findings": [_finding(n, finding) for n, finding in enumerate(values.findings, 1)],
        "commands": [
            {"name": one_line(c.name), "command": one_line(c.command), "red": c.red}
            for c in values.commands
        ],
        "checks": [_check(check) for check in values.checks],
        "diff": quote(spelled(values.diff), "diff"),
        "changed": [one_line(spelled(path)) for path in values.changed],
        "conventions": [
            {"path": one_line(convention.path), "text": quote(convention.text)}
            for convention in values.conventions
        ],
        "last": _last(values.last),
        "resumed": values.resumed,
        "target": one_line(values.target),
        "verdict_schema": quote(json.dumps(json_schema(values.produces)), "json"),
        "nonce": one_line(values.nonce),
        "answer": quote(values.answer),
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "title": one_line(item.title),
        "body": quote(item.document.body.strip("\n")),
        "kind": item.kind.value,
        "risk": item.risk.value,
        "priority": item.priority,
        "paths": [one_line(path) for path in item.paths],
        "criteria": [one_line(criterion) for criterion in item.criteria],
    }


def _check(check: FailedCheck) -> dict[str, str]:
    return {
        "name": one_line(check.name),
        "command": one_line(check.command),
        "output": quote(check.output),
    }


def _last(last: LastRun | None) -> dict[str, str] | None:
    if last is None:
        return None
    lines = {key: one_line(getattr(last, key)) for key in ("stage", "exit", "by", "summary")}
    return lines | {"output": quote(last.output)}


def _finding(number: int, finding: Finding) -> dict[str, Any]:
    message = finding.message.strip()
    return {
        "number": number,
        "severity": finding.severity.value,
        "file": one_line(finding.file),
        "line": finding.line,
        "message": f"\n{quote(message)}" if "\n" in message else one_line(message),
    }
