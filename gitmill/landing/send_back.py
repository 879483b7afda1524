"""Send an item back from landing, with the evidence: to its author or to its reviewers."""

from __future__ import annotations

from typing import Any

from gitmill.core import changes, pipeline
from gitmill.core.change import Outcome
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Verdict
from gitmill.landing.publish import CANCELLED, record_event
from gitmill.landing.started import StartedLanding
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_of
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.workspace import sandbox
from gitmill.workspace.run_checks import CheckResult


def send_back(
    mill: Mill,
    landing: StartedLanding,
    event: Event,
    verdict: Verdict,
    results: list[CheckResult],
    *,
    bare: bool = False,
) -> Item:
    """Send the item back with the evidence: to its author, or to review on a `re-review`."""
    item, plan = landing.item, plan_of(mill, landing.item)
    review_again = event is Event.RE_REVIEW
    stage = (
        pipeline.reviewing(plan) if review_again
        else pipeline.authoring(plan, plan.stages[-1].name)
    )  # fmt: skip
    counters = pipeline.new_round(item.counters)
    exhausted = pipeline.attempts_exhausted(plan, stage, counters)
    log = _log(mill, landing, verdict, results)
    outcome = Outcome(
        stage=stage,
        counters=counters,
        run=layout.run_path(item.id, item.attempt + 1, "land"),
        reason=one_line(verdict.summary),
    )
    refs: dict[str, str | None] = {f"{layout.CANDIDATE}{item.id}": None}
    if review_again:  # the review that follows is of the patch as it would land
        change = changes.re_review(item, outcome)
        refs[f"{layout.WORK}{item.id}"] = landing.candidate
    else:
        change = changes.ejected(item, outcome, bare=bare)
    result = "back to review" if review_again else "ejected"
    step = Step(
        change=change, subject=f"{result}, {verdict.summary}", by=mill.user, claim=landing.claim,
        run=("land", log), refs=refs,
    )  # fmt: skip
    after = mill.apply(item.id, step).item(item.id)
    if after.cancel_requested:
        return record_event(mill, after, changes.cancelled(CANCELLED))
    return record_event(mill, after, changes.blocked(after, exhausted)) if exhausted else after


def _log(mill: Mill, landing: StartedLanding, verdict: Verdict, results: list[CheckResult]) -> Any:
    return RunLog(
        item=landing.item.id,
        stage="land",
        verdict=verdict,
        by=mill.user,
        started=landing.started,
        claim=landing.claim,
        facts={
            "base": landing.onto,
            "work": landing.candidate,
            "sandbox": sandbox.enforcement(mill, landing.policy),
        },
        checks=tuple(result.as_json() for result in results),
        output="\n".join(result.output for result in results if not result.passed),
    ).document(landing.item.attempt + 1)
