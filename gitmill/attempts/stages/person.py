"""A gate: the item waits until a person approves or returns it."""

from __future__ import annotations

from gitmill.attempts.state import AttemptState
from gitmill.core.plans.plan import Performer
from gitmill.core.plans.stage_type import StageType
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.mill import Mill

TYPE = StageType(
    performer=Performer.PERSON,
    verdicts=(VerdictWord.PASS, VerdictWord.RETURN),
    keys=frozenset({"when"}),
)


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Ask: only a person's decision can pass the gate."""
    del mill, state
    return Verdict(VerdictWord.ASK, "it needs a person's approval")
