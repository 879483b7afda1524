"""What a request to the model asks, the same for all dialects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

# What CLIs put in front of a person's words, in messages that look like a person's.
_INJECTED = re.compile(
    r"\s*(<system-reminder>|<environment_context>|<user_instructions>|<permissions instructions>"
    r"|<session_context>|<turn_aborted>|<skills_instructions>|# AGENTS\.md instructions"
    r"|<INSTRUCTIONS>|<local-command|Continue from where you left off\.$)"
)
_NONCE = re.compile(r"`?nonce`? is `([^`\s]+)`")
_PLACE = re.compile(
    r"(?:[Ww]orking directory: |<cwd>|[Ww]orking in the directory: |[Ww]orkspace directory: )"
    r"([^\n<]+)"
)


@dataclass(frozen=True)
class Tokens:
    """What an answer of the model costs; `input` includes `cached`."""

    input: int = 1000
    output: int = 50
    cached: int = 0


@dataclass(frozen=True)
class Asked:
    """One request. `people` are the messages of persons, `results` those of tools since the last.

    `tools` maps the names of the declared tools to their schemas, `schema` is the one that the
    answer has to follow, if the request says so. `text` is all there is, for looking things up.
    """

    people: tuple[str, ...]
    results: tuple[str, ...]
    tools: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    text: str = ""
    schema: Any = None

    @property
    def turn(self) -> int:
        """Which message of a person this answers, from 0."""
        return max(0, len(self.people) - 1)

    @property
    def prompt(self) -> str:
        """What the person said last."""
        return self.people[-1] if self.people else ""

    @property
    def nonce(self) -> str:
        """The nonce that the prompt names, the last one if there are several."""
        found = _NONCE.findall("\n".join(self.people))
        return found[-1] if found else ""

    def path(self, path: str) -> str:
        """Return a path as an absolute one, below the directory that the CLI says it works in.

        Claude Code adds to it where a resumed session worked before.
        """
        found = _PLACE.findall(self.text)
        return str(PurePosixPath(found[-1].partition(" (was ")[0].strip(), path)) if found else path


def is_persons(text: str) -> bool:
    """Whether a text in a user's message was written by a person and not by the CLI."""
    return bool(text.strip()) and not _INJECTED.match(text)


def as_text(value: Any) -> str:
    """Return anything as text to look things up in."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
