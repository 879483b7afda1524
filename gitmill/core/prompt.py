"""The prompt of a stage: what it may name, whether it can be rendered, and the rendering.

Text from trackers, people and agents is data. What may have more than one line is handed to the
template inside of a fence that it cannot close, the rest is kept on one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gitmill.config.problems import nearest
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.verdict import Finding, json_schema
from gitmill.errors import AttemptError

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

# Every name that a prompt may use. `[]` stands for one entry of a list.
VARIABLES: Mapping[str, str] = {
    "item.id": "id of the item, such as t-k3f9x",
    "item.title": "its title, one line",
    "item.body": "its text, fenced; empty if it has none",
    "item.kind": "analysis, goal, design, plan or task",
    "item.risk": "low, medium or high",
    "item.priority": "0 (first) to 4",
    "item.paths": "list of paths that it declares to change",
    "item.criteria": "list of criteria; one that begins with `$` is a command that must exit 0",
    "attempt.number": "which try at this stage this is in the round, from 1",
    "attempt.of": "how many tries the round has",
    "findings": "list of what earlier rounds found; the newest round only",
    "findings[].severity": "high, medium or low",
    "findings[].file": "path of the file, empty if it is about none",
    "findings[].line": "line in that file, or none",
    "findings[].message": "what is wrong; fenced when it has more than one line",
    "checks": "list of the checks and criteria that failed",
    "checks[].name": "name of the check",
    "checks[].command": "its command",
    "checks[].output": "the end of what it printed, fenced",
    "diff": "the change under review, fenced; empty before there is one",
    "target": "branch that the work will land on",
    "verdict_schema": "JSON Schema of a verdict, fenced",
    "nonce": "random text of this attempt that its verdict has to bear",
    "answer": "what a person answered to the question of this stage, fenced; else empty",
}


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check or criterion that did not pass, for the agent that has to mend it."""

    name: str
    command: str
    output: str


@dataclass(frozen=True, slots=True)
class PromptValues:
    """All that a prompt is made from, as it is: quoting is done when it is rendered."""

    item: Item
    attempt: int
    of: int
    target: str
    nonce: str
    findings: tuple[Finding, ...] = ()
    checks: tuple[FailedCheck, ...] = ()
    diff: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class PromptProblem:
    """Why a prompt cannot be used; `line` counts from 1 within its text."""

    line: int
    what: str
    hint: str


def quote(text: str, info: str = "") -> str:
    """Fence a text so that nothing in it can close the fence. Empty text stays empty."""
    if not text.strip():
        return ""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{info}\n{text.removesuffix(chr(10))}\n{fence}"


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def render_prompt(template: str, values: PromptValues) -> str:
    """Return the prompt. Raises `AttemptError` when the template fails on these values."""
    try:
        text = _environment().from_string(template).render(_context(values))
    except Exception as error:  # a template may fail in any way that an expression can
        raise AttemptError(
            f"the prompt could not be rendered: {one_line(str(error))}",
            hints=["what a prompt may name: `gitmill explain prompt`"],
        ) from error
    return text.encode("utf-8", "replace").decode().rstrip("\n") + "\n"


def check_prompt(template: str) -> list[PromptProblem]:
    """Return why a prompt cannot be used, nothing when it can.

    Names are checked in all branches; then it is rendered as for a first try and as for a later
    one, so that what only fails at run time fails here.
    """
    import jinja2  # noqa: PLC0415  (50 ms that only compiling and rendering should cost)

    try:
        tree = _environment().parse(template)
        _environment().compile(template)
    except jinja2.TemplateSyntaxError as error:
        what = one_line(error.message or "it cannot be read").rstrip(".")
        hint = "a brace pair that is text is written `{{ '{{' }}`"
        if isinstance(error, jinja2.TemplateAssertionError):
            hint = "there are the filters of Jinja and `quote`"
        return [PromptProblem(error.lineno, f"{what[:1].lower()}{what[1:]}", hint)]
    problems = sorted([*_foreign(tree), *_unknown(tree)], key=lambda problem: problem.line)
    return problems or _trial(template)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    import jinja2  # noqa: PLC0415
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["quote"] = quote
    return environment


def _context(values: PromptValues) -> dict[str, Any]:
    item = values.item
    return {
        "item": {
            "id": item.id,
            "title": one_line(item.title),
            "body": quote(item.document.body.strip("\n")),
            "kind": item.kind.value,
            "risk": item.risk.value,
            "priority": item.priority,
            "paths": [one_line(path) for path in item.paths],
            "criteria": [one_line(criterion) for criterion in item.criteria],
        },
        "attempt": {"number": values.attempt, "of": values.of},
        "findings": [_finding(finding) for finding in values.findings],
        "checks": [
            {
                "name": one_line(check.name),
                "command": one_line(check.command),
                "output": quote(check.output),
            }
            for check in values.checks
        ],
        "diff": quote(values.diff, "diff"),
        "target": one_line(values.target),
        "verdict_schema": quote(json.dumps(json_schema()), "json"),
        "nonce": one_line(values.nonce),
        "answer": quote(values.answer),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    message = finding.message.strip()
    return {
        "severity": finding.severity.value,
        "file": one_line(finding.file),
        "line": finding.line,
        "message": f"\n{quote(message)}" if "\n" in message else one_line(message),
    }


def _foreign(tree: nodes.Template) -> Iterator[PromptProblem]:
    from jinja2 import nodes  # noqa: PLC0415

    for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        word = type(node).__name__.lower().removeprefix("from")
        hint = f"copy what it would {word} into the prompt"
        yield PromptProblem(node.lineno, f"a prompt stands alone; it cannot {word}", hint)


def _unknown(tree: nodes.Template) -> Iterator[PromptProblem]:
    """Find variables, and attributes of known ones, that do not exist."""
    from jinja2 import meta, nodes  # noqa: PLC0415

    roots = {re.split(r"\.|\[", name)[0] for name in VARIABLES}
    undeclared = meta.find_undeclared_variables(tree) - roots - set(_environment().globals)
    for node in tree.find_all(nodes.Name):
        if node.name in undeclared:
            undeclared.discard(node.name)
            yield _missing(node.lineno, node.name, sorted(roots))
    bound = _bound(tree)
    for owner, name, line in _accesses(tree):
        root = bound.get(owner)
        fields = [field for field in VARIABLES if root and field.startswith(f"{root}.")]
        if fields and f"{root}.{name}" not in fields:
            known = [field.rpartition(".")[2] for field in fields]
            yield _missing(line, f"{owner}.{name}", known)


def _accesses(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the attribute and the line of each `name.attribute`."""
    from jinja2 import nodes  # noqa: PLC0415

    for dot in tree.find_all(nodes.Getattr):
        if isinstance(dot.node, nodes.Name):
            yield dot.node.name, dot.attr, dot.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const):
            yield item.node.name, str(item.arg.value), item.lineno


def _bound(tree: nodes.Template) -> dict[str, str]:
    """Return what each name of the template stands for: `f` in `for f in findings` is an entry."""
    from jinja2 import nodes  # noqa: PLC0415

    lists = {name.partition("[")[0] for name in VARIABLES if "[]" in name}
    bound = {name.partition(".")[0]: name.partition(".")[0] for name in VARIABLES if "." in name}
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    bound = {name: root for name, root in bound.items() if name not in stored}
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.iter, nodes.Name) and isinstance(loop.target, nodes.Name):
            if loop.iter.name in lists:
                bound[loop.target.name] = f"{loop.iter.name}[]"
            else:
                bound.pop(loop.target.name, None)
    return bound


def _missing(line: int, name: str, known: list[str]) -> PromptProblem:
    leaf = name.rpartition(".")[2]
    close = nearest(leaf, known)
    prefix = name.removesuffix(leaf)
    hint = f"did you mean `{prefix}{close}`?" if close else f"known here: {', '.join(known)}"
    return PromptProblem(line, f"there is no variable {name}", hint)


def _trial(template: str) -> list[PromptProblem]:
    for values in _samples():
        try:
            render_prompt(template, values)
        except AttemptError as error:
            return [PromptProblem(1, error.message, "make it hold for a first try and a later one")]
    return []


def _samples() -> Iterator[PromptValues]:
    day = datetime(2000, 1, 1, tzinfo=UTC)
    item = Item(
        id="t-00000", title="A title", kind=Kind.TASK, status=Status.RUNNING, document=Document(""),
        event=Event.CLAIMED, created=day, since=day,
    )  # fmt: skip
    yield PromptValues(item, 1, 3, "main", "nonce")
    full = item.model_copy(
        update={"paths": ("src/a.py",), "criteria": ("$ true",), "document": Document("A body\n")}
    )
    finding, check = Finding("wrong", file="src/a.py", line=1), FailedCheck("test", "true", "out")
    yield PromptValues(full, 2, 3, "main", "nonce", (finding,), (check,), "+ line\n", "yes")
