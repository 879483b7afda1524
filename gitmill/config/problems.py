"""The problems of a TOML file that people write, with line, key and expected value."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from gitmill.errors import BadConfigError
from gitmill.hints import Gitmill, Hint

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "string": "a text", "bool": "true or false", "int": "a whole number", "tuple": "a list",
    "dict": "a table", "mapping": "a table", "model": "a table",
}  # fmt: skip
_SHOWN = 60


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that the user probably meant, for a hint."""
    return next(iter(get_close_matches(word, known, 1)), None)


def expectation(problem: ErrorDetails) -> str:
    """Return the expected and the actual value of a validation error."""
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
        what = "a list that is not empty"
    else:
        what = _EXPECTED.get(kind.split("_")[0], problem["msg"])
    actual = json.dumps(problem["input"], default=str, ensure_ascii=False)
    return f"{what}, not {actual if len(actual) <= _SHOWN else actual[: _SHOWN - 3] + '...'}"


def not_toml(text: str, source: str, problem: str) -> BadConfigError:
    """Return the error for a text that the TOML parser refused with this message."""
    at = re.search(r" \(at line (\d+), column \d+\)$", problem)
    line = int(at[1]) if at else max(1, len(text.splitlines()))
    what = problem[: at.start()] if at else problem.removesuffix(" (at end of document)")
    return BadConfigError(
        f"{source}:{line}: this is not TOML: {what[:1].lower()}{what[1:]}",
        evidence=_quote(text, line),
        hints=[Hint('write lines such as `key = "text"`, `key = 3` or `[table]`')],
    )


def explain(
    text: str,
    source: str,
    schema: type[BaseModel],
    problems: Sequence[ErrorDetails],
    *,
    elsewhere: Mapping[str, Hint],
) -> BadConfigError:
    """Return the error that states the first problem and lists the others below it.

    `elsewhere` has the hints for keys that people expect in this file but that are set elsewhere.
    """
    entries = []
    for problem in problems:
        path = tuple(str(part) for part in problem["loc"] if not isinstance(part, int))
        path = path[:-1] if path[-1:] == ("[key]",) else path
        what, hint = _explain_key(schema, path, problem)
        entries.append((_line_of(text, path), what, elsewhere.get(".".join(path), hint)))
    entries.sort(key=lambda entry: entry[0])
    line, what, _ = entries[0]
    others = [f"{source}:{number}: {other}" for number, other, _ in entries[1:]]
    return BadConfigError(
        f"{source}:{line}: {what}",
        evidence=[*_quote(text, line), *others],
        hints=list(dict.fromkeys(hint for _, _, hint in entries)),
    )


def _quote(text: str, line: int) -> list[str]:
    lines = text.split("\n")
    return [f"{line} | {lines[line - 1].rstrip()}"] if line <= len(lines) else []


def _explain_key(
    schema: type[BaseModel], path: tuple[str, ...], problem: ErrorDetails
) -> tuple[str, Hint]:
    """Return the problem of a key, and a hint."""
    key, known = ".".join(path), dict(keys(schema))
    if problem["type"] == "extra_forbidden":
        return f"there is no key {key}", _meant(schema, path, list(known))
    fields, leaf = [known[name] for name in known if _same(name.split("."), path)], path[-1:]
    if not fields:  # the problem is inside the value of a key
        fields = [known[name] for name in known if _same(name.split("."), path[:-1])]
        leaf = path[-2:-1]
    hint = Hint("see the keys with", Gitmill("config", "list"))
    if fields and fields[0].examples:
        hint = Hint(f"for example `{leaf[0]} = {to_toml(fields[0].examples[0])}`")
    if problem["type"] == "missing":
        return f"the key {key} is missing", hint
    return f"{key} must be {expectation(problem)}", hint


def _meant(schema: type[BaseModel], path: tuple[str, ...], known: Sequence[str]) -> Hint:
    """Return the hint for an unknown key: the key that was probably meant, else its siblings."""
    names = [name.split(".") for name in known]
    siblings = [name[len(path) - 1] for name in names if _same(name[: len(path) - 1], path[:-1])]
    if len(path) == 1:
        siblings = [field.alias or name for name, field in schema.model_fields.items()]
    elsewhere = [name for name in known if name.split(".")[-1] == path[-1]]
    close = nearest(path[-1], siblings)
    if elsewhere or close:
        meant = elsewhere[0] if elsewhere else ".".join([*path[:-1], close or ""])
        return Hint(f"did you mean `{meant}`?")
    return Hint(f"known keys: {', '.join(dict.fromkeys(siblings))}")


def _same(pattern: Sequence[str], path: Sequence[str]) -> bool:
    return len(pattern) == len(path) and all(
        part in ("NAME", name) for part, name in zip(pattern, path, strict=True)
    )


def _line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line (from 1) of a key, or of its table if the key has none."""
    best, length = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        head = line.strip()
        if head.startswith("["):
            key = table = _key_path(head) or table
        else:
            key = (*table, *_key_path(head.partition("=")[0] + "= 0"))
        if length < len(key) and key == path[: len(key)]:
            best, length = number, len(key)
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
    """Yield every key of a schema in order; NAME stands for a name that the project chooses."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner, chosen = _inner(field.annotation)
        if inner:
            yield from keys(inner, f"{key}.NAME." if chosen else f"{key}.")
        else:
            yield key, field


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the model inside an annotation, and whether it is the value of a mapping by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    parts = [_inner(part)[0] for part in get_args(annotation)]
    return next((part for part in parts if part), None), True


def to_toml(value: object) -> str:
    """Return a value as TOML, as a person would type it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str) and "\\" in value and "'" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)
