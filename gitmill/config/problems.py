"""The problems of a TOML file that people write: line, key and what was expected."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from gitmill.errors import BadConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "string": "a text", "bool": "true or false", "int": "a whole number", "tuple": "a list",
    "dict": "a table", "mapping": "a table", "model": "a table",
}  # fmt: skip
_SHOWN = 60


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the probable intention, for a hint."""
    return next(iter(get_close_matches(word, known, 1)), None)


def expectation(problem: ErrorDetails) -> str:
    """Return what a validation error expected, and what it found instead."""
    context, kind = problem.get("ctx", {}), problem["type"]
    if kind == "value_error":
        what = str(context["error"])
    elif kind == "enum":
        what = "one of " + context["expected"].replace("'", "").replace(" or ", ", ")
    elif kind == "greater_than_equal":
        what = f"at least {context['ge']}"
    elif kind == "less_than_equal":
        what = f"at most {context['le']}"
    elif kind == "too_short":
        what = "a list with something in it"
    else:
        what = _EXPECTED.get(kind.split("_")[0], problem["msg"])
    found = json.dumps(problem["input"], default=str, ensure_ascii=False)
    return f"{what}, not {found if len(found) <= _SHOWN else found[: _SHOWN - 3] + '...'}"


def not_toml(text: str, source: str, problem: str) -> BadConfigError:
    """Build the error for text that the TOML parser refused with this message."""
    at = re.search(r" \(at line (\d+), column \d+\)$", problem)
    line = int(at[1]) if at else max(1, len(text.splitlines()))
    what = problem[: at.start()] if at else problem.removesuffix(" (at end of document)")
    return BadConfigError(
        f"{source}:{line}: this is not TOML: {what[:1].lower()}{what[1:]}",
        evidence=_quote(text, line),
        hints=['a line reads `key = "text"`, `key = 3` or `[table]`'],
    )


def explain(
    text: str,
    source: str,
    schema: type[BaseModel],
    problems: Sequence[ErrorDetails],
    *,
    elsewhere: Mapping[str, str],
) -> BadConfigError:
    """Build the error that names the first problem and shows the others below it.

    `elsewhere` has the hint for a key that people may look for here and that is set otherwise.
    """
    found = []
    for problem in problems:
        path = tuple(str(part) for part in problem["loc"] if not isinstance(part, int))
        path = path[:-1] if path[-1:] == ("[key]",) else path
        what, hint = _say(schema, path, problem)
        found.append((_line_of(text, path), what, elsewhere.get(".".join(path), hint)))
    found.sort(key=lambda entry: entry[0])
    line, what, _ = found[0]
    others = [f"{source}:{number}: {other}" for number, other, _ in found[1:]]
    return BadConfigError(
        f"{source}:{line}: {what}",
        evidence=[*_quote(text, line), *others],
        hints=list(dict.fromkeys(hint for _, _, hint in found)),
    )


def _quote(text: str, line: int) -> list[str]:
    lines = text.split("\n")
    return [f"{line} | {lines[line - 1].rstrip()}"] if line <= len(lines) else []


def _say(schema: type[BaseModel], path: tuple[str, ...], problem: ErrorDetails) -> tuple[str, str]:
    """Return the problem of a key, and a hint."""
    key, known = ".".join(path), dict(keys(schema))
    if problem["type"] == "extra_forbidden":
        return f"there is no key {key}", _meant(schema, path, list(known))
    fits = [known[name] for name in known if _same(name.split("."), path)]
    shown, leaf = (
        (fits, path[-1:])
        if fits
        else ([known[name] for name in known if _same(name.split("."), path[:-1])], path[-2:-1])
    )
    hint = "see the keys with `gitmill config list`"
    if shown and shown[0].examples:
        hint = f"for example `{leaf[0]} = {to_toml(shown[0].examples[0])}`"
    if problem["type"] == "missing":
        return f"the key {key} is missing", hint
    return f"{key} must be {expectation(problem)}", hint


def _meant(schema: type[BaseModel], path: tuple[str, ...], known: Sequence[str]) -> str:
    beside = [name.split(".") for name in known]
    here = [name[len(path) - 1] for name in beside if _same(name[: len(path) - 1], path[:-1])]
    if len(path) == 1:
        here = [field.alias or name for name, field in schema.model_fields.items()]
    elsewhere = [name for name in known if name.split(".")[-1] == path[-1]]
    close = nearest(path[-1], here)
    if elsewhere or close:
        meant = elsewhere[0] if elsewhere else ".".join([*path[:-1], close or ""])
        return f"did you mean `{meant}`?"
    return f"known here: {', '.join(dict.fromkeys(here))}"


def _same(pattern: Sequence[str], path: Sequence[str]) -> bool:
    return len(pattern) == len(path) and all(
        part in ("NAME", name) for part, name in zip(pattern, path, strict=True)
    )


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line (from 1) of a key, that of the table around it when it has none."""
    best, length = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        head = line.strip()
        if head.startswith("["):
            here = table = _key_path(head) or table
        else:
            here = (*table, *_key_path(head.partition("=")[0] + "= 0"))
        if length < len(here) and here == path[: len(here)]:
            best, length = number, len(here)
    return best


def _key_path(line: str) -> tuple[str, ...]:
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while value and isinstance(value, (dict, list)):
        key = next(iter(value))
        path += [key] if isinstance(value, dict) else []
        value = value[key] if isinstance(value, dict) else key
    return tuple(path)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a schema in order; NAME is a name that the project chooses."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner, chosen = _inner(field.annotation)
        if inner:
            yield from keys(inner, f"{key}.NAME." if chosen else f"{key}.")
        else:
            yield key, field


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model inside of an annotation, and whether a mapping of names leads to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    parts = [_inner(part)[0] for part in get_args(annotation)]
    return next((part for part in parts if part), None), True


def to_toml(value: object) -> str:
    """Write a value in the way that a person would type it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str) and "\\" in value and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)
