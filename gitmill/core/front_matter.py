"""Front matter that people write. Every scalar is text: `on` stays `on`, `20m` is a duration.

YAML would read `on:` as true and `1:30` as 90, and silently take the last of two equal keys. In
this reader a duplicate key, a key without a value and an alias are errors with their line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import frontmatter
import yaml
from frontmatter.default_handlers import YAMLHandler
from pydantic import BaseModel, ValidationError
from yaml.composer import ComposerError

from gitmill.config.problems import expectation, nearest
from gitmill.errors import BadDocumentError
from gitmill.hints import Hint

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Handwritten:
    """A document written by a person. Lines count from 1; `lines` has the line of each key path."""

    path: str
    text: str
    fields: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]
    body: str
    body_line: int

    def line(self, *key: str) -> int:
        """Return the line of a key, or of the enclosing key if it has none."""
        lines = (self.lines.get(key[:length]) for length in range(len(key), 0, -1))
        return next((line for line in lines if line), 1)

    def error(self, line: int, what: str, *hints: str) -> BadDocumentError:
        """Build the error that names file and line and shows the line."""
        return _error(self.path, self.text, [(line, what, hint) for hint in hints or ("",)])

    def read(self, schema: type[M]) -> M:
        """Validate the fields. Raises `BadDocumentError` naming line, key and what was expected."""
        try:
            return schema.model_validate(self.fields)
        except ValidationError as error:
            problems = [
                self._explain(schema, problem) for problem in error.errors(include_url=False)
            ]
            raise _error(self.path, self.text, sorted(problems)) from None

    def _explain(self, schema: type[BaseModel], problem: ErrorDetails) -> tuple[int, str, str]:
        """Return the line of a validation error, its message and a hint."""
        path = [str(part) for part in problem["loc"] if part != "[key]"]
        key, known, line = ".".join(path), list(schema.model_fields), self.line(*path)
        if problem["type"] == "extra_forbidden":
            close = nearest(path[-1], known)
            hint = f"did you mean `{close}`?" if close else f"known keys: {', '.join(known)}"
            return line, f"there is no key {key}", hint
        examples = schema.model_fields[path[0]].examples
        hint = f"for example `{path[0]}: {examples[0]}`" if examples else ""
        if problem["type"] == "missing":
            return line, f"the key {key} is missing", hint
        return line, f"{key} must be {expectation(problem)}", hint


def read_handwritten(path: str, text: str) -> Handwritten:
    """Read front matter and body; the body loses its leading and trailing white space.

    Raises `BadDocumentError` with file and line if the front matter is missing or not plain YAML.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    above = text[: len(text) - len(text.lstrip())].count("\n")
    handler = _Handler(above)
    if re.search("[\ud800-\udfff]", text):
        raise _error(path, "", [(1, "it is not UTF-8", "")])
    if not _fences(text):
        hint = "the first line is `---`, and so is the one after the last key"
        raise _error(path, text, [(1, "there is no front matter", hint)])
    try:
        fields, body = frontmatter.parse(text, handler=handler)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = above + (mark.line if mark else 0) + 1
        raise _error(path, text, [(line, problem or "it is not YAML", "")]) from None
    except RecursionError:
        raise _error(path, text, [(1, "the front matter is nested too deeply", "")]) from None
    end = _fences(text)
    start = end + len(text[end:]) - len(text[end:].lstrip())
    return Handwritten(path, text, fields, handler.lines, body, text[:start].count("\n") + 1)


def _error(path: str, text: str, problems: list[tuple[int, str, str]]) -> BadDocumentError:
    line, what, _ = problems[0]
    shown = [f"{line} | {source.rstrip()}" for source in text.split("\n")[line - 1 : line] if text]
    others = [f"{path}:{number}: {other}" for number, other, _ in problems[1:]]
    return BadDocumentError(
        f"{path}:{line}: {what}",
        evidence=[*shown, *(other for other in others if other != f"{path}:{line}: {what}")],
        hints=[Hint(hint) for hint in dict.fromkeys(hint for *_, hint in problems) if hint],
    )


def _fences(text: str) -> int:
    """Return the end offset of the closing fence, 0 unless there are two fences."""
    fences = list(_Handler.FM_BOUNDARY.finditer(text))
    begins = bool(fences) and not text[: fences[0].start()].strip()
    return fences[1].end() if begins and len(fences) > 1 else 0


class _Handler(YAMLHandler):
    """Reads mappings, lists and texts, and records the line of each key."""

    FM_BOUNDARY = re.compile(r"^---[ \t]*$", re.MULTILINE)

    def __init__(self, above: int) -> None:
        super().__init__()
        self._above = above
        self.lines: dict[tuple[str, ...], int] = {}

    def load(self, fm: str, **_: object) -> dict[str, Any]:
        node = yaml.compose(fm, _Loader)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise ComposerError(None, None, "expected `key: value`", node.start_mark)
        return self._mapping(node, ())

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark, key = key_node.start_mark, key_node.value
            if not isinstance(key, str):
                raise ComposerError(None, None, "a key must be a word", mark)
            if key in fields:
                raise ComposerError(None, None, f"duplicate key {key}", mark)
            self.lines[*path, key] = self._above + mark.line + 1
            fields[key] = self._value(value_node, (*path, key))
        return fields

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(part, path) for part in node.value]
        if node.tag.endswith(":null"):
            what = f"the key {'.'.join(path)} has no value"
            raise ComposerError(None, None, what, node.start_mark)
        return node.value


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "aliases are not supported; write the value out", mark)
        return super().compose_node(parent, index)
