"""Fixers: the policy's commands that correct what a builder has left, before its tree is taken.

A fixer decides nothing: what it changes is part of the work, and the checks judge the result. So a
red one, and one that changes the files each time, is only noted in the run log.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.attempts.state import AttemptState
from gitmill.config import Fixer
from gitmill.core.excerpt import excerpt
from gitmill.core.verdict import Finding, Severity
from gitmill.mill import Mill
from gitmill.process import Outcome, ending
from gitmill.workspace.read_tree import taken_tree
from gitmill.workspace.workspace import Workspace


def run_fixers(mill: Mill, state: AttemptState, workspace: Workspace, base: str) -> None:
    """Run the fixers in the workspace of a build, which began with the tree `base`.

    They run again if they changed a file or failed: then each must pass, as a commit hook does
    after it has corrected something, and leave the files as they are. What is wrong becomes a
    finding of the attempt.
    """
    fixers = state.policy.fix
    if not fixers:
        return
    before = _tree(mill, state, workspace, base)
    ended = _run(workspace, fixers)
    fixed = _tree(mill, state, workspace, base)
    findings: list[Finding] = []
    if fixed != before or not all(outcome.passed for outcome in ended.values()):
        ended = _run(workspace, fixers)
        if _tree(mill, state, workspace, base) != fixed:
            names = ", ".join(fixers)
            text = f"the fixers do not settle: run again, {names} changed the files again"
            findings.append(Finding(text, Severity.LOW))
    findings += [_red(name, fixers[name], end) for name, end in ended.items() if not end.passed]
    mill.tampered.setdefault(state.claim, []).extend(findings)


def _run(workspace: Workspace, fixers: Mapping[str, Fixer]) -> dict[str, Outcome]:
    return {
        name: workspace.shell(fixer.command, seconds=fixer.timeout, name=f"fix-{name}")
        for name, fixer in fixers.items()
    }


def _tree(mill: Mill, state: AttemptState, workspace: Workspace, base: str) -> str:
    ignore = state.policy.worktree.ignore
    with taken_tree(
        mill, workspace.slot, base, ignore=ignore, claim=state.claim, stop=state.stop
    ) as taken:
        return taken.tree


def _red(name: str, fixer: Fixer, outcome: Outcome) -> Finding:
    how, output = ending(outcome.ended, outcome.status), excerpt(outcome.tail(2000))
    text = f"fixer {name} (`{fixer.command}`) {how}\n{output}".rstrip()
    return Finding(text, Severity.LOW)
