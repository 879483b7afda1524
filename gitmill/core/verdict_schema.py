"""Read an agent's verdict: the JSON Schema that the agent gets, and the validated answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gitmill.core.product import DOCUMENT_LIMIT, DocumentPayload, Product
from gitmill.core.shown_text import visible
from gitmill.core.verdict import Earlier, Finding, Severity, Verdict, VerdictWord

MAX_TEXT = 1_000_000  # characters read of an answer, from its end
MAX_FINDINGS = 100
MAX_SUMMARY = 4_000
MAX_MESSAGE = 4_000
_LOOSE = frozenset({"default", "title", "minLength"})  # not allowed in strict schemas
_PASS = VerdictWord.PASS
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*(\w*)[ \t]*\r?")


def _text(limit: int) -> BeforeValidator:
    """Cut to a length and drop what nobody sees: the text reaches terminals and documents."""

    def clean(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = visible(value).strip()
        return text if len(text) <= limit else text[: limit - 1] + "…"

    return BeforeValidator(clean)


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _many(value: object) -> object:
    if value is None:
        return []
    return value[:MAX_FINDINGS] if isinstance(value, list) else [value]


def _finding(value: object) -> object:
    return {"message": value} if isinstance(value, str) else value


def _line(value: object) -> object:
    digits = re.fullmatch(r"0*([1-9][0-9]{0,6})", str(value))
    return int(digits[1]) if digits else None


class FindingDocument(BaseModel):
    """One finding as an agent writes it."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    severity: Annotated[Severity, BeforeValidator(_lower)] = Severity.MEDIUM
    file: Annotated[str, _text(500)] = Field("", description="path of the file, empty if none")
    line: Annotated[int | None, BeforeValidator(_line)] = None
    message: Annotated[str, _text(MAX_MESSAGE)] = Field(
        min_length=1, description="what is wrong and what would be right"
    )


class EarlierDocument(BaseModel):
    """A reviewer's answer to one earlier finding."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    number: int = Field(description="number of the earlier finding")
    resolved: bool = Field(description="whether the change settles it now")
    comment: Annotated[str, _text(MAX_MESSAGE)] = Field("", description="what is still missing")


class VerdictDocument(BaseModel):
    """A verdict as an agent writes it; additional keys are ignored."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    verdict: Annotated[VerdictWord, BeforeValidator(_lower)]
    summary: Annotated[str, _text(MAX_SUMMARY)] = Field(
        "", description="the work or the findings in a few sentences; the question for `ask`"
    )
    findings: Annotated[
        tuple[Annotated[FindingDocument, BeforeValidator(_finding)], ...], BeforeValidator(_many)
    ] = Field((), description="the required changes; at least one for `return`")
    evidence: Annotated[tuple[Annotated[str, _text(MAX_MESSAGE)], ...], BeforeValidator(_many)] = (
        Field((), description="commands that were run and files that were read")
    )
    earlier: Annotated[tuple[EarlierDocument, ...], BeforeValidator(_many)] = Field(
        (), description="one entry for each numbered finding of the last round, if there are any"
    )
    nonce: str = Field("", description="the nonce of this attempt, as it was given")


class DocumentPayloadDocument(BaseModel):
    """A document as an agent hands it over."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    text: str = Field("", description="the whole document in Markdown; empty if `file` names it")
    file: Annotated[str, _text(500)] = Field(
        "", description="path of the file that has the document, below the current directory"
    )


class DocumentVerdictDocument(VerdictDocument):
    """A verdict of a stage that produces a document."""

    payload: DocumentPayloadDocument = Field(
        DocumentPayloadDocument(), description="the document, if the verdict is `pass`"
    )


_MODELS: Mapping[Product, type[VerdictDocument]] = {Product.DOCUMENT: DocumentVerdictDocument}


def _model(produces: Product) -> type[VerdictDocument]:
    return _MODELS.get(produces, VerdictDocument)


def json_schema(produces: Product = Product.VERDICT) -> dict[str, Any]:
    """Return the JSON Schema of a verdict in the strict form that agent CLIs accept.

    Every key is required, no other is allowed, and the schema has no defaults and no bounds. A
    stage that produces a document has the key `payload`.
    """
    schema = _model(produces).model_json_schema(mode="serialization")
    strict: dict[str, Any] = _strict(schema, schema["$defs"])
    return strict


def _strict(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_strict(inner, definitions) for inner in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _strict(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "properties" in part:
        inner = {name: _strict(value, definitions) for name, value in part["properties"].items()}
        return {
            "type": "object",
            "properties": inner,
            "required": list(inner),
            "additionalProperties": False,
        }
    return {name: _strict(value, definitions) for name, value in part.items() if name not in _LOOSE}


def parse_verdict(
    text: str, *, nonce: str | None, produces: Product = Product.VERDICT
) -> Verdict | None:
    """Return the verdict at the end of an answer, None if there is no readable one.

    The whole text can be one JSON object, as from programs and structured output. Otherwise only
    the last fenced `json` block with the nonce counts: text that an agent quotes from a diff
    cannot contain it. A pass after a block with another verdict is no verdict. Without a nonce
    only the whole text counts.
    """
    if len(text) <= MAX_TEXT and text.lstrip()[:1] == "{":
        whole = _read(text, produces)
        if whole is not None and whole.nonce in ("", nonce or whole.nonce):
            return _typed(whole)
    if not nonce:
        return None
    blocks = [_read(block, produces) for block in _blocks(text[-MAX_TEXT:]) if nonce in block]
    last = blocks[-1] if blocks else None
    if last is None or last.nonce != nonce:
        return None
    words = {block.verdict for block in blocks if block is not None and block.nonce == nonce}
    return None if last.verdict is _PASS and len(words) > 1 else _typed(last)


def is_garbled(text: str, *, nonce: str | None) -> bool:
    """Whether a text without a readable verdict has something that was meant as one.

    That is a key `verdict` in any notation, also coloured, escaped or cut off, or the nonce, which
    stands nowhere but in the prompt.
    """
    plain = visible(_COLOR.sub("", text))
    return bool(_MEANT.search(plain)) or bool(nonce and nonce in plain)


_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_MEANT = re.compile(
    r"""(?imx)
    ["'`\u201c\u201d\u2018\u2019] verdict \\{0,9} ["'`\u201d\u2019] \s{0,99} (?: [:=] | \Z )
    | (?: ^ | [{,] ) [^\w\n]{0,20} verdict [^\w\n]{0,20} [:=]       # YAML, JSON5, Markdown
    | <verdict\b
    | [{,] \s{0,99} ["'`]? verd[a-z]* ["'`]? \s{0,99} `{0,9} \s* \Z  # cut off
    """
)


def _read(text: str, produces: Product) -> VerdictDocument | None:
    try:
        json.loads(text, object_pairs_hook=_without_twins)
        return _model(produces).model_validate_json(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):  # pydantic's errors are ValueErrors too
        return None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice, in any case: readers disagree on which of the two counts."""
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _typed(document: VerdictDocument) -> Verdict | None:
    has_reason = document.summary or document.findings
    if document.verdict in (VerdictWord.RETURN, VerdictWord.ASK) and not has_reason:
        return None
    return Verdict(
        word=document.verdict,
        summary=document.summary,
        findings=tuple(Finding(f.message, f.severity, f.file, f.line) for f in document.findings),
        evidence=tuple(line for line in document.evidence if line),
        earlier=tuple(Earlier(e.number, e.resolved, e.comment) for e in document.earlier),
        payload=_payload(document),
    )


def _payload(document: VerdictDocument) -> DocumentPayload | None:
    """Return the document of a pass, None if it names none."""
    if not isinstance(document, DocumentVerdictDocument) or document.verdict is not _PASS:
        return None
    text, file = document.payload.text[: DOCUMENT_LIMIT + 1], document.payload.file
    return DocumentPayload(text, file) if text.strip() or file else None


def _blocks(text: str) -> Iterator[str]:
    """Yield the content of each fenced `json` block.

    An opening fence inside another block begins a new block: JSON contains no such line, and a
    stray fence in an agent's prose must not hide the verdict after it.
    """
    fence, block = "", list[str]()
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line)
        if match and match[2].lower() == "json":
            fence, block = match[1], []
        elif match and fence and not match[2] and match[1].startswith(fence):
            yield "\n".join(block)
            fence = ""
        elif fence:
            block.append(line)
    if fence:
        yield "\n".join(block)
