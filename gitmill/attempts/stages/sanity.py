"""Mechanical rules on the change, before any review."""

from __future__ import annotations

from gitmill.attempts.state import AttemptState
from gitmill.core.plans.plan import Performer
from gitmill.core.plans.stage_type import StageType
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.mill import Mill
from gitmill.workspace.inspect_change import inspect_change

TYPE = StageType(
    performer=Performer.GITMILL,
    verdicts=(VerdictWord.PASS, VerdictWord.RETURN, VerdictWord.ASK, VerdictWord.FAIL),
    keys=frozenset({"timeout", "attempts"}),
    drops_work=True,
    inspects_work=True,
)


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Apply the plan's rules to the change between base and work."""
    return inspect_change(mill, state.plan, state.item, state.base, state.work)
