"""Validate the document of an item that a person wrote, see `item_reader.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Annotated, Any, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from gitmill.core.document import Document, to_json
from gitmill.core.ids import PATTERN, Kind
from gitmill.core.item import LINE, OID, Item, Landing, RedTarget, Reviewed
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import Status
from gitmill.errors import BadDocumentError

Id = Annotated[str, Field(pattern=PATTERN.pattern)]
Oid = Annotated[str, Field(pattern=f"^{OID}$")]
Line = Annotated[str, Field(pattern=f"^{LINE}$")]
Natural = Annotated[int, Field(ge=0)]


def _bounded(counters: Mapping[str, int]) -> Mapping[str, int]:
    if any(not 0 <= count <= 1000 for count in counters.values()):
        raise ValueError("a counter must be 0 to 1000")
    return counters


def _schema(kind: type[Any], **types: Any) -> type[BaseModel]:
    """Return the schema of a dataclass: its fields and defaults, with these stricter types."""
    declared, known = get_type_hints(kind), dict[str, Any]()
    for part in fields(kind):
        if part.name not in ("document", "extra"):
            of_type = types.get(part.name, declared[part.name])
            default = ... if part.default is MISSING else part.default
            if part.default_factory is not MISSING:
                default = Field(default_factory=part.default_factory)
            known[part.name] = (AwareDatetime if of_type is datetime else of_type, default)
    return create_model(kind.__name__, __config__=ConfigDict(extra="allow"), **known)


ReviewedSchema = _schema(Reviewed, commit=Oid)
LandingSchema = _schema(Landing, candidate=Oid, onto=Oid)
LeaseSchema = _schema(Lease)
RedTargetSchema = _schema(RedTarget, commit=Oid)
ItemSchema = _schema(
    Item,
    id=Id,
    title=Line,
    priority=Annotated[int, Field(ge=0, le=4, strict=True)],
    after=tuple[Id, ...],
    lease=LeaseSchema | None,
    counters=Annotated[Mapping[str, int], AfterValidator(_bounded)],
    attempt=Natural,
    budget_after=Natural,
    base=Oid,
    work=Oid,
    reviewed=tuple[ReviewedSchema, ...],  # type: ignore[valid-type]  # this model is made at run time
    returned=Oid,
    red_target=RedTargetSchema | None,
    landing=LandingSchema | None,
    landed=Oid,
    reverted=Oid,
    disputed=Oid,
)


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
    known = _values(model)
    for key, kind in (("lease", Lease), ("landing", Landing), ("red_target", RedTarget)):
        part = known[key]
        known[key] = kind(**_values(part)) if part is not None else None
    known["reviewed"] = tuple(Reviewed(**_values(approval)) for approval in known["reviewed"])
    return Item(**known, document=document)


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
