"""OpenAI Responses, as Codex speaks it: platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.model.asked import Asked, Tokens, as_text, is_persons
from tests.support.model.steps import Text, Use

PATH = re.compile(r"^/v1/responses(\?|$)")


def read(path: str, body: Any) -> Asked:
    """Read a request."""
    people: list[str] = []
    results: list[str] = []
    texts = [as_text(body.get("instructions") or "")]
    declared = list(body.get("tools") or ())
    given = body.get("input") or []
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "message":
            content = item["content"]
            parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
            texts += parts
            said = [part for part in parts if is_persons(part)]
            if item["role"] == "user" and said:
                people.append("\n".join(said))
                results = []
        elif kind == "additional_tools":  # newer models get theirs so, in namespaces
            for tool in item["tools"]:
                declared += tool.get("tools") or [tool]
        elif kind in ("function_call_output", "custom_tool_call_output"):
            results.append(as_text(item.get("output")))
    wanted = (body.get("text") or {}).get("format") or {}
    return Asked(
        people=tuple(people),
        results=tuple(results),
        tools={_name(tool): tool.get("parameters") for tool in declared},
        model=body.get("model", ""),
        text="\n".join(texts),
        schema=wanted.get("schema"),
    )


def _name(tool: Any) -> str:
    return str(tool.get("name") or tool.get("type"))


def streams(path: str, body: Any) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def error(status: int, message: str) -> Any:
    """Return the body of an error."""
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    return {"error": {"message": message or f"error {status}", "type": "error", "code": code}}


def whole(did: Text | Use, asked: Asked, tokens: Tokens) -> Any:
    """Return an answer in one piece."""
    number = len(asked.results) + 100 * len(asked.people)
    item: dict[str, Any]
    if isinstance(did, Text):
        content = [{"type": "output_text", "text": did.text, "annotations": []}]
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}
    elif isinstance(did.arguments, str):
        item = {"type": "custom_tool_call", "id": f"ct_{number}", "call_id": f"call_{number}",
                "namespace": "functions", "name": did.tool, "input": did.arguments}  # fmt: skip
    else:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}",
                "name": did.tool, "arguments": json.dumps(did.arguments)}  # fmt: skip
    return {
        "id": f"resp_{number}", "object": "response", "status": "completed", "model": asked.model,
        "output": [{**item, "status": "completed"}],
        "usage": {
            "input_tokens": tokens.input, "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.input + tokens.output,
        },
    }  # fmt: skip


def stream(did: Text | Use, asked: Asked, tokens: Tokens) -> Iterator[str]:
    """Yield an answer as events."""
    full = whole(did, asked, tokens)
    begun = {**full, "status": "in_progress", "output": [], "usage": None}
    item = full["output"][0]
    yield _event("response.created", response=begun)
    if isinstance(did, Text):
        empty = {**item, "content": [], "status": "in_progress"}
        yield _event("response.output_item.added", output_index=0, item=empty)
        yield _event(
            "response.output_text.delta", item_id=item["id"], output_index=0, content_index=0,
            delta=did.text,
        )  # fmt: skip
    else:
        yield _event("response.output_item.added", output_index=0, item=item)
    yield _event("response.output_item.done", output_index=0, item=item)
    yield _event("response.completed", response=full)


def _event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"
