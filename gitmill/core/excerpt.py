"""Shorten output to the lines that mention a failure, plus the last ones."""

from __future__ import annotations

import re

_FAILURE = re.compile(
    r"\b(error|errors|failed|failure|failures|fatal|panic|exception|traceback|assert\w*|denied"
    r"|undefined|not found|expected|segmentation)\b|^E\s|^\s*\^|^FAIL",
    re.IGNORECASE,
)
_AROUND = 2  # lines of context on either side of a line that mentions a failure
_LONGEST = 400  # characters of one line


def excerpt(output: str, *, lines: int = 60) -> str:
    """Return at most `lines` lines of an output in order; gaps are marked.

    Half of them are the last lines; the others are the first that mention a failure, with context.
    """
    every = [_short(line) for line in output.rstrip().splitlines()]
    if len(every) <= lines:
        return "\n".join(every)
    chosen = set(range(len(every) - lines // 2, len(every)))
    for number, line in enumerate(every):
        if _FAILURE.search(line):
            around = range(max(0, number - _AROUND), min(len(every), number + _AROUND + 1))
            if len(chosen | set(around)) > lines:
                break
            chosen |= set(around)
    return "\n".join(_with_gaps(every, sorted(chosen)))


def _with_gaps(every: list[str], chosen: list[int]) -> list[str]:
    shown, after = list[str](), 0
    for number in chosen:
        if number > after:
            shown.append(f"[{number - after} lines left out]")
        shown.append(every[number])
        after = number + 1
    return shown


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} [{len(line) - _LONGEST} more]"


def cut(text: str, limit: int, *, where: str = "") -> str:
    """Return the beginning of a text, about `limit` characters at most, with the cut marked."""
    if len(text) <= limit:
        return text
    more = f"; {where}" if where else ""
    return f"{text[: max(0, limit)]}\n[{len(text) - max(0, limit)} more characters were cut{more}]"
