"""Items: the fields of a document, validated; `docs/formats.md` says what each one means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from gitmill.core.document import Document, to_json
from gitmill.core.ids import PATTERN, Kind, kind_of
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import FINAL, Status
from gitmill.errors import BadDocumentError


class Risk(StrEnum):
    """How much harm a change can do; gates ask for it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


ItemId = Annotated[str, Field(pattern=PATTERN.pattern)]
Oid = Annotated[str, Field(pattern=r"^([0-9a-f]{40}([0-9a-f]{24})?)?$")]  # empty: none yet
Line = Annotated[
    str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")
]


class Reviewed(BaseModel):
    """What a reviewer or a person approved: the work commit and the identity of its patch."""

    model_config = ConfigDict(frozen=True, extra="allow")

    commit: Oid
    patch: str
    by: str
    run: int = 0
    stage: str = ""


class Landing(BaseModel):
    """A landing in progress: the candidate and the value that the target has to have before it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    candidate: Oid
    onto: Oid
    target: str


class Item(BaseModel):
    """One item as its document says it. Frozen; a change is a new document."""

    model_config = ConfigDict(frozen=True, extra="allow", arbitrary_types_allowed=True)

    id: ItemId
    kind: Kind
    title: Line
    status: Status
    event: str
    created: AwareDatetime
    since: AwareDatetime
    by: str = ""
    stage: str = ""
    priority: int = Field(default=2, ge=0, le=4, strict=True)
    risk: Risk = Risk.MEDIUM
    after: tuple[ItemId, ...] = ()
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    script: str = ""
    parent: str = ""
    source: str = ""
    plan: str = ""
    frozen: str = ""
    lease: Lease | None = None
    counters: Mapping[str, int] = {}
    attempt: int = Field(default=0, ge=0)
    budget_after: int = Field(default=0, ge=0)
    builder: str = ""
    base: Oid = ""
    work: Oid = ""
    reviewed: tuple[Reviewed, ...] = ()
    feedback: str = ""
    returned: Oid = ""
    bare: bool = False
    landing: Landing | None = None
    landed: Oid = ""
    reverted: Oid = ""
    checked: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    answer: str = ""
    cancel_requested: bool = False
    document: Document = Field(exclude=True, repr=False)

    @field_validator("counters")
    @classmethod
    def _bounded(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        if any(not 0 <= count <= 1000 for count in value.values()):
            raise ValueError("a counter must be 0 to 1000")
        return value

    @property
    def commands(self) -> tuple[str, ...]:
        """The criteria that are commands, without their `$`."""
        return tuple(c[1:].strip() for c in self.criteria if is_command(c))

    @property
    def prose(self) -> tuple[str, ...]:
        """The criteria that only a reader can judge."""
        return tuple(c for c in self.criteria if not is_command(c))

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to it by itself any more."""
        return self.status in FINAL

    def count(self, counter: str) -> int:
        """Return a counter, 0 when it has not begun."""
        return self.counters.get(counter, 0)


def is_command(criterion: str) -> bool:
    """Whether a criterion is `$ command`, which must exit 0."""
    return criterion.startswith("$") and bool(criterion[1:].strip())


def frozen_hash(criteria: Sequence[str], script: str, paths: Sequence[str]) -> str:
    """Return the hash that a claim freezes: what is to be built cannot change under the builder."""
    text = json.dumps([list(criteria), script, list(paths)], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Fields whose scalars are text whatever they look like: 1.10, on, 007.
_TEXT = frozenset({
    "id", "title", "by", "stage", "after", "paths", "labels", "criteria", "script", "parent",
    "source", "plan", "frozen", "builder", "base", "work", "feedback", "returned", "landed",
    "reverted", "reason", "answer", "event", "status", "kind", "risk", "created", "since",
})  # fmt: skip
_LISTS = frozenset({"after", "paths", "labels", "criteria"})

_SHOWN = 80  # characters of a wrong value that an error repeats
_EXPECTED = {
    "status": "one of " + ", ".join(Status),
    "kind": "one of " + ", ".join(Kind),
    "risk": "low, medium or high",
    "priority": "a whole number from 0 (first) to 4",
    "after": "a list of ids such as t-k3f9x",
    "id": "a letter and five or more characters, such as t-k3f9x",
    "title": "one line of text, at most 300 characters",
    "created": "a time such as 2026-01-02T03:04:05Z",
    "since": "a time such as 2026-01-02T03:04:05Z",
}


def value_of(document: Document, key: str) -> Any:
    """Return a field of an item's document as it is meant: text stays what was typed."""
    return document.text_value(key) if key in _TEXT else document.value(key)


def read_item(document: Document) -> Item:
    """Validate a document as an item.

    Raises `BadDocumentError` naming file, line, key and what was expected.
    """
    if not document.has_front_matter:
        raise document.error(0, "expected front matter between two lines `---`")
    values: dict[str, Any] = {}
    for key in document.fields:
        value = value_of(document, key)
        if key in _LISTS and isinstance(value, str):
            value = [value]
        if value is not None:
            values[key] = value
    try:
        item = Item(**(values | {"document": document}))
    except ValidationError as error:
        raise _explain(document, error) from None
    if kind_of(item.id) is not item.kind:
        what = f"kind must be {kind_of(item.id).value} as its id says, not {item.kind.value}"
        raise document.error(document.line_of("kind"), what)
    return item


def _explain(document: Document, error: ValidationError) -> BadDocumentError:
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0])
    expected = _EXPECTED.get(key)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        what = f"the key {where} is missing"
    elif expected:
        what = f"{key} must be {expected}, not {_shown(first['input'])}"
    else:
        what = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return document.error(document.line_of(key), what)


def _shown(value: Any) -> str:
    try:
        shown = to_json(value)
    except TypeError:
        shown = str(value)  # YAML has dates
    except (ValueError, RecursionError):
        return "that"  # YAML can write a list that holds itself
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
