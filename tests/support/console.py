"""Runs the console blocks of a page in one shell and compares what they print with the page.

A block fenced as `console` holds commands behind `$ ` (`> ` where one goes on) and, below each,
what it prints on both outputs. A line `...` stands for any lines. Hashes, times, folders, hosts and
warnings may differ; ids may too, but what has one id on the page has one id in the run.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support import hints

_ID = re.compile(r"\bt-[0-9a-hjkmnp-tv-z]{5,}\b")
_SAME = (
    (_ID, "ID"),
    (re.compile(r"\b[0-9a-f]{7,64}\b"), "HASH"),
    (re.compile(r"(, \d+ warnings?)? in \d+\.\d\ds( \(\d+:\d\d:\d\d\))?"), " in TIME"),
    (re.compile(r" +(\d+h\d\dm|\d+m\d\ds|\d+\.\ds|\d+[smh])(?=\s|$)"), " TIME"),
    (re.compile(r"(?<![\w.])/[\w./-]+/"), "FOLDER/"),
    (re.compile(r"(?<=\w)@[\w.-]+"), "@HOST"),
)


@dataclass(frozen=True)
class Step:
    """A command of a page, the line that it stands in, and what the page says that it prints."""

    line: int
    command: str
    printed: tuple[str, ...] = ()


def sections(page: str) -> dict[str, list[Step]]:
    """Return the commands of a page below each heading of the second level, in order."""
    found: dict[str, list[Step]] = {}
    steps: list[Step] = []
    inside = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("## "):
            steps = found.setdefault(line.removeprefix("## "), [])
        elif line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif inside:
            last = steps.pop()
            if line[:2] in (">", "> ") and not last.printed:
                steps.append(Step(last.line, f"{last.command}\n{line[2:]}"))
            else:
                steps.append(Step(last.line, last.command, (*last.printed, line)))
    return found


class Shell:
    """One bash that runs commands after each other; what they set and where they go stays."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=folder, env=os.environ | dict(env),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command; return its exit status and the lines that it printed."""
        mark = f"end-{os.urandom(6).hex()}"
        # The next command finds the status of this one in `$?`, as it would for a person.
        text = f'{{\n{command}\n}} </dev/null\n_was=$?; echo "{mark} $_was"; (exit $_was)\n'
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()
        lines: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").removesuffix("\n")
            unended, found, status = line.rpartition(f"{mark} ")
            if found:
                lines += [unended] if unended else []
                hints.check("\n".join(lines))
                return int(status), lines
            lines.append(line)
        raise AssertionError(f"the shell ended in `{command}`: {lines[-5:]}")


@dataclass
class Transcript:
    """Compares what a run prints with the page. `ids` are those of the run by those of the page."""

    ids: dict[str, str] = field(default_factory=dict)

    def agrees(self, page: Sequence[str], real: Sequence[str]) -> bool:
        """Whether a command printed what the page shows."""
        first, *rest = _between_ellipses(page)
        if not self._begins(first, real) or (not rest and len(first) != len(real)):
            return False
        at = len(first)
        for number, part in enumerate(rest, 1):
            latest = len(real) - len(part)
            earliest = latest if number == len(rest) else at
            places = range(max(at, earliest), latest + 1)
            found = next((place for place in places if self._begins(part, real[place:])), None)
            if found is None:
                return False
            at = found + len(part)
        return True

    def _begins(self, page: Sequence[str], real: Sequence[str]) -> bool:
        """Whether lines begin with those of the page; then remember which id is which."""
        ids = dict(self.ids)
        if len(real) < len(page):
            return False
        for told, seen in zip(page, real, strict=False):
            if _plain(told) != _plain(seen):
                return False
            ids = {**dict(zip(_ID.findall(told), _ID.findall(seen), strict=True)), **ids}
            if _ID.findall(seen) != [ids[one] for one in _ID.findall(told)]:
                return False
        if len(set(ids.values())) < len(ids):
            return False
        self.ids = ids
        return True


def _between_ellipses(lines: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in lines:
        if line == "...":
            yield part
            part = []
        else:
            part.append(line)
    yield part


def _plain(text: str) -> str:
    for pattern, word in _SAME:
        text = pattern.sub(word, text)
    return text.rstrip()
