"""Markdown with front matter, preserved to the byte: setting a field changes only its own lines.

gitmill writes each field as `key: <JSON value>` on one line, which every YAML reader understands.
People can write any YAML; a field keeps its text until it is set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gitmill.errors import BadDocumentError

_FENCE = re.compile(r"---[ \t]*\r?\n?\Z")
_SIMPLE = re.compile(r"[A-Za-z_][\w.-]*")
_STRING = r'"(?:[^"\\]|\\.)*"'
_QUOTED = rf"{_STRING}|'(?:[^']|'')*'"
# the first character of an unquoted key or value
_PLAIN = r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[-?:](?=\S))"
_KEY = re.compile(
    rf"({_SIMPLE.pattern}|{_QUOTED}|{_PLAIN}(?:[^\r\n:#]|:(?=\S)|(?<=\S)#)*?)"
    r"(?<![ \t])[ \t]*:(?=[ \t\r\n]|\Z)"
)
_COMMENT = re.compile(
    rf"((?:{_QUOTED}|[\[{{](?:[^\"'#]|{_QUOTED})*[\]}}]|{_PLAIN}.*?)?)"
    r"((?:\A|(?<![ \t])[ \t]+)#.*)"
)
_EXPONENT = re.compile(rf"{_STRING}|(?<![.\d])(-?\d+)(e[+-]\d+)")
_FLOAT = re.compile(r"-?\d+\.\d+(?:[eE][-+]\d+)?")
_NULL = ("", "~", "null", "Null", "NULL")
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _float(digits: str) -> float:
    if not _FLOAT.fullmatch(digits):
        raise ValueError(digits)
    return float(digits)


# Python's JSON decoder reads NaN, Infinity and 1E5 as numbers; in YAML 1.1 all are text.
_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_float)


def to_json(value: Any) -> str:
    """Return JSON on one line that is also YAML: keep non-ASCII, escape line breaks."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if "e-" in text or "e+" in text:  # YAML 1.1 reads 1e-05 as text: it requires a point
        text = _EXPONENT.sub(lambda m: f"{m[1]}.0{m[2]}" if m[1] else m[0], text)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _line(key: str, value: Any) -> str:
    return f"{key if _SIMPLE.fullmatch(key) else to_json(key)}: {to_json(value)}"


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@dataclass(frozen=True, slots=True)
class Field:
    """The lines of one top-level key, `start` (from 0) up to `end`; `rest` follows its colon."""

    key: str
    start: int
    end: int
    rest: str


@dataclass(frozen=True)
class Document:
    """A parsed document. Parsing never fails; reading a malformed field does."""

    text: str
    path: str = ""

    @classmethod
    def from_bytes(cls, data: bytes, path: str = "") -> Document:
        """Parse the bytes of a file; invalid UTF-8 survives the round trip."""
        return cls(data.decode("utf-8", "surrogateescape"), path)

    @classmethod
    def new(cls, fields: Mapping[str, Any], body: str, path: str = "") -> Document:
        """Return a new document with one line per field; fields that are None are omitted."""
        lines = [_line(key, value) + "\n" for key, value in fields.items() if value is not None]
        return cls("---\n" + "".join(lines) + "---\n" + body, path)

    def to_bytes(self) -> bytes:
        """Return the bytes of the file, equal to the parsed ones if no field was set."""
        return self.text.encode("utf-8", "surrogateescape")

    @cached_property
    def _all(self) -> list[str]:
        return _lines(self.text)

    @cached_property
    def _close(self) -> int:
        """Line number of the closing fence, 0 when there is no front matter."""
        lines = self._all
        if not lines or not _FENCE.match(lines[0].removeprefix("\ufeff")):
            return 0
        return next((n for n, line in enumerate(lines) if n and _FENCE.match(line)), 0)

    @property
    def has_front_matter(self) -> bool:
        """Whether the text starts with a closed front matter block."""
        return self._close > 0

    @property
    def body(self) -> str:
        """The text after the front matter."""
        return "".join(self._all[self._close + 1 :]) if self._close else self.text

    @cached_property
    def fields(self) -> dict[str, Field]:
        """The top-level keys in order. Raises `BadDocumentError` on a duplicate key."""
        fields: dict[str, Field] = {}
        for field in self._scan():
            if field.key in fields:
                raise self.error(field.start, f"duplicate key {field.key}")
            fields[field.key] = field
        return fields

    def _scan(self) -> Iterator[Field]:
        field: Field | None = None
        for number in range(1, self._close):
            line = self._all[number]
            if match := _KEY.match(line):
                if field:
                    yield field
                field = Field(_unquoted(match[1]), number, number + 1, line[match.end() :].strip())
            elif not line.strip() or line.startswith("#"):
                continue  # belongs to no field, so setting one does not move it
            elif field and line[0] in " \t-]}":
                field = replace(field, end=number + 1)
            else:
                raise self.error(number, "expected `key: value`")
        if field:
            yield field

    def error(self, line: int, what: str) -> BadDocumentError:
        """Return the error that names file, line (counted from 0) and fault."""
        shown = self._all[line].rstrip("\r\n") if line < len(self._all) else ""
        return BadDocumentError(
            f"{self.path or 'document'}:{line + 1}: {what}", evidence=[f"{line + 1} | {shown}"]
        )

    def line_of(self, key: str) -> int:
        """Return the line (from 0) of a key, or of the opening fence if the key is missing."""
        field = self.fields.get(key)
        return field.start if field else 0

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a field as YAML reads it, `default` if the field is missing."""
        field = self.fields.get(key)
        if field is None:
            return default
        if field.end == field.start + 1:
            try:
                return _JSON.decode(field.rest)
            except (ValueError, RecursionError):
                pass
        return self._yaml(field, typed=True)

    def text_value(self, key: str, default: Any = None) -> Any:
        """Return the value of a field with its scalars as text: `1.10`, `on`, `007` as typed."""
        field = self.fields.get(key)
        if field is None:
            return default
        if field.end == field.start + 1 and field.rest[:1] in ('"', "["):
            try:
                value = json.loads(field.rest)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, str) or (
                isinstance(value, list) and all(isinstance(part, str) for part in value)
            ):
                return value
        return self._yaml(field, typed=False)

    def _yaml(self, field: Field, *, typed: bool) -> Any:
        import yaml  # noqa: PLC0415  (only for fields that people wrote; ours are JSON)

        lines = "".join(self._all[field.start : field.end])
        try:
            loaded = yaml.load(lines, yaml.SafeLoader if typed else yaml.BaseLoader)  # noqa: S506
            (value,) = loaded.values()
        # PyYAML raises all of these: for 2026-99-99, `!!int x`, `!!timestamp x`, `!!bool x`, [[[[…
        except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = field.start + (mark.line if mark else 0)
            problem = getattr(error, "problem", None) or "not YAML"
            raise self.error(min(line, field.end - 1), f"{field.key}: {problem}") from None
        bare = _split(field.rest)[0]
        return None if not typed and bare in _NULL and value in ("", bare) else value

    def set(self, key: str, value: Any) -> Document:
        """Return the document with one field set, or removed if `value` is None.

        Raises `BadDocumentError` if the document has no front matter.
        """
        return self.update({key: value})

    def update(self, fields: Mapping[str, Any]) -> Document:
        """Return the document with several fields set or removed; new ones come last, in order.

        Raises `BadDocumentError` if the document has no front matter.
        """
        if not fields:
            return self
        if not self.has_front_matter:
            raise self.error(0, "there is no front matter; the first line must be `---`")
        newline = "\r\n" if self._all[0].endswith("\r\n") else "\n"
        lines, known = list(self._all), self.fields
        added = [(k, v) for k, v in fields.items() if k not in known and v is not None]
        lines[self._close : self._close] = [_line(key, value) + newline for key, value in added]
        there = (known[key] for key in fields if key in known)
        for field in sorted(there, key=lambda field: field.start, reverse=True):
            value, new = fields[field.key], list[str]()
            if value is not None:
                comment = _split(field.rest)[1] if field.end == field.start + 1 else ""
                new = [_line(field.key, value) + comment + newline]
            lines[field.start : field.end] = new
        return Document("".join(lines), self.path)

    def with_body(self, body: str) -> Document:
        """Return the document with another body."""
        head = "".join(self._all[: self._close + 1]) if self._close else ""
        if head and not head.endswith("\n"):
            head += "\n"
        return Document(head + body, self.path)


def _unquoted(key: str) -> str:
    try:
        if key.startswith("'"):
            return key[1:-1].replace("''", "'")
        return str(json.loads(key)) if key.startswith('"') else key
    except ValueError:
        return key  # an escape sequence that only YAML has


def _split(rest: str) -> tuple[str, str]:
    """Split the rest of a line after the colon into the value and the comment with its space."""
    match = _COMMENT.fullmatch(rest)
    return (match[1], match[2] if match[1] else f" {match[2]}") if match else (rest, "")


class Handler:
    """This format as a handler of python-frontmatter, for programs that use that library.

    `frontmatter.loads(text, handler=Handler())` reads gitmill's documents with their types.
    """

    FM_BOUNDARY = re.compile(r"^-{3}\s*$", re.MULTILINE)
    START_DELIMITER = END_DELIMITER = "---"

    def detect(self, text: str) -> bool:
        """Whether the text has front matter."""
        return Document(text).has_front_matter

    def split(self, text: str) -> tuple[str, str]:
        """Return the front matter without its fences, and the body."""
        document = Document(text)
        head = text[: len(text) - len(document.body)]
        return "".join(_lines(head)[1:-1]), document.body

    def load(self, fm: str, **_: object) -> dict[str, Any]:
        """Read the fields."""
        document = Document(f"---\n{fm}---\n" if fm.endswith("\n") else f"---\n{fm}\n---\n")
        return {key: document.value(key) for key in document.fields}

    def export(self, metadata: Mapping[str, Any], **_: object) -> str:
        """Write the fields, one line each."""
        return "\n".join(_line(key, value) for key, value in metadata.items())

    def format(self, post: Any, **_: object) -> str:
        """Write a whole document."""
        return f"---\n{self.export(post.metadata)}\n---\n{post.content}"
