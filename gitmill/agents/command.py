"""Any program as an agent: prompt on standard input, verdict JSON on standard output.

    [agents.mine]
    command = ["my-agent", "--headless"]

The verdict is the whole output, or its last fenced block that bears the attempt's nonce; a builder
that prints none passes by its exit status, a reviewer never does. While it works it may print lines
of news, each a JSON object: `{"progress": "text"}`, and `{"usage": {"input": 10, "output": 5},
"cost": 0.02}` with what it has used so far. They are no part of its output.

Exit statuses as in sysexits.h say that no work is to blame: 69 (its service is unavailable), 75
(over a limit, try later), 77 (not signed in). `{"retry_after": 60}` is in how many seconds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gitmill.agents.base import (
    ANY_ROLE,
    NOTHING_SAID,
    OVER_BUDGET,
    SHOWN,
    Attempt,
    Execute,
    ExitKind,
    Login,
    Probe,
    Report,
    Usage,
    stopped_kind,
)
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.core.verdict_schema import parse_verdict
from gitmill.errors import BadConfigError

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS: tuple[str, ...] = ()
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""


_STATUSES = {69: ExitKind.UNAVAILABLE, 75: ExitKind.RATE_LIMITED, 77: ExitKind.UNAUTHORISED}
_NEWS = frozenset({"progress", "usage", "cost", "retry_after"})


def run(attempt: Attempt, execute: Execute) -> Report:
    """Start the program in the worktree and read its verdict."""
    news = _News(attempt)
    stdin = attempt.prompt.encode("utf-8", "replace")
    command = attempt.command(_argv(attempt.settings), stdin=stdin)
    outcome = execute(replace(command, watch=news.line))
    text = "\n".join(
        line
        for line in outcome.stdout.decode("utf-8", "replace").splitlines()
        if _read(line) is None
    )
    outcome = replace(outcome, stdout=text.encode())
    output = outcome.tail()
    told = Report(
        exit=ExitKind.COMPLETED, output=output, usage=news.usage, cost=news.cost,
        retry_after=news.retry_after, problem=outcome.why.removeprefix(OVER_BUDGET),
    )  # fmt: skip
    if kind := stopped_kind(outcome):
        return replace(told, exit=kind, problem=told.problem or outcome.tail(1))
    if outcome.status in _STATUSES:
        return replace(told, exit=_STATUSES[outcome.status], problem=outcome.tail(1))
    if outcome.status != 0:
        verdict = Verdict(VerdictWord.FAIL, f"the agent exited {outcome.status}")
        return replace(told, exit=ExitKind.CRASHED, verdict=verdict)
    said = parse_verdict(text, nonce=attempt.nonce)
    if said is None and attempt.role == "builder":
        said = Verdict(VerdictWord.PASS)
    if said is None:
        verdict = Verdict(VerdictWord.FAIL, "the agent's output has no readable verdict")
        return replace(told, exit=ExitKind.GARBLED, verdict=verdict)
    return replace(told, verdict=said)


@dataclass
class _News:
    """What the program has told so far, line by line."""

    attempt: Attempt
    usage: Usage = NOTHING_SAID
    cost: float | None = None
    retry_after: float | None = None

    def line(self, line: bytes) -> str:
        """Take a line; return why the program has to end, if it has to."""
        said = _read(line[:SHOWN].decode("utf-8", "replace"))
        if said is None:
            return self.attempt.heard(line)
        if "progress" in said:
            self.attempt.progress(str(said["progress"]))
        self.retry_after = _number(said.get("retry_after"), self.retry_after)
        self.cost = _number(said.get("cost"), self.cost)
        if isinstance(used := said.get("usage"), dict):
            self.usage = Usage(*(_count(used.get(key)) for key in ("input", "output", "cached")))
        over = self.attempt.spend(self.usage, self.cost)
        return f"{OVER_BUDGET}{over}" if over else ""


def _read(line: str) -> dict[str, object] | None:
    """Return a line of news, None for any other."""
    if not line.startswith("{") or len(line) > 10_000:
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and said and said.keys() <= _NEWS else None


def _number(value: object, default: float | None) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if good and isinstance(value, int | float) else default


def _count(value: object) -> int | None:
    number = _number(value, None)
    return None if number is None else int(number)


def _argv(settings: Mapping[str, object]) -> tuple[str, ...]:
    argv = settings.get("command")
    if not isinstance(argv, list | tuple) or not argv:
        raise BadConfigError(
            "the agent has no command",
            hints=['add `command = ["program", "argument"]` to its table in .gitmill/config.toml'],
        )
    return tuple(str(part) for part in argv)


def probe(settings: Mapping[str, object]) -> Probe:
    """Whether the program is on PATH."""
    program = _argv(settings)[0]
    found = shutil.which(program)
    return Probe(found=found is not None, detail=found or f"there is no {program} on PATH")
