"""Gemini generateContent: ai.google.dev/api/generate-content is its description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.model.asked import Asked, Tokens, as_text, is_persons
from tests.support.model.steps import Text, Use

PATH = re.compile(r"^/v1(beta|alpha)?/models/[^:]+:(streamGenerateContent|generateContent)")
_STATES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip


def read(path: str, body: Any) -> Asked:
    """Read a request."""
    people: list[str] = []
    results: list[str] = []
    texts = _texts((body.get("systemInstruction") or {}).get("parts") or ())
    for content in body.get("contents") or ():
        parts = content.get("parts") or ()
        texts += _texts(parts)
        answers = [as_text(p["functionResponse"]) for p in parts if "functionResponse" in p]
        said = [text for text in _texts(parts) if is_persons(text)]
        if answers:
            results += answers
        elif content.get("role") == "user" and said:
            people.append("\n".join(said))
            results = []
    declared = [f for tool in body.get("tools") or () for f in tool.get("functionDeclarations", ())]
    return Asked(
        people=tuple(people),
        results=tuple(results),
        tools={f["name"]: f.get("parametersJsonSchema") or f.get("parameters") for f in declared},
        model=path.partition("/models/")[2].partition(":")[0],
        text="\n".join(texts),
        schema=(body.get("generationConfig") or {}).get("responseJsonSchema"),
    )


def _texts(parts: Any) -> list[str]:
    return [part["text"] for part in parts if "text" in part]


def streams(path: str, body: Any) -> bool:
    """Whether the client wants events."""
    return ":streamGenerateContent" in path


def error(status: int, message: str) -> Any:
    """Return the body of an error."""
    state = _STATES.get(status, "UNKNOWN")
    return {"error": {"code": status, "message": message or state, "status": state}}


def whole(did: Text | Use, asked: Asked, tokens: Tokens) -> Any:
    """Return an answer in one piece."""
    part = (
        {"text": did.text}
        if isinstance(did, Text)
        else {"functionCall": {"name": did.tool, "args": did.arguments}}
    )
    content = {"role": "model", "parts": [part]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": tokens.input, "candidatesTokenCount": tokens.output,
            "cachedContentTokenCount": tokens.cached,
            "totalTokenCount": tokens.input + tokens.output,
        },
        "modelVersion": asked.model,
    }  # fmt: skip


def stream(did: Text | Use, asked: Asked, tokens: Tokens) -> Iterator[str]:
    """Yield an answer as events."""
    yield f"data: {json.dumps(whole(did, asked, tokens))}\n\n"
