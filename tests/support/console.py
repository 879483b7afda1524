"""Runs the console blocks of a page in one shell and compares what they print with the page.

A block fenced as `console` holds commands behind `$ ` (`> ` where one goes on) and, below each,
what it prints on both outputs. A line `...` stands for any lines. Ids, hashes, times and folders
may differ; an id must stay the same one wherever the page shows the same.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_ID = re.compile(r"\bt-[0-9a-hjkmnp-tv-z]{5,}\b")
_SAME = (
    (re.compile(r" +(\d+m\d\ds|\d+\.\ds|\d+s|\d+m)\b"), " TIME"),
    (re.compile(r"\b[0-9a-f]{7,64}\b"), "HASH"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\dZ)?"), "WHEN"),
    (re.compile(r"\bin \d+\.\d\ds"), "in TIME"),
    (re.compile(r"(?<![\w.])/[\w./-]+/"), "FOLDER/"),
    (_ID, "ID"),
)


@dataclass(frozen=True)
class Step:
    """A command of a page, the line that it stands in, and what the page says that it prints."""

    line: int
    command: str
    printed: tuple[str, ...]


def sections(page: Path) -> dict[str, list[Step]]:
    """Return the commands of a page under each heading of the second level, in order."""
    found: dict[str, list[Step]] = {}
    steps: list[Step] = []
    inside = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith("## "):
            steps = found.setdefault(line.removeprefix("## "), [])
        elif line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            steps.append(Step(number, line[2:], ()))
        elif inside and (line == ">" or line.startswith("> ")) and not steps[-1].printed:
            steps[-1] = Step(steps[-1].line, f"{steps[-1].command}\n{line[2:]}", ())
        elif inside:
            last = steps[-1]
            steps[-1] = Step(last.line, last.command, (*last.printed, line))
    return found


@dataclass
class Shell:
    """One bash that runs commands after each other; what they set and where they go stays."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=os.environ | dict(self.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        del kind, value, trace
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command; return its exit status and the lines that it printed."""
        mark = f"end-{os.urandom(6).hex()}"
        # The next command finds the status of this one in `$?`, as a person would.
        text = f'{{\n{command}\n}} </dev/null\n__=$?; echo "{mark} $__"; (exit $__)\n'
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
        lines: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").removesuffix("\n")
            head, found, status = line.rpartition(f"{mark} ")
            if found:
                return int(status), [*lines, *([head] if head else [])]
            lines.append(line)
        raise AssertionError(f"the shell ended in `{command}`: {lines[-5:]}")


@dataclass
class Ids:
    """Which id of this run stands for which id of the page."""

    known: dict[str, str] = field(default_factory=dict)

    def agree(self, page: str, real: str) -> bool:
        """Whether the ids in a line can be those in the page's line; then remember them."""
        for told, seen in zip(_ID.findall(page), _ID.findall(real), strict=True):
            if self.known.setdefault(told, seen) != seen:
                return False
        return len(set(self.known.values())) == len(self.known)


def same(text: str) -> str:
    """Replace what differs from run to run."""
    for pattern, word in _SAME:
        text = pattern.sub(word, text)
    return text.rstrip()


def matches(page: Sequence[str], real: Sequence[str], ids: Ids) -> bool:
    """Whether a command printed what the page shows; `...` there stands for any lines."""
    parts = list(_parts(page))
    if len(parts) == 1:
        return len(page) == len(real) and _equal(page, real, ids)
    at, end = 0, len(real) - len(parts[-1])
    for place, part in enumerate(parts):
        starts = range(at, end + 1) if place else range(1)
        if place == len(parts) - 1:
            starts = range(end, end + 1)
        found = next((n for n in starts if n >= at and _equal(part, real[n:], ids)), None)
        if found is None:
            return False
        at = found + len(part)
    return True


def _parts(page: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in page:
        if line == "...":
            yield part
            part = []
        else:
            part.append(line)
    yield part


def _equal(page: Sequence[str], real: Sequence[str], ids: Ids) -> bool:
    return len(real) >= len(page) and all(
        same(told) == same(seen) and ids.agree(told, seen)
        for told, seen in zip(page, real, strict=False)
    )
