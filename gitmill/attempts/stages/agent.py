"""A stage that an agent performs: it builds, writes a document, or reviews."""

from __future__ import annotations

from dataclasses import replace

from gitmill.agents.base import BLAMELESS, Report
from gitmill.attempts.build import build, review
from gitmill.attempts.nothing_to_do import ends_item
from gitmill.attempts.state import AttemptState
from gitmill.attempts.write_document import write_document
from gitmill.core.plans.plan import Performer
from gitmill.core.plans.stage_type import StageType
from gitmill.core.product import Product
from gitmill.core.verdict import Severity, Verdict, VerdictWord
from gitmill.mill import Mill

TYPE = StageType(
    performer=Performer.AGENT,
    verdicts=tuple(VerdictWord),
    keys=frozenset({
        "role", "permission", "timeout", "idle", "attempts", "approvals", "distinct_from",
        "optional", "network", "produces",
    }),
    timeout=lambda _: 20 * 60,
)  # fmt: skip


def run(mill: Mill, state: AttemptState) -> Verdict:
    """Ask the agent; a build that passes replaces the work, a document the item's text."""
    if state.stage.product is Product.VERDICT:
        state.report = review(mill, state)
        return _verdict(state.report)
    if state.stage.product is Product.DOCUMENT:
        draft = write_document(mill, state)
        state.report, state.written = draft.report, draft.written
        return _verdict(draft.report)
    built = build(mill, state)
    state.report = built.report
    if built.work and built.report.exit not in BLAMELESS and ends_item(mill, state, built):
        return _verdict(built.report)
    if built.work and built.report.exit not in BLAMELESS:
        state.base, state.work, state.kept, state.built = built.base, built.work, built.kept, True
    return _verdict(built.report)


def _verdict(report: Report) -> Verdict:
    """Return the agent's verdict; a pass with a high finding contradicts itself: it asks."""
    if report.verdict is not None:
        grave = [f for f in report.verdict.findings if f.severity is Severity.HIGH]
        if report.verdict.word is VerdictWord.PASS and grave:
            why = f"it passes with a high finding: {grave[0].message}"
            return replace(report.verdict, word=VerdictWord.ASK, summary=why)
        return report.verdict
    problem = f": {report.problem}" if report.problem else ""
    return Verdict(VerdictWord.FAIL, f"the agent did not finish, {report.exit.value}{problem}")
