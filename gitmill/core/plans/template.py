"""Check the prompt of a stage when its loop compiles, not when it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gitmill.config.problems import nearest
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.plans.prompt import (
    VARIABLES,
    Convention,
    FailedCheck,
    LastRun,
    PromptValues,
    environment,
    one_line,
    render_prompt,
)
from gitmill.core.verdict import Finding
from gitmill.errors import AttemptError

if TYPE_CHECKING:
    from jinja2 import nodes


@dataclass(frozen=True, slots=True)
class PromptProblem:
    """A reason why a prompt cannot be used; `line` counts from 1 within the prompt."""

    line: int
    what: str
    hint: str


def check_prompt(template: str) -> list[PromptProblem]:
    """Return the reasons why a prompt cannot be used, none if it can.

    This checks the names in all branches, then renders the prompt as for a first attempt and as
    for a later one, so that errors of a run show when the loop compiles.
    """
    import jinja2  # noqa: PLC0415  (50 ms that only compiling and rendering should cost)

    try:
        tree = environment().parse(template)
        environment().compile(template)
    except jinja2.TemplateSyntaxError as error:
        what = one_line(error.message or "it cannot be read").rstrip(".")
        hint = "write a literal brace pair as `{{ '{{' }}`"
        if isinstance(error, jinja2.TemplateAssertionError):
            hint = "the filters are those of Jinja and `quote`"
        return [PromptProblem(error.lineno, f"{what[:1].lower()}{what[1:]}", hint)]
    problems = sorted([*_foreign(tree), *_unknown(tree)], key=lambda problem: problem.line)
    return problems or _trial(template)


def _foreign(tree: nodes.Template) -> Iterator[PromptProblem]:
    from jinja2 import nodes  # noqa: PLC0415  (as above)

    for node in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        word = type(node).__name__.lower().removeprefix("from")
        hint = "copy the text of the other template into the prompt"
        yield PromptProblem(node.lineno, f"a prompt cannot {word} another template", hint)


def _unknown(tree: nodes.Template) -> Iterator[PromptProblem]:
    """Yield variables, and attributes of known variables, that do not exist."""
    from jinja2 import meta, nodes  # noqa: PLC0415  (as above)

    roots = {re.split(r"\.|\[", name)[0] for name in VARIABLES}
    undeclared = meta.find_undeclared_variables(tree) - roots - set(environment().globals)
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
    from jinja2 import nodes  # noqa: PLC0415  (as above)

    for dot in tree.find_all(nodes.Getattr):
        if isinstance(dot.node, nodes.Name):
            yield dot.node.name, dot.attr, dot.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const):
            yield item.node.name, str(item.arg.value), item.lineno


def _bound(tree: nodes.Template) -> dict[str, str]:
    """Return the variable that each name of the template stands for: `f` in `for f in findings`."""
    from jinja2 import nodes  # noqa: PLC0415  (as above)

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
    hint = f"did you mean `{prefix}{close}`?" if close else f"known names: {', '.join(known)}"
    return PromptProblem(line, f"there is no variable {name}", hint)


def _trial(template: str) -> list[PromptProblem]:
    for values in _samples():
        try:
            render_prompt(template, values)
        except AttemptError as error:
            hint = "make it work for a first attempt and for a later one"
            return [PromptProblem(1, error.message, hint)]
    return []


def _samples() -> Iterator[PromptValues]:
    day = datetime(2000, 1, 1, tzinfo=UTC)
    item = Item(
        id="t-00000", title="A title", kind=Kind.TASK, status=Status.RUNNING, document=Document(""),
        event=Event.CLAIMED, created=day, since=day,
    )  # fmt: skip
    yield PromptValues(item=item, attempt=1, of=3, target="main", nonce="nonce")
    full = replace(item, paths=("src/a.py",), criteria=("$ true",), document=Document("A body\n"))
    finding, check = Finding("wrong", file="src/a.py", line=1), FailedCheck("test", "true", "out")
    yield PromptValues(
        item=full, attempt=2, of=3, target="main", nonce="nonce", findings=(finding,),
        checks=(check,), diff="+ line\n", changed=("src/a.py",), answer="yes", resumed=True,
        conventions=(Convention("AGENTS.md", "Be brief.\n"),),
        last=LastRun("build", "crashed", "any", "it crashed", "out"),
    )  # fmt: skip
