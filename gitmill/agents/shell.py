"""The embedded builder: runs the task's own script in the worktree, no model and no account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitmill.agents.base import Attempt, Execute, ExitKind, Login, Probe, Report, failure_kind
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord

ROLES = frozenset({"builder"})
PERMISSIONS = frozenset({"workspace", "full"})
READS_PROMPT = False
NEEDS: tuple[str, ...] = ()
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""


def run(attempt: Attempt, execute: Execute) -> Report:
    """Run the script; its exit status is the verdict, whatever it prints."""
    if not attempt.script.strip():
        question = f"{attempt.item} has no script for the agent shell to run"
        return Report(exit=ExitKind.COMPLETED, verdict=Verdict(VerdictWord.ASK, question))
    outcome = execute(replace(attempt.shell(attempt.script), watch=attempt.heard))
    output = outcome.tail()
    if kind := failure_kind(outcome):
        return Report(exit=kind, output=output)
    if outcome.passed:
        verdict = Verdict(VerdictWord.PASS)
    else:
        what = f"the script exited {outcome.status}"
        finding = Finding(f"{what}\n{output}".rstrip(), Severity.HIGH)
        verdict = Verdict(VerdictWord.FAIL, what, (finding,))
    return Report(exit=ExitKind.COMPLETED, verdict=verdict, output=output)


def probe(settings: Mapping[str, object]) -> Probe:
    """Say that it is always there."""
    del settings
    return Probe(found=True, detail="runs the task's own script")
