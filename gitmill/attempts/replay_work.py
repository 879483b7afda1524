"""Replay work that has waited for the target to move, so that its checks can be green there."""

from __future__ import annotations

from gitmill.attempts.state import AttemptState
from gitmill.core import pipeline
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.git.replay import Conflict
from gitmill.mill import Mill
from gitmill.workspace.rescue import keep_commit
from gitmill.workspace.work import conflict_finding, replayed


def replay(mill: Mill, state: AttemptState) -> Verdict | None:
    """Replay the work of an attempt onto the target's tip.

    Returns a verdict if that ends the attempt: the work conflicts with the target, or it is there
    already.
    """
    tip = mill.target_tip(mill.snapshot())
    if tip == state.base:
        return None
    result = replayed(mill, state.item, tip)
    if isinstance(result, Conflict):
        return Verdict(
            VerdictWord.RETURN, "it conflicts with the target", (conflict_finding(result),)
        )
    state.base = tip
    if result.tip == tip:
        state.work = ""
        state.done = pipeline.already_there(state.item, state.at)
        return Verdict(VerdictWord.PASS, state.done.reason)
    state.work = result.tip
    state.built = state.replayed = True
    state.kept = keep_commit(mill, state.item.id, state.work)
    return None
