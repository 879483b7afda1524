"""Any program as an agent: prompt on standard input, verdict JSON on standard output.

    [agents.mine]
    command = ["my-agent", "--headless"]

The verdict is the whole output, or its last fenced block that bears the attempt's nonce; a builder
that prints none passes by its exit status, a reviewer never does.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from gitmill.agents.base import ANY_ROLE, Attempt, Execute, ExitKind, Probe, Report, failure_kind
from gitmill.core.verdict import Verdict, VerdictWord, parse_verdict
from gitmill.errors import BadConfigError

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})


def run(attempt: Attempt, execute: Execute) -> Report:
    """Start the program in the worktree and read its verdict."""
    outcome = execute(
        attempt.command(_argv(attempt.settings), stdin=attempt.prompt.encode("utf-8", "replace"))
    )
    output = outcome.tail()
    if kind := failure_kind(outcome):
        return Report(exit=kind, output=output)
    if outcome.status != 0:
        kind = ExitKind.CRASHED
        verdict = Verdict(VerdictWord.FAIL, f"the agent exited {outcome.status}")
        return Report(exit=kind, verdict=verdict, output=output)
    said = parse_verdict(outcome.stdout.decode("utf-8", "replace"), nonce=attempt.nonce)
    if said is None and attempt.role == "builder":
        said = Verdict(VerdictWord.PASS)
    if said is None:
        verdict = Verdict(VerdictWord.FAIL, "the agent's output has no readable verdict")
        return Report(exit=ExitKind.GARBLED, verdict=verdict, output=output)
    return Report(exit=ExitKind.COMPLETED, verdict=said, output=output)


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
