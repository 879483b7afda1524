"""Commands that must exit 0 in a clean checkout of the work."""

from __future__ import annotations

from collections.abc import Iterator

from gitmill.attempts.state import AttemptState
from gitmill.config import Policy
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, Performer
from gitmill.core.plans.stage_type import MECHANICAL_TIMEOUT, StageType
from gitmill.core.runlog import Log
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.mill import Mill
from gitmill.workspace.run_checks import checks_of, checks_verdict, run_checks


def _timeout(policy: Policy) -> int:
    return max(MECHANICAL_TIMEOUT, sum(check.timeout for check in (policy.checks or {}).values()))


def _problem(name: str, policy: Policy) -> tuple[str, str] | None:
    if policy.checks is None or policy.checks:
        return None
    what = f"[checks] names no command, so the stage {name} would pass everything"
    return what, 'add `test = "COMMAND"` to it; without the table items bring `$` criteria'


def _missing(plan: FrozenPlan, item: Item, run: Log) -> Iterator[str]:
    wanted = [check.command for check in plan.checks] or list(item.commands)
    passed = {command for command, _ in run.passed}
    for command in wanted:
        if command not in passed:
            yield f"passed check `{command}`"


TYPE = StageType(
    performer=Performer.GITMILL,
    verdicts=(VerdictWord.PASS, VerdictWord.RETURN, VerdictWord.FAIL),
    keys=frozenset({"timeout", "attempts", "network"}),
    timeout=_timeout,
    problem=_problem,
    missing=_missing,
    inspects_work=True,
)


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Run the checks of the plan, or the item's own commands, on the work."""
    checks = checks_of(state.plan, state.item)
    if not checks:
        return Verdict(VerdictWord.ASK, "there is no check and no criterion that is a command")
    state.results = run_checks(
        mill, state.policy, checks, state.work,
        claim=state.claim, stop=state.stop, stage=state.stage,
    )  # fmt: skip
    state.checked = state.work
    return checks_verdict(state.results)
