"""A build that changes nothing can be the end of its item: there was nothing to do."""

from __future__ import annotations

from gitmill.attempts.build import Built
from gitmill.attempts.record import tampering
from gitmill.attempts.state import AttemptState
from gitmill.core import pipeline
from gitmill.core.lifecycle import NOTHING_TO_DO_SINCE
from gitmill.mill import Mill
from gitmill.workspace.run_checks import criteria_of, run_checks


def ends_item(mill: Mill, state: AttemptState, built: Built) -> bool:
    """Whether a build left the target's tree as it is, and that meets every command criterion.

    An item without one has nothing that could show it. The passes go into `state.results`.
    """
    criteria = criteria_of(state.item)
    if not criteria or mill.tree_of(built.work) != mill.tree_of(built.base):
        return False
    if mill.snapshot().rules < NOTHING_TO_DO_SINCE:
        return False
    results = run_checks(
        mill, state.policy, criteria, built.base,
        claim=state.claim, stop=state.stop, stage=state.stage,
    )  # fmt: skip
    if tampering(mill.tampered.get(state.claim, [])) or not all(r.passed for r in results):
        return False
    state.results, state.checked = results, built.base
    state.base, state.work, state.kept = built.base, "", built.kept
    state.done = pipeline.nothing_to_do(state.item, state.at)
    return True
