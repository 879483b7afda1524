"""The built-in builder: runs the task's own script in the worktree, without model or account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitmill.agents.base import (
    Attempt,
    Execute,
    ExitKind,
    Login,
    Price,
    Probe,
    Report,
    failure_kind,
)
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord

ROLES = frozenset({"builder"})
PERMISSIONS = frozenset({"workspace", "full"})
READS_PROMPT = False
NEEDS: tuple[str, ...] = ()
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""
KEYS: tuple[str, ...] = ()
PROGRAMS: tuple[str, ...] = ()
PRICES: Mapping[str, Price] = {}
EXAMPLE: tuple[object, ...] = ()
_LONGEST = 150  # characters of the last line of output in a summary


def run(attempt: Attempt, execute: Execute) -> Report:
    """Run the script; its exit status is the verdict, whatever it prints."""
    if not attempt.script.strip():
        question = f"{attempt.item} has no script for the agent shell to run"
        return Report(exit=ExitKind.COMPLETED, verdict=Verdict(VerdictWord.ASK, question))
    outcome = execute(replace(attempt.run_script(), watch=attempt.show_line))
    output = outcome.tail()
    if kind := failure_kind(outcome):
        return Report(exit=kind, output=output)
    if outcome.passed:
        verdict = Verdict(VerdictWord.PASS)
    else:
        exited, last = f"the script exited {outcome.status}", outcome.tail(1)
        # A long line stays in the finding: cut, it could end in half a secret, which is not found.
        message = one_line(f"{exited}: {last}") if 0 < len(last) <= _LONGEST else exited
        finding = Finding(f"{exited}\n{output}".rstrip(), Severity.HIGH)
        verdict = Verdict(VerdictWord.FAIL, message, (finding,))
    return Report(exit=ExitKind.COMPLETED, verdict=verdict, output=output)


def probe(settings: Mapping[str, object]) -> Probe:
    """Return that it is always available."""
    del settings
    return Probe(found=True, detail="runs the task's own script")
