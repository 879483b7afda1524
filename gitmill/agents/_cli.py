"""Shared parts of CLI adapters: version, refusals of a service, prices, totals, progress."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gitmill import files, process
from gitmill.agents.base import Attempt, ExitKind, Login, Probe, Usage, load, names
from gitmill.caches import FRESH, expires
from gitmill.git.worktree_entries import remove

Version = tuple[int, ...]
# Codex takes 1,048,576 characters in one message, models with a window of 200,000 tokens about half
# of that. A longer prompt goes through a file, and the message shows both of its ends.
_LONGEST = 500_000
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_AT = re.compile(
    rf"again at (?:({'|'.join(_MONTHS)}) (\d{{1,2}})(?:st|nd|rd|th), (\d{{4}}) )?"
    r"(\d{1,2}):(\d{2}) ?(AM|PM)"
)


def program(name: str, settings: Mapping[str, object]) -> tuple[str, ...]:
    """Return the command that starts a CLI: its name, or the policy's `command`."""
    own = settings.get("command")
    return tuple(str(part) for part in own) if isinstance(own, list | tuple) and own else (name,)


def probe(
    name: str,
    settings: Mapping[str, object],
    *,
    first: Version,
    below: Version,
    signed_in: bool | None,
    how: str,
) -> Probe:
    """Return whether a CLI is installed, in a version that its adapter supports.

    `how` tells a user who is not signed in what to do. A command line of the policy is not run:
    it might not be trusted on this machine.
    """
    argv = program(name, settings)
    path = shutil.which(argv[0])
    if path is None:
        return Probe(found=False, detail=f"there is no {argv[0]} on PATH")
    if argv != (name,):
        return Probe(found=True, detail=shlex.join(argv), signed_in=signed_in)
    output = _version(path)
    match = re.search(r"\d+(?:\.\d+)+", output)
    if match is None:
        return Probe(found=False, detail=f"{path} --version prints no version: {output}")
    number = tuple(int(part) for part in match[0].split("."))
    supported, detail = first <= number < below, path
    if not supported:
        detail = f"{path}; supported is {_dotted(first)} or later, below {_dotted(below)}"
    elif signed_in is False:
        detail = f"{path}; {how}"
    return Probe(
        found=True, detail=detail, version=match[0], supported=supported, signed_in=signed_in
    )


@expires(FRESH)
def _version(path: str) -> str:
    """Return the first line that a program prints for `--version`, or the error."""
    try:
        result = process.run([path, "--version"], env=process.scrubbed({}), timeout=30, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        return shown(error)
    return shown(result.text) or shown(result.error)


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


def signed_in(logins: Sequence[Login], *names: str) -> bool:
    """Whether a login file exists, or one of these environment variables has a value."""
    return any_set(*names) or any(login.own().exists() for login in logins)


def any_set(*names: str) -> bool:
    """Whether one of these environment variables has a value."""
    return any(os.environ.get(name) for name in names)


def options(attempt: Attempt) -> tuple[str, ...]:
    """Return the arguments that the policy adds to the CLI's command line."""
    own = attempt.settings.get("options")
    return tuple(str(part) for part in own) if isinstance(own, list | tuple) else ()


def folder(home: Path, name: str) -> Path:
    """Return a folder in the home of a run; links that an earlier run created are removed."""
    path = home
    for part in Path(name).parts:
        path /= part
        if path.is_symlink() or not path.is_dir():
            remove(path)
            path.mkdir()
    return path


def message(attempt: Attempt, prompt: str, longest: int = _LONGEST) -> bytes:
    """Return the standard input of a CLI for a prompt of any length.

    A prompt with more than `longest` bytes in JSON goes to a file; the message shows its ends.
    """
    if len(json.dumps(prompt, ensure_ascii=False).encode("utf-8", "replace")) > longest:
        shown = longest // 10
        path = attempt.scratch / "prompt.md"
        files.replace(path, prompt.encode("utf-8", "replace"), mode=0o600)
        prompt = (
            f"Your instructions are too long for one message. All of them are in the file\n{path}\n"
            "Read the file to its end, part by part, before you do anything. Here are its beginning"
            f" and its end.\n\n{prompt[:shown]}\n\n[… the rest is in the file …]\n\n"
            f"{prompt[-shown:]}"
        )
    return prompt.encode("utf-8", "replace")


def refusal(status: int) -> ExitKind:
    """Return the exit of an agent for an HTTP status of its model service.

    A model that does not exist (404) is a mistake in the policy, so it costs no item an attempt.
    """
    if status in (401, 402, 403):
        return ExitKind.UNAUTHORISED
    if status == 429:
        return ExitKind.RATE_LIMITED
    if status in (503, 529):
        return ExitKind.OVERLOADED
    return ExitKind.UNAVAILABLE if status >= 500 or status in (404, 408) else ExitKind.CRASHED


def stated_wait(text: str) -> float | None:
    """Return the wait in seconds that a service's message states, None if it states none.

    Reads `try again in 1m30.5s`, and times in this machine's zone: `try again at 7:14 PM`, and on
    another day `try again at Nov 22nd, 2026 12:26 AM`.
    """
    if match := re.search(r"again in ((?:\d+(?:\.\d+)? ?(?:ms|[hms])[a-z]* ?)+)", text):
        parts = re.findall(r"(\d+(?:\.\d+)?) ?(ms|[hms])", match[1])
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    if match := _AT.search(text):
        hour, minute = int(match[4]) % 12 + (12 if match[6] == "PM" else 0), int(match[5])
        if match[1]:
            month, day, year = _MONTHS.index(match[1]) + 1, int(match[2]), int(match[3])
            then = time.mktime((year, month, day, hour, minute, 0, 0, 0, -1))
            return max(0.0, then - time.time())
        now = time.localtime()
        left = (hour - now.tm_hour) * 3600 + (minute - now.tm_min) * 60 - now.tm_sec
        return float(left % 86400)
    return None


def price(model: str, usage: Usage, own: object) -> float | None:
    """Return the cost of tokens in US dollars, None if the model or its usage is unknown.

    `own` are the policy's prices, which override the `PRICES` of the agents.
    """
    if usage.input is None or usage.output is None:
        return None
    table = _declared() | dict(own if isinstance(own, Mapping) else {})
    row = table.get(model) or table.get(re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model))
    if not isinstance(row, Mapping):
        return None
    cached = usage.cached or 0
    cached_price = row.get("cached")
    cached_price = row["input"] if cached_price is None else cached_price
    fresh = usage.input - cached
    return float(fresh * row["input"] + cached * cached_price + usage.output * row["output"]) / 1e6


@cache
def _declared() -> dict[str, Any]:
    modules = map(load, names())
    return {model: row._asdict() for module in modules for model, row in module.PRICES.items()}


class Totals:
    """The sums of sessions after their last runs, for CLIs that report only sums of a session.

    Stored beside the agent's home, where code in the sandbox cannot make a run look cheaper. If the
    file is lost and the session is not, the next run looks more expensive.
    """

    def __init__(self, home: Path) -> None:
        self._path = home.with_name(f"{home.name}.totals.json")

    def before(self, session: str) -> dict[str, float]:
        """Return the sums of a session before this run; an empty dict for a new session."""
        sums = self._read().get(session)
        return sums if isinstance(sums, dict) else {}

    def remember(self, session: str, sums: Mapping[str, float | None]) -> None:
        """Store the known sums of a session."""
        known = {key: value for key, value in sums.items() if value is not None}
        sessions = self._read() | {session: self.before(session) | known}
        files.replace(self._path, json.dumps(sessions).encode(), mode=0o600)

    def _read(self) -> dict[str, Any]:
        try:
            sessions = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return sessions if isinstance(sessions, dict) else {}


def event(line: bytes) -> dict[str, Any]:
    """Return the JSON object on a line of output, an empty one for any other line."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def shown(text: object, limit: int = 160) -> str:
    """Return the first line of a text that is not blank, shortened for a line of progress."""
    first = next((line for line in str(text).splitlines() if line.strip()), "")
    clean = "".join(char if char.isprintable() else " " for char in first).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
