"""Validate the document of an item that a person wrote, see `item_reader.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from gitmill.core.document import Document, to_json
from gitmill.core.ids import PATTERN, Kind
from gitmill.core.item import LINE, OID, Item, Landing, Reviewed, Risk
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import Status
from gitmill.errors import BadDocumentError

ItemId = Annotated[str, Field(pattern=PATTERN.pattern)]
Oid = Annotated[str, Field(pattern=f"^{OID}$")]
Line = Annotated[str, Field(pattern=f"^{LINE}$")]


class ReviewedSchema(BaseModel):
    """An approval, as in `core/item.py`."""

    model_config = ConfigDict(extra="allow")

    commit: Oid
    patch: str
    by: str
    run: int = 0
    stage: str = ""


class LandingSchema(BaseModel):
    """A landing in progress, as in `core/item.py`."""

    model_config = ConfigDict(extra="allow")

    candidate: Oid
    onto: Oid
    target: str


class LeaseSchema(BaseModel):
    """A lease, as in `core/lease.py`."""

    model_config = ConfigDict(extra="allow")

    claim: str
    who: str
    until: AwareDatetime
    host: str = ""
    boot: str = ""
    pidns: str = ""
    pid: int = 0
    started: str = ""


class ItemSchema(BaseModel):
    """An item, as in `core/item.py`."""

    model_config = ConfigDict(extra="allow")

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
    lease: LeaseSchema | None = None
    counters: Mapping[str, int] = {}
    attempt: int = Field(default=0, ge=0)
    budget_after: int = Field(default=0, ge=0)
    builder: str = ""
    base: Oid = ""
    work: Oid = ""
    reviewed: tuple[ReviewedSchema, ...] = ()
    feedback: str = ""
    returned: Oid = ""
    bare: bool = False
    landing: LandingSchema | None = None
    landed: Oid = ""
    reverted: Oid = ""
    checked: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    answer: str = ""
    cancel_requested: bool = False

    @field_validator("counters")
    @classmethod
    def _bounded(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        if any(not 0 <= count <= 1000 for count in value.values()):
            raise ValueError("a counter must be 0 to 1000")
        return value


_SHOWN = 80  # characters of a wrong value shown in an error
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


def validated(document: Document, values: Mapping[str, Any]) -> Item:
    """Return the item with the values of a document.

    Raises `BadDocumentError` with file, line, key and the expected value.
    """
    try:
        model = ItemSchema(**values)
    except ValidationError as error:
        raise _explain(document, error) from None
    fields = _values(model)
    for key, kind in (("lease", Lease), ("landing", Landing)):
        part = getattr(model, key)
        fields[key] = kind(**_values(part)) if part is not None else None
    fields["reviewed"] = tuple(Reviewed(**_values(approval)) for approval in model.reviewed)
    return Item(**fields, document=document)


def _values(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields} | {
        "extra": dict(model.model_extra or {})
    }


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
        message = first["msg"].partition(" or instance of ")[0]
        what = f"{where}: {message[:1].lower()}{message[1:]}"
    return document.error(document.line_of(key), what)


def _shown(value: Any) -> str:
    try:
        shown = to_json(value)
    except TypeError:
        shown = str(value)  # such as a date, which YAML has and JSON has not
    except (ValueError, RecursionError):
        return "that"  # a YAML list can contain itself
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
