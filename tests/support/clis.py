"""How the tests lead each real CLI to the model server: its environment, its model, its haste."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support.programs import folder_of

KEY = "sk-ant-planted-7f3c2b9a41d8e6"


@dataclass(frozen=True)
class Cli:
    """A CLI under test. `env` leads it to a base URL; `options` keep its tries few.

    `key` is the variable without which nobody is signed in, `wakes` the seconds that it may take
    to its first question.
    """

    name: str
    model: str
    env: Callable[[str], Mapping[str, str]]
    options: tuple[str, ...] = ()
    key: str = "OPENAI_API_KEY"
    wakes: int = 4

    def environment(self, url: str) -> dict[str, str]:
        """Return all that it needs beside a home and a place for temporary files."""
        path = f"{folder_of(self.name)}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, **self.env(url)}


_PATIENCE = "model_providers.gitmill.{}_max_retries=0"

CLIS = {
    cli.name: cli
    for cli in (
        Cli(
            "claude", "sonnet",
            lambda url: {
                "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY, "CLAUDE_CODE_MAX_RETRIES": "0",
            },
            key="ANTHROPIC_API_KEY",
        ),
        Cli(
            "codex", "gpt-5",
            lambda url: {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": KEY},
            ("-c", _PATIENCE.format("request"), "-c", _PATIENCE.format("stream")),
        ),
        Cli(
            "gemini", "gemini-2.5-pro",
            lambda url: {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": KEY},
            key="GEMINI_API_KEY",
        ),
        Cli(
            # For a model whose name begins with `gpt` it has another tool to write with.
            "opencode", "gemini-2.5-pro",
            lambda url: {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": KEY},
            wakes=15,
        ),
    )
}  # fmt: skip
