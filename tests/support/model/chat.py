"""OpenAI Chat Completions: platform.openai.com/docs/api-reference/chat is its description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.model.asked import Asked, Tokens, as_text, is_persons
from tests.support.model.steps import Text, Use

PATH = re.compile(r"^/v1/chat/completions(\?|$)")


def read(path: str, body: Any) -> Asked:
    """Read a request."""
    people: list[str] = []
    results: list[str] = []
    texts: list[str] = []
    for message in body["messages"]:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
        texts += parts
        said = [part for part in parts if is_persons(part)]
        if message["role"] == "tool":
            results.append("\n".join(parts))
        elif message["role"] == "user" and said:
            people.append("\n".join(said))
            results = []
    wanted = (body.get("response_format") or {}).get("json_schema") or {}
    tools = [tool.get("function") or {} for tool in body.get("tools") or ()]
    return Asked(
        people=tuple(people),
        results=tuple(results),
        tools={as_text(tool.get("name", "")): tool.get("parameters") for tool in tools},
        model=body.get("model", ""),
        text="\n".join(texts),
        schema=wanted.get("schema"),
    )


def streams(path: str, body: Any) -> bool:
    """Whether the client wants events."""
    return bool(body.get("stream"))


def error(status: int, message: str) -> Any:
    """Return the body of an error."""
    return {"error": {"message": message or f"error {status}", "type": "error", "code": status}}


def _message(did: Text | Use, asked: Asked) -> dict[str, Any]:
    if isinstance(did, Text):
        return {"role": "assistant", "content": did.text}
    number = len(asked.results) + 100 * len(asked.people)
    told = did.arguments if isinstance(did.arguments, str) else json.dumps(did.arguments)
    function = {"name": did.tool, "arguments": told}
    call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _around(asked: Asked, kind: str, choices: list[Any], tokens: Tokens | None) -> dict[str, Any]:
    usage = tokens and {
        "prompt_tokens": tokens.input, "completion_tokens": tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "total_tokens": tokens.input + tokens.output,
    }  # fmt: skip
    number = len(asked.results) + 100 * len(asked.people)
    return {
        "id": f"chat_{number}", "object": kind, "created": 1, "model": asked.model,
        "choices": choices, "usage": usage,
    }  # fmt: skip


def whole(did: Text | Use, asked: Asked, tokens: Tokens) -> Any:
    """Return an answer in one piece."""
    end = "stop" if isinstance(did, Text) else "tool_calls"
    choice = {"index": 0, "message": _message(did, asked), "finish_reason": end}
    return _around(asked, "chat.completion", [choice], tokens)


def stream(did: Text | Use, asked: Asked, tokens: Tokens) -> Iterator[str]:
    """Yield an answer as events."""
    end = "stop" if isinstance(did, Text) else "tool_calls"
    said = {"index": 0, "delta": _message(did, asked), "finish_reason": None}
    done = {"index": 0, "delta": {}, "finish_reason": end}
    kind = "chat.completion.chunk"
    yield _event(_around(asked, kind, [said], None))
    yield _event(_around(asked, kind, [done], None))
    yield _event(_around(asked, kind, [], tokens))
    yield "data: [DONE]\n\n"


def _event(told: Any) -> str:
    return f"data: {json.dumps(told)}\n\n"
