"""Output: answers on standard output, everything else on standard error.

Outside this file colours are roles; everything is readable without them.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from gitmill.cli import command_line
from gitmill.errors import Exit, GitmillError
from gitmill.hints import Gitmill, Shell

if TYPE_CHECKING:
    from gitmill.attempts.attempt import StageProgress
    from gitmill.landing.land import LandingProgress

SCHEMA = 1
# Bytes that are not UTF-8, and what would change how a terminal shows the rest.
_NO_TEXT = re.compile(
    "[\ud800-\udfff\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_COLOR = re.compile("(\x1b\\[[0-9;]*m)")
_ROLES = {"ok": "32", "warn": "33", "fail": "31", "accent": "1", "muted": "2"}
_WORDS = {
    "passed": "ok", "landed": "ok", "approved": "ok", "done": "ok",
    "returned": "warn", "asked": "warn", "waiting": "warn", "queued": "accent",
    "running": "accent", "landing": "accent",
    "failed": "fail", "blocked": "fail", "impossible": "fail",
}  # fmt: skip
_PAST = {"pass": "passed", "return": "returned", "ask": "asked", "fail": "failed"}


@dataclass
class Globals:
    """The global options."""

    directory: str = "."
    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    no_input: bool = False
    json: bool = False
    at: str = ""
    reads: bool = False  # the command only reads


@dataclass(frozen=True)
class Past:
    """The state commit of an answer when it is not the newest."""

    commit: str
    time: datetime
    subject: str

    @property
    def line(self) -> str:
        """The line above the answer."""
        return f"as of {self.time:%Y-%m-%d %H:%M} UTC, {self.commit[:10]} {self.subject}"

    def as_json(self) -> dict[str, str]:
        """Return the value of `at` in the answer."""
        time = self.time.isoformat().replace("+00:00", "Z")
        return {"commit": self.commit, "time": time, "subject": self.subject}


past: list[Past] = []  # filled once `--at` is resolved
settings = Globals()


def colored(stream: TextIO) -> bool:
    """Whether a stream takes colour: as `--color` sets it, else on a terminal unless disabled."""
    if settings.color in ("always", "never"):
        return settings.color == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("CLICOLOR_FORCE", "0") != "0") or stream.isatty()


def style(text: str, role: str, stream: TextIO | None = None) -> str:
    """Return the text in a role's colour if the stream takes colour."""
    code = _ROLES.get(role)
    if not code or not text.strip() or not colored(stream or sys.stdout):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def word(text: str, width: int = 0, stream: TextIO | None = None) -> str:
    """Return a status or verdict in its colour, padded to a width."""
    return style(f"{text:<{width}}", _WORDS.get(text, ""), stream)


def answer(lines: Sequence[str], data: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
    """Print the answer: the lines, or with `--json` the one document.

    `data` that is long is a function, called only with `--json`.
    """
    if settings.json:
        fields = dict(data() if callable(data) else data)
        print(_json({"schema": SCHEMA} | ({"at": past[0].as_json()} if past else {}) | fields))
    else:
        for line in [*(style(one.line, "muted") for one in past), *lines]:
            print(safe(line))


def line(text: str, data: Mapping[str, Any]) -> None:
    """Print one line of a continuing answer, or with `--json` one document."""
    print(_json({"schema": SCHEMA} | dict(data)) if settings.json else safe(text), flush=True)


def live_line(entry: Mapping[str, Any]) -> str:
    """Return one entry of a live log as a line."""
    kind, text = entry.get("kind"), str(entry.get("text", ""))
    if kind == "over":
        return f"{entry.get('item', '')}  {style(text, 'accent')}"
    result = {"begins": style("begins", "muted"), "ended": word(_PAST.get(text, text))}
    head = f"{entry.get('item', '')}  {entry.get('stage', ''):<10}  {entry.get('who', ''):<8}"
    return f"{head}  {result.get(str(kind), text)}"


def _json(data: Mapping[str, Any]) -> str:
    """Return one line of JSON; a byte that is not UTF-8, as in a file name, stays an escape.

    So does a directional or invisible character: JSON loses nothing by it.
    """
    text = json.dumps(data, ensure_ascii=False, default=str)
    return _NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe(text: str) -> str:
    """Return text that is safe on a terminal; what nobody sees and bytes become `?`."""
    parts = _COLOR.split(text)  # our own colours are the odd parts
    texts = [_plain(part) for part in parts[::2]]
    colors = [*parts[1::2], ""]
    joined = "".join(part + color for part, color in zip(texts, colors, strict=True))
    return joined.encode("utf-8", "replace").decode()


def _plain(text: str) -> str:
    kept = "\t\u200c\u200d"  # a joiner is not printable, and emoji need it
    plain = "".join(c if c.isprintable() or c in kept else "?" for c in text)
    if plain.isascii():
        return plain
    from gitmill.core.shown_text import marked

    return marked(plain, lambda _: "?")


def print_line(text: str) -> None:
    """Print a line on standard error unless `-q`."""
    if not settings.quiet and not settings.json:
        print(safe(text), file=sys.stderr)


def next_step(*commands: Gitmill | Shell) -> None:
    """Print the next commands, except with `--at`."""
    if commands and not past:
        print_line(
            "next: " + ", then ".join(f"`{command_line.line(command)}`" for command in commands)
        )


def error(problem: GitmillError) -> Exit:
    """Print an error and return its exit code."""
    if settings.json:
        data = {
            "schema": SCHEMA, "error": problem.slug, "message": problem.message,
            "evidence": problem.evidence, **command_line.as_json(problem.hints),
            "exit": int(problem.code),
        }  # fmt: skip
        print(_json(data), file=sys.stderr)
        return problem.code
    head = style(f"error[{problem.slug}]", "fail", sys.stderr)
    print(f"{head}: {safe(problem.message)}", file=sys.stderr)
    for line in problem.evidence[:6]:
        print(f"    {safe(line)}", file=sys.stderr)
    for hint in problem.hints:
        print(
            f"{style('hint', 'accent', sys.stderr)}: {safe(command_line.sentence(hint))}",
            file=sys.stderr,
        )
    return problem.code


def seconds(value: float) -> str:
    """Return a short span: 0.4s, 48s, 6m12s, 2h03m."""
    if value < 10:
        return f"{value:.1f}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Progress:
    """Lines of progress on standard error: live on a terminal, else each one when it ends."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self.silent = settings.quiet or settings.json

    def stage(self, progress: StageProgress) -> None:
        """Show a stage that begins or has ended."""
        head = f"{progress.item}  {progress.stage} "
        result = _PAST.get(progress.verdict, progress.verdict)
        took = seconds(progress.seconds) if progress.verdict else ""
        note = f'   "{progress.note}"' if progress.note else ""
        self._show(head, result, f"{progress.who:<8} {took:>6}{note}", done=bool(progress.verdict))

    def landing(self, progress: LandingProgress) -> None:
        """Show a landing that begins or has ended."""
        note = f'   "{progress.note}"' if progress.note else ""
        result = "sent back" if progress.result == "ready" else progress.result
        title = f"{progress.title}{note}"
        self._show(f"{progress.item}  land ", result, title, done=bool(progress.result))

    def _show(self, head: str, result: str, rest: str, *, done: bool) -> None:
        if self.silent:
            return
        dots = head.ljust(36, ".")
        if self._live and not done:
            sys.stderr.write(f"\r\x1b[K{safe(dots)} …        {safe(rest)}")
        elif done:
            clear = "\r\x1b[K" if self._live else ""
            text = f"{safe(dots)} {word(result, 9, sys.stderr)} {safe(rest).rstrip()}"
            sys.stderr.write(f"{clear}{text}\n")
        sys.stderr.flush()
