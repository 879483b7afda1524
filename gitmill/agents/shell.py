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


def run(attempt: Attempt, execute: Execute) -> Report:
    """Run the script; its exit status is the verdict, whatever it prints."""
    if not attempt.script.strip():
        question = f"{attempt.item} has no script for the agent shell to run"
        return Report(exit=ExitKind.COMPLETED, verdict=Verdict(VerdictWord.ASK, question))
    outcome = execute(replace(attempt.shell(attempt.script), watch=attempt.show_line))
    output = outcome.tail()
    if kind := failure_kind(outcome):
        return Report(exit=kind, output=output)
    if outcome.passed:
        verdict = Verdict(VerdictWord.PASS)
    else:
        message = f"the script exited {outcome.status}"
        finding = Finding(f"{message}\n{output}".rstrip(), Severity.HIGH)
        verdict = Verdict(VerdictWord.FAIL, message, (finding,))
    return Report(exit=ExitKind.COMPLETED, verdict=verdict, output=output)


def probe(settings: Mapping[str, object]) -> Probe:
    """Return that it is always available."""
    del settings
    return Probe(found=True, detail="runs the task's own script")
