"""A conversation with an agent CLI: the prompt, its answer, and at most one repair question.

An adapter starts a turn and reads the output of its CLI; this module has the parts that all
adapters share. The verdict is the structured output of the CLI, else the last fenced block of its
answer with the attempt's nonce. For an unreadable verdict the CLI is asked again, in the same
session.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from gitmill.agents.base import (
    OUTAGES,
    OVER_BUDGET,
    UNKNOWN_USAGE,
    Attempt,
    Execute,
    ExitKind,
    Report,
    Usage,
    stopped_kind,
)
from gitmill.core.verdict import Verdict, VerdictWord, verdict_problem
from gitmill.core.verdict_schema import json_schema, parse_verdict
from gitmill.process import Command, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CliTurn:
    """The result of one run of a CLI.

    If gitmill ended the CLI while it was waiting out an outage, the exit is that outage: the work
    is not to blame.

    `usage` and `cost` are of this run alone. With `forgotten` the session to be resumed no longer
    exists. The other fields are those of a `Report`.
    """

    exit: ExitKind
    text: str = ""
    structured: object = None
    session: str = ""
    usage: Usage = UNKNOWN_USAGE
    cost: float | None = None
    model: str = ""
    problem: str = ""
    retry_after: float | None = None
    denied: tuple[str, ...] = ()
    forgotten: bool = False


class Reader(Protocol):
    """Reads the output of one run of a CLI; `usage` and `cost` are those so far."""

    usage: Usage
    cost: float | None

    def line(self, line: bytes) -> str:
        """Read a line of standard output; return why the run has to end, else ""."""
        ...

    def turn(self, outcome: Outcome) -> CliTurn:
        """Return the result of the run; `outcome` counts only if the CLI exited by itself."""
        ...


Begin = Callable[[str, str], tuple[Command, Reader]]  # prompt, session (empty: a new one)


def converse(attempt: Attempt, execute: Execute, begin: Begin) -> Report:
    """Send the prompt, ask again if the verdict cannot be used, and return the report."""
    if attempt.session and attempt.followup:
        turn, output = _take_turn(attempt, execute, begin, attempt.followup, attempt.session)
        if turn.forgotten:
            turn, output = _take_turn(attempt, execute, begin, attempt.prompt, "")
    else:
        turn, output = _take_turn(attempt, execute, begin, attempt.prompt, "")
    verdict, wrong = _read_verdict(attempt, turn)
    if turn.exit is ExitKind.COMPLETED and wrong and turn.session:
        attempt.progress("the verdict cannot be used, asking again")
        again, more = _take_turn(attempt, execute, begin, repair(attempt, wrong), turn.session)
        output = f"{output}\n{more}"
        verdict, wrong = _read_verdict(attempt, again)
        turn = _joined(turn, again)
    return _report(turn, verdict, wrong, output)


def repair(attempt: Attempt, wrong: str) -> str:
    """Return the repair question for a verdict that could not be used."""
    return (
        f"Your verdict could not be used: {wrong}. Change nothing and do no further work. Answer\n"
        "with one block fenced as `json` that follows this schema, and nothing else:\n\n"
        f"```json\n{json.dumps(json_schema(attempt.produces))}\n```\n\n"
        f"`nonce` is `{attempt.nonce}`.\n"
    )


def _take_turn(
    attempt: Attempt, execute: Execute, begin: Begin, prompt: str, session: str
) -> tuple[CliTurn, str]:
    command, reader = begin(prompt, session)

    def watch(line: bytes) -> str:
        if why := reader.line(line):
            return why
        over = attempt.spend(reader.usage, reader.cost)
        return f"{OVER_BUDGET}{over}" if over else ""

    outcome = execute(replace(command, watch=watch, transcript=attempt.transcript))
    turn = reader.turn(outcome)
    kind = stopped_kind(outcome)
    if outcome.ended == "stopped":
        turn = replace(turn, problem=outcome.why.removeprefix(OVER_BUDGET))
    in_outage = turn.exit in OUTAGES and kind in (ExitKind.TIMED_OUT, ExitKind.CRASHED)
    if kind is not None and not in_outage:  # the output of a CLI after our signal means nothing
        turn = replace(turn, exit=kind, problem=turn.problem or _ended(outcome))
    return turn, outcome.tail()


def _ended(outcome: Outcome) -> str:
    if outcome.ended == "unstartable":
        return outcome.tail(1)
    reasons = {"timed-out": "it ran out of time", "idle": "it printed nothing for too long"}
    return reasons.get(outcome.ended, f"it was {outcome.ended}")


def _read_verdict(attempt: Attempt, turn: CliTurn) -> tuple[Verdict | None, str]:
    """Return the verdict and why it cannot be used, empty if it can."""
    structured = "" if turn.structured is None else json.dumps(turn.structured)
    verdicts = [_verdict(attempt, text) for text in (structured, turn.text) if text]
    found = [verdict for verdict in verdicts if verdict is not None]
    if not found or (structured and verdicts[0] is None):
        return None, "it has no block that follows the schema and has the nonce"
    verdict, words = found[0], {verdict.word for verdict in found}
    if verdict.word is VerdictWord.PASS and len(words) > 1:
        return None, "it passes, but its text has another verdict"
    return verdict, verdict_problem(verdict, attempt.earlier, attempt.produces)


def _verdict(attempt: Attempt, text: str) -> Verdict | None:
    return parse_verdict(text, nonce=attempt.nonce, produces=attempt.produces)


def _joined(first: CliTurn, again: CliTurn) -> CliTurn:
    """Return the second turn with the usage and cost of both."""
    known = first.cost is not None and again.cost is not None
    return replace(
        again,
        session=again.session or first.session,
        usage=first.usage + again.usage,
        cost=(first.cost or 0) + (again.cost or 0) if known else None,
        denied=first.denied + again.denied,
    )


def _report(turn: CliTurn, verdict: Verdict | None, wrong: str, output: str) -> Report:
    exit_kind = turn.exit
    if exit_kind is not ExitKind.COMPLETED:
        verdict = Verdict(VerdictWord.FAIL, turn.problem or f"the agent: {exit_kind.value}")
    elif wrong:
        exit_kind = ExitKind.GARBLED
        verdict = Verdict(VerdictWord.FAIL, f"its verdict cannot be used: {wrong}")
    return Report(
        exit=exit_kind,
        verdict=verdict,
        output=turn.text or output,
        usage=turn.usage,
        cost=turn.cost,
        session=turn.session,
        model=turn.model,
        problem=turn.problem,
        retry_after=turn.retry_after,
        denied=turn.denied,
    )
