"""Anthropic Messages, as Claude Code speaks it: docs.anthropic.com/en/api/messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.model.asked import Asked, Tokens, as_text, is_persons
from tests.support.model.steps import Text, Use

PATH = re.compile(r"^/v1/messages(\?|$)")
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip


def read(path: str, body: Any) -> Asked:
    """Read a request."""
    people: list[str] = []
    results: list[str] = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] != "user":
            continue
        answers = [as_text(b.get("content")) for b in blocks if b["type"] == "tool_result"]
        said = [b["text"] for b in blocks if b["type"] == "text" and is_persons(b["text"])]
        results += answers
        if said:  # Claude Code puts the next message behind the result of its last tool
            people.append("\n".join(said))
            results = []
    return Asked(
        people=tuple(people),
        results=tuple(results),
        tools={tool["name"]: tool.get("input_schema") for tool in body.get("tools") or ()},
        model=body.get("model", ""),
        text=_texts([body.get("system"), body["messages"]]),
    )


def _texts(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _texts(list(value.values()))
    return "\n".join(_texts(one) for one in value or ()) if isinstance(value, list) else ""


def streams(path: str, body: Any) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def error(status: int, message: str) -> Any:
    """Return the body of an error."""
    kind = _KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message or kind}}


def whole(did: Text | Use, asked: Asked, tokens: Tokens) -> Any:
    """Return an answer in one piece."""
    number = len(asked.results) + 100 * len(asked.people)
    block: dict[str, Any] = (
        {"type": "text", "text": did.text}
        if isinstance(did, Text)
        else {"type": "tool_use", "id": f"toolu_{number}", "name": did.tool, "input": did.arguments}
    )
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": asked.model,
        "content": [block], "stop_sequence": None,
        "stop_reason": "end_turn" if isinstance(did, Text) else "tool_use",
        "usage": {
            "input_tokens": tokens.input - tokens.cached, "output_tokens": tokens.output,
            "cache_read_input_tokens": tokens.cached, "cache_creation_input_tokens": 0,
        },
    }  # fmt: skip


def stream(did: Text | Use, asked: Asked, tokens: Tokens) -> Iterator[str]:
    """Yield an answer as events."""
    full = whole(did, asked, tokens)
    block, usage = full["content"][0], full["usage"]
    opening = {**full, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield _event("message_start", message=opening)
    if isinstance(did, Text):
        begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": did.text}
    else:
        begun = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(did.arguments)}
    yield _event("content_block_start", index=0, content_block=begun)
    yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    ending = {"stop_reason": full["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ending, usage={"output_tokens": tokens.output})
    yield _event("message_stop")


def _event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"
