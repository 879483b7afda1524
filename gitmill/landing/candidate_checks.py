"""The checks of a candidate, and whether a red one is its fault or the target's."""

from __future__ import annotations

from collections.abc import Sequence

from gitmill.core.item import RedTarget
from gitmill.errors import SetUpError
from gitmill.landing.moved_target import until_moved
from gitmill.landing.started import StartedLanding
from gitmill.mill import Mill
from gitmill.workspace.run_checks import Check, CheckResult, policy_checks, run_checks
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.without_work import Ask, is_of_work, judge, judge_set_up, set_up_result


def check_candidate(
    mill: Mill, landing: StartedLanding, checks: Sequence[Check], stop: StopToken
) -> list[CheckResult]:
    """Return the results of a candidate's checks, or that of a set-up that it breaks."""
    try:
        with until_moved(mill, landing, stop) as token:
            return run_checks(
                mill, landing.policy, checks, landing.candidate,
                claim=landing.claim, stop=token, again=True,
            )  # fmt: skip
    except SetUpError as error:
        if not is_of_work(error) or judge_set_up(_ask(mill, landing, stop), error) is not None:
            raise
        return [set_up_result(error)]


def red_on_target(
    mill: Mill, landing: StartedLanding, red: CheckResult, stop: StopToken
) -> RedTarget | None:
    """Return the check that is red on the target without the candidate as well, None if it is not.

    Raises the error of a check that cannot start on this machine.
    """
    of_policy = red.check in policy_checks(landing.policy)
    with until_moved(mill, landing, stop) as token:
        judgement = judge(_ask(mill, landing, token), landing.item, red, of_policy=of_policy)
    if judgement is None:
        return None
    if judgement.fault is not None:
        raise judgement.fault
    return RedTarget(red.check.name, landing.onto)


def _ask(mill: Mill, landing: StartedLanding, stop: StopToken) -> Ask:
    target = landing.ref.removeprefix("refs/heads/")
    return Ask(mill, landing.policy, landing.onto, target, landing.claim, stop)
