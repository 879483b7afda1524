"""Commands that must exit 0 in a clean checkout of the work."""

from __future__ import annotations

from collections.abc import Iterator

from gitmill.attempts.replay_work import replay
from gitmill.attempts.state import AttemptState
from gitmill.config import Policy
from gitmill.core.item import Item
from gitmill.core.lifecycle import RED_TARGETS_SINCE
from gitmill.core.plans.plan import FrozenPlan, Performer
from gitmill.core.plans.stage_type import MECHANICAL_TIMEOUT, StageType
from gitmill.core.runlog import Log
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.errors import SetUpError
from gitmill.mill import Mill
from gitmill.workspace.run_checks import checks_of, checks_verdict, run_checks
from gitmill.workspace.without_work import (
    Judgement,
    is_of_work,
    judge,
    judge_set_up,
    set_up_result,
)


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
    asks_target=True,
)


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Run the checks of the plan, or the item's own commands, on the work.

    Work that has waited for the target to move is replayed onto its tip first. A red check that the
    item is not to blame for is in `state.on_target` afterwards.
    """
    checks = checks_of(state.plan, state.item)
    if not checks:
        return Verdict(VerdictWord.ASK, "there is no check and no criterion that is a command")
    if state.stood_red and (verdict := replay(mill, state)) is not None:
        return verdict
    try:
        state.results = run_checks(
            mill, state.policy, checks, state.work,
            claim=state.claim, stop=state.stop, stage=state.stage,
        )  # fmt: skip
    except SetUpError as error:
        if not is_of_work(error):
            raise
        state.results = [set_up_result(error)]
        _blame(mill, state, judge_set_up(state.without_work(mill, state.base), error))
        return checks_verdict(state.results)
    state.checked = state.work
    verdict = checks_verdict(state.results)
    if verdict.word is not VerdictWord.PASS:
        of_policy, red = bool(state.plan.checks), state.results[-1]
        _blame(
            mill,
            state,
            judge(state.without_work(mill, state.base), state.item, red, of_policy=of_policy),
        )
    return verdict


def _blame(mill: Mill, state: AttemptState, judgement: Judgement | None) -> None:
    """Note why the item is not to blame. Under older rules only the fault of the machine counts."""
    if judgement is None:
        return
    if mill.snapshot().rules >= RED_TARGETS_SINCE:
        state.on_target, state.fault = judgement.on_target, judgement.fault
    elif judgement.fault is not None:
        raise judgement.fault
