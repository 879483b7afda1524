"""Any program as an agent: prompt on standard input, verdict JSON on standard output.

    [agents.mine]
    command = ["my-agent", "--headless"]

The verdict is the whole output, or its last fenced block with the attempt's nonce. A builder whose
output has no verdict passes if it exits 0, a reviewer never does; one that cannot be read is no
pass of anybody. While it works it can print status
lines, each a JSON object: `{"progress": "text"}`, and `{"usage": {"input": 10, "output": 5},
"cost": 0.02}` with the totals so far. Status lines are not part of its output.

Some exit statuses of sysexits.h mean that the work is not to blame: 69 (its service is
unavailable), 75 (over a limit, try later), 77 (not signed in). `{"retry_after": 60}` is the wait in
seconds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gitmill.agents.base import (
    ANY_ROLE,
    OVER_BUDGET,
    SHOWN,
    UNKNOWN_USAGE,
    Attempt,
    Execute,
    ExitKind,
    Login,
    Price,
    Probe,
    Report,
    Usage,
    stopped_kind,
)
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.core.verdict_schema import is_garbled, parse_verdict
from gitmill.errors import BadConfigError
from gitmill.hints import Hint

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS: tuple[str, ...] = ()
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""
KEYS: tuple[str, ...] = ()
PROGRAMS: tuple[str, ...] = ()
PRICES: Mapping[str, Price] = {}
EXAMPLE = (
    {"progress": "reads"},
    {"usage": {"input": 1000, "cached": 100, "output": 50}, "cost": 0.02},
    "ANSWER",
)


_STATUSES = {69: ExitKind.UNAVAILABLE, 75: ExitKind.RATE_LIMITED, 77: ExitKind.UNAUTHORISED}
_STATUS_KEYS = frozenset({"progress", "usage", "cost", "retry_after"})


def run(attempt: Attempt, execute: Execute) -> Report:
    """Start the program in the worktree and read its verdict."""
    lines = _StatusLines(attempt)
    stdin = attempt.prompt.encode("utf-8", "replace")
    command = attempt.command(_argv(attempt.settings), stdin=stdin)
    outcome = execute(replace(command, watch=lines.line))
    text = "\n".join(
        line
        for line in outcome.stdout.decode("utf-8", "replace").splitlines()
        if _read(line) is None
    )
    outcome = replace(outcome, stdout=text.encode())
    report = Report(
        exit=ExitKind.COMPLETED, output=outcome.tail(), usage=lines.usage, cost=lines.cost,
        retry_after=lines.retry_after, problem=outcome.why.removeprefix(OVER_BUDGET),
    )  # fmt: skip
    if kind := stopped_kind(outcome):
        return replace(report, exit=kind, problem=report.problem or outcome.tail(1))
    if outcome.status in _STATUSES:
        return replace(report, exit=_STATUSES[outcome.status], problem=outcome.tail(1))
    if outcome.status != 0:
        verdict = Verdict(VerdictWord.FAIL, f"the agent exited {outcome.status}")
        return replace(report, exit=ExitKind.CRASHED, verdict=verdict)
    return _with_verdict(attempt, report, text)


def _with_verdict(attempt: Attempt, report: Report, text: str) -> Report:
    verdict = parse_verdict(text, nonce=attempt.nonce, produces=attempt.produces)
    silent = verdict is None and not is_garbled(text, nonce=attempt.nonce)
    if silent and attempt.role == "builder":
        verdict = Verdict(VerdictWord.PASS)
    if verdict is None:
        verdict = Verdict(VerdictWord.FAIL, "the agent's output has no readable verdict")
        return replace(report, exit=ExitKind.GARBLED, verdict=verdict)
    return replace(report, verdict=verdict)


@dataclass
class _StatusLines:
    """The status lines of the program so far."""

    attempt: Attempt
    usage: Usage = UNKNOWN_USAGE
    cost: float | None = None
    retry_after: float | None = None

    def line(self, line: bytes) -> str:
        """Read a line; return why the program has to end, else ""."""
        status = _read(line[:SHOWN].decode("utf-8", "replace"))
        if status is None:
            return self.attempt.show_line(line)
        if "progress" in status:
            self.attempt.progress(str(status["progress"]))
        self.retry_after = _number(status.get("retry_after"), self.retry_after)
        self.cost = _number(status.get("cost"), self.cost)
        if isinstance(used := status.get("usage"), dict):
            self.usage = Usage(*(_count(used.get(key)) for key in ("input", "output", "cached")))
        over = self.attempt.spend(self.usage, self.cost)
        return f"{OVER_BUDGET}{over}" if over else ""


def _read(line: str) -> dict[str, object] | None:
    """Return the content of a status line, None for any other line."""
    if not line.startswith("{") or len(line) > 10_000:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value and value.keys() <= _STATUS_KEYS else None


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
            hints=[
                Hint('add `command = ["program", "argument"]` to its table in .gitmill/config.toml')
            ],
        )
    return tuple(str(part) for part in argv)


def probe(settings: Mapping[str, object]) -> Probe:
    """Whether the program is on PATH."""
    program = _argv(settings)[0]
    path = shutil.which(program)
    return Probe(found=path is not None, detail=path or f"there is no {program} on PATH")
