"""The built-in reviewer: runs the `$` criteria of an item, and checks nothing else.

It passes a change only if all commands exit 0 in a clean checkout of the reviewed tree and the
change stays within the declared paths. If a criterion is prose, or none is a command, it asks a
person.
"""

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
from gitmill.core.item import is_command
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord

ROLES = frozenset({"reviewer"})
PERMISSIONS = frozenset({"read-only"})
READS_PROMPT = False
NEEDS: tuple[str, ...] = ()
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""
KEYS: tuple[str, ...] = ()
PROGRAMS: tuple[str, ...] = ()
PRICES: Mapping[str, Price] = {}
EXAMPLE: tuple[object, ...] = ()


def run(attempt: Attempt, execute: Execute) -> Report:
    """Review the checkout in `workdir` by the criteria of its item."""
    findings = [
        Finding(f"{path} is outside of the declared paths", file=path) for path in attempt.outside
    ]
    output: list[str] = []
    for number, criterion in enumerate(attempt.criteria):
        if not is_command(criterion):
            continue
        command = attempt.check(criterion[1:].strip(), name=f"criterion-{number}")
        # Tests write into the checkout, which is discarded afterwards.
        outcome = execute(replace(command, access="workspace"))
        kind = failure_kind(outcome)
        if kind in (ExitKind.CANCELLED, ExitKind.UNAVAILABLE):
            return Report(exit=kind, output=outcome.tail())
        how = "ran out of time" if kind else f"exited {outcome.status}"
        output.append(f"{criterion}  ({'passed' if outcome.passed else how})")
        attempt.progress(output[-1])
        if not outcome.passed:
            text = f"criterion `{criterion}` {how}\n{outcome.tail()}".rstrip()
            findings.append(Finding(text, Severity.HIGH))
            output.append(outcome.tail())
    return Report(
        exit=ExitKind.COMPLETED, verdict=_verdict(attempt, findings), output="\n".join(output)
    )


def _verdict(attempt: Attempt, findings: list[Finding]) -> Verdict:
    if findings:
        count = f"{len(findings)} finding" + ("s" if len(findings) > 1 else "")
        return Verdict(
            VerdictWord.RETURN, f"{count}: {findings[0].message.splitlines()[0]}", tuple(findings)
        )
    prose = [criterion for criterion in attempt.criteria if not is_command(criterion)]
    commands = len(attempt.criteria) - len(prose)
    if prose:
        return Verdict(VerdictWord.ASK, f"rules cannot check: {prose[0]}")
    if not commands:
        return Verdict(VerdictWord.ASK, "no criterion is a command, so rules has nothing to check")
    return Verdict(VerdictWord.PASS, f"{commands} of {commands} criteria passed")


def probe(settings: Mapping[str, object]) -> Probe:
    """Return that it is always available."""
    del settings
    return Probe(found=True, detail="runs the criteria that are commands")
