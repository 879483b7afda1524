"""Render hints and their commands as command lines, or for `--json`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from gitmill.hints import Blank, Gitmill, Hint, Shell


def line(command: Gitmill | Shell) -> str:
    """Return a command as a line for a shell."""
    if not isinstance(command, Gitmill):
        return command.line
    return " ".join(["gitmill", *(_word(word) for word in command.words)])


def sentence(hint: Hint) -> str:
    """Return a hint as text, each command in backticks."""
    text = ""
    for part in hint.parts:
        shown = part if isinstance(part, str) else f"`{line(part)}`"
        text += shown if not text or shown[0] in ",;:.?" else f" {shown}"
    return text


def as_json(hints: Sequence[Hint]) -> dict[str, Any]:
    """Return the fields for hints: the sentences, and the commands in them.

    `blanks` are the positions of the words in `argv` that the user replaces.
    """
    return {
        "hints": [sentence(hint) for hint in hints],
        "commands": [_fields(command) for hint in hints for command in hint.commands],
    }


def _fields(command: Gitmill | Shell) -> dict[str, Any]:
    if not isinstance(command, Gitmill):
        return {"shell": command.line}
    argv = ["gitmill", *command.words]
    blanks = [at for at, word in enumerate(argv) if isinstance(word, Blank)]
    return {"argv": [word.strip('"') for word in argv], "blanks": blanks}


def _word(word: str) -> str:
    return word if isinstance(word, Blank) else shlex.quote(word)
