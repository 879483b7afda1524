"""The check of one event, in cases where a whole history would be a detour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitmill.attempts.stage_types import all_types
from gitmill.core.audit.event import AuditedEvent, Undone
from gitmill.core.audit.outcome import faults_of
from gitmill.core.ids import Kind, derived_id
from gitmill.core.item import Item, frozen_hash
from gitmill.core.runlog import Log
from gitmill.core.trailers import EventRecord
from gitmill.core.verdict import VerdictWord
from tests.support.items import LEASE, deliver, item

PLAN = deliver("[checks]\ntest = 'true'\n")
FROZEN = frozen_hash((), "", ())
ADA = "Ada <ada@example.com>"
WORK, BASE = "a" * 40, "b" * 40
ENTRY = {"commit": WORK, "patch": "p", "by": "rules@host", "run": 2, "stage": "review"}
RUNNING: dict[str, Any] = {"status": "running", "stage": "build", "lease": LEASE, "frozen": FROZEN}
REVIEWED: dict[str, Any] = {
    "stage": "review", "work": WORK, "base": BASE, "frozen": FROZEN, "reviewed": [ENTRY],
    "counters": {"build": 1, "review": 1}, "attempt": 2, "plan": PLAN.hash12,
}  # fmt: skip
LOG = "runs/k3/t-k3f9x/001-build.md"
LANDING = {"candidate": "c" * 40, "onto": "d" * 40, "target": "refs/heads/main"}


def turn(
    event: str, before: Item, after: Item, *, run: Log | None = None, **record: str
) -> AuditedEvent:
    """Return an event whose trailers say what the documents say, unless told otherwise."""
    told = {
        "event": event, "id": after.event, "item": after.id, "after": before.event,
        "status_before": before.status.value, "to": after.status.value, "stage": after.stage,
        "plan": after.plan or before.plan, "by": run.by if run else "shell@host" if "claim" in record else ADA,
        "evidence": "e" * 40 if run else "", "rules": "2",
    }  # fmt: skip
    return AuditedEvent(
        record=EventRecord(**(told | record)), before=before, after=after, claimed=before,
        plan=PLAN, run=run, run_oid="e" * 40 if run else "", run_path=LOG if run else "",
    )  # fmt: skip


def log(**fields: Any) -> Log:
    told: dict[str, Any] = {
        "item": "t-k3f9x", "number": 1, "stage": "build", "stage_results": (), "exit": "completed",
        "verdict": VerdictWord.PASS, "by": "shell@host", "claim": "c1", "base": BASE, "work": WORK,
        "document": "", "tree": "", "patch": "p", "passed": (), "spent": (None,),
        "plan": PLAN.hash12,
    } | fields  # fmt: skip
    agents = (PLAN.stage(name).agent for name, _ in told["stage_results"])
    told.setdefault("performers", tuple(agent or "gitmill" for agent in agents))
    named = told["by"].partition("@")[0] if told["claim"] else ""
    told.setdefault("agent", "" if named == "gitmill" else named)
    return Log(**told)


def rules(one: AuditedEvent) -> list[str]:
    return [fault.rule for fault in faults_of(one, all_types())]


def event(name: str, before: dict[str, Any], after: dict[str, Any], **more: Any) -> list[str]:
    return rules(turn(name, item(**before), item(**({"event": "e1"} | after)), **more))


def test_a_lease_is_not_exchanged_while_it_is_held():
    other = RUNNING | {"lease": LEASE | {"who": "eve"}}
    assert event("edited", RUNNING, RUNNING) == []
    assert event("edited", RUNNING, other) == ["wrong-lease"]


def test_a_claim_is_the_one_in_the_lease():
    ready = {"status": "ready"}
    taken = RUNNING | {"plan": PLAN.hash12}
    taken["lease"] = LEASE | {"pid": 7, "who": "any@host"}
    assert event("claimed", ready, taken, claim="c1", by="any@host") == []
    assert event("claimed", ready, taken, claim="c2", by="any@host") == ["wrong-claim"]


def test_the_text_is_changed_by_edits_only():
    before, after = (
        item(**REVIEWED, status="approved"),
        item(**REVIEWED, status="queued", event="e1"),
    )
    other = replace(after, document=after.document.with_body("Other.\n"))
    assert rules(turn("queued", before, after)) == []
    assert rules(turn("queued", before, other)) == ["wrong-fields"]


@pytest.mark.parametrize(
    ("status", "found"),
    [("ready", []), ("blocked", []), ("approved", ["criteria-changed"])],
)
def test_frozen_fields_are_undone_only_between_attempts(status: str, found: list[str]):
    before = REVIEWED | {"status": status}
    after = {"status": status, "criteria": ["$ true"], "attempt": 2}
    assert event("edited", before, after) == found


def test_an_undo_is_complete():
    before = REVIEWED | {"status": "blocked"}
    after = {"status": "blocked", "criteria": ["$ true"], "attempt": 2}
    kept = after | {"work": "f" * 40, "base": BASE}
    assert event("edited", before, kept) == ["wrong-work"]
    assert event("edited", before, after | {"reviewed": [ENTRY]}) == ["wrong-review"]


def test_reopening_empties_all_that_was_earned():
    before = REVIEWED | {"status": "landed", "landed": "c" * 40}
    again = {"attempt": 2, "budget_after": 2}
    assert event("reopened", before, again) == []
    assert event("reopened", before, again | {"counters": {"build": 1}}) == ["counters"]
    assert event("reopened", before, again | {"reviewed": [ENTRY]}) == ["wrong-review"]
    assert event("reopened", before, again | {"stage": "review"}) == ["outcome"]
    assert event("reopened", before, again | {"landed": "c" * 40}) == ["wrong-fields"]


def test_retrying_resets_counters_wholly_or_not_at_all():
    before = REVIEWED | {"status": "blocked"}
    ready = REVIEWED | {"status": "ready"}
    assert event("unblocked", before, ready) == []
    again = ready | {"counters": None, "budget_after": 2}
    assert event("unblocked", before, again) == []
    assert event("unblocked", before, ready | {"counters": {"build": 1}}) == ["counters"]


def test_an_aborted_landing_counts_once_or_not_at_all():
    before = REVIEWED | {"status": "landing", "landing": LANDING, "lease": LEASE}
    queued = REVIEWED | {"status": "queued"}
    counted = REVIEWED["counters"]
    assert event("land-aborted", before, queued, claim="c1") == []
    one = queued | {"counters": counted | {"aborts": 1}}
    assert event("land-aborted", before, one, claim="c1") == []
    two = queued | {"counters": counted | {"aborts": 2}}
    assert event("land-aborted", before, two, claim="c1") == ["counters"]
    both = queued | {"counters": counted | {"aborts": 1, "moved": 1}}
    assert event("land-aborted", before, both, claim="c1") == ["counters"]


def test_a_target_that_moved_is_counted_once_and_only_since_the_rules_know_it():
    before = REVIEWED | {"status": "landing", "landing": LANDING, "lease": LEASE}
    counted = REVIEWED["counters"] | {"moved": 1}
    one = REVIEWED | {"status": "queued", "counters": counted}
    assert event("land-aborted", before, one, claim="c1") == []
    assert event("land-aborted", before, one, claim="c1", rules="") == ["counters"]
    again = before | {"counters": counted}
    three = one | {"counters": counted | {"moved": 3}}
    assert event("land-aborted", again, three, claim="c1") == ["counters"]
    assert event("land-aborted", again, one, claim="c1") == []


def test_no_other_event_of_a_queue_changes_the_count_of_a_moving_target():
    counters = REVIEWED["counters"]
    queued = REVIEWED | {"status": "queued", "counters": counters | {"moved": 2}}
    for count in ({}, {"moved": 3}):
        approved = REVIEWED | {"status": "approved", "counters": counters | count}
        assert event("dequeued", queued, approved) == ["counters"]


def ejected(name: str, **after: Any) -> list[str]:
    before = REVIEWED | {"status": "landing", "landing": LANDING, "lease": LEASE}
    to = REVIEWED | {
        "status": "ready", "stage": "build", "counters": {"returns": 1}, "reviewed": None,
        "attempt": 3, "feedback": LOG,
    }  # fmt: skip
    run = log(number=3, stage="land", verdict=VerdictWord.RETURN, by="root@host")
    return event(name, before, to | after, run=run, claim="c1")


def test_an_ejected_item_goes_back_to_its_author_with_no_approval_left():
    assert ejected("ejected") == []
    assert ejected("ejected", stage="review") == ["outcome"]
    assert ejected("ejected", counters=REVIEWED["counters"]) == ["counters"]
    assert ejected("ejected", reviewed=[ENTRY]) == ["wrong-review"]


def test_a_changed_patch_is_reviewed_as_it_would_land():
    moved = {"stage": "sanity", "work": "c" * 40, "base": "d" * 40}
    assert ejected("re-review", **moved) == []
    assert ejected("re-review", **moved | {"work": "f" * 40}) == ["wrong-work"]
    assert ejected("re-review", **moved | {"stage": "approve"}) == ["outcome"]


def decided(name: str, run: Log, **after: Any) -> list[str]:
    before = REVIEWED | {"status": "waiting", "stage": "approve"}
    return event(name, before, before | {"attempt": 3} | after, run=run)


def test_a_persons_yes_is_an_approval_of_the_work_as_it_is():
    run = log(number=3, stage="approve", by=ADA, claim="", patch="")
    mine = ENTRY | {"by": ADA, "run": 3, "stage": "approve"}
    yes = {"status": "approved", "reviewed": [ENTRY, mine]}
    assert decided("approved", run, **yes) == []
    assert decided("approved", run, **yes | {"reviewed": [ENTRY]}) == ["wrong-review"]
    other = [ENTRY, mine | {"commit": "f" * 40}]
    assert decided("approved", run, **yes | {"reviewed": other}) == ["wrong-review"]
    assert decided("advanced", run, **yes | {"status": "ready"}) == ["outcome"]


def test_a_persons_no_begins_a_new_round():
    run = log(number=3, stage="approve", by=ADA, claim="", verdict=VerdictWord.RETURN)
    no = {"status": "ready", "stage": "build", "reviewed": None, "counters": {"returns": 1},
          "feedback": LOG}  # fmt: skip
    assert decided("returned", run, **no) == []
    assert decided("returned", run, **no | {"counters": None}) == ["counters"]
    assert decided("returned", run, **no | {"stage": "approve"}) == ["outcome"]


GATES = (("sanity", "pass"), ("checks", "pass"))
PASSED = (("true", "0" * 12),)


def built(run: Log, **after: Any) -> list[str]:
    before = RUNNING | {"plan": PLAN.hash12, "lease": LEASE | {"who": run.by}}
    to = {
        "status": "ready", "stage": "review", "frozen": FROZEN, "plan": PLAN.hash12,
        "counters": {"build": 1}, "attempt": 1, "work": WORK, "base": BASE, "builder": "shell",
    }  # fmt: skip
    return event(after.pop("name", "advanced"), before, to | after, run=run, claim="c1")


def test_an_attempt_runs_all_of_its_stages():
    stage_results = (("build", "pass"), *GATES)
    assert built(log(stage_results=stage_results, passed=PASSED)) == []
    assert built(log(stage_results=GATES, passed=PASSED)) == []  # built by a person
    assert built(log(stage_results=stage_results)) == ["missing-check"]
    assert "outcome" in built(log(stage_results=stage_results[:2], passed=PASSED))
    assert "outcome" in built(
        log(stage_results=(stage_results[0], stage_results[2]), passed=PASSED)
    )
    assert "outcome" in built(
        log(stage_results=(stage_results[1], stage_results[0]), passed=PASSED)
    )
    red = (("build", "fail"), *GATES)
    assert "outcome" in built(log(stage_results=red, passed=PASSED))
    assert "outcome" in built(log(stage_results=(), passed=PASSED))
    assert "outcome" in built(log(stage="nowhere", stage_results=stage_results, passed=PASSED))


def test_a_broken_stage_has_no_result_and_is_the_one_that_failed():
    run = log(stage_results=(("build", "pass"),), verdict=VerdictWord.FAIL)
    failed = {"name": "failed", "feedback": LOG}
    assert built(run, **failed, stage="sanity") == []
    assert built(run, **failed, stage="build") == ["outcome"]
    assert built(log(verdict=VerdictWord.FAIL), **failed, stage="build") == []


def test_an_attempt_given_back_had_a_reason_and_costs_nothing():
    out = {"name": "released", "stage": "build", "counters": None, "work": None, "base": None,
           "builder": None}  # fmt: skip
    assert built(log(exit="rate-limited"), **out) == []
    assert built(log(), **out) == ["outcome"]
    assert built(log(exit="rate-limited"), **out | {"counters": {"build": 1}}) == ["counters"]


def test_exit_and_cost_of_an_agent_must_be_possible():
    stage_results = (("build", "pass"), *GATES)
    good = {"stage_results": stage_results, "passed": PASSED}
    assert built(log(**good, spent=(0, 12, 0.5))) == []
    assert built(log(**good, exit="vanished")) == ["evidence"]
    assert built(log(**good, exit="over-budget")) == ["outcome"]
    for cost in (-1, "much", True):
        assert built(log(**good, spent=(None, cost))) == ["evidence"]


def test_a_name_with_a_character_that_nobody_sees_is_the_same_in_run_log_and_trailer():
    good = {"stage_results": (("build", "pass"), *GATES), "passed": PASSED}
    assert built(log(**good, by="shell@\u200ehost")) == []


def test_a_pass_with_a_high_finding_asks():
    good = {"stage_results": (("build", "pass"), *GATES), "passed": PASSED}
    assert built(log(**good, has_high=True)) == ["outcome"]


def test_a_budget_restarts_after_the_last_run_log_on_a_retry():
    before = REVIEWED | {"status": "blocked"}
    ready = REVIEWED | {"status": "ready"}
    again = ready | {"counters": None}
    assert event("unblocked", before, again | {"budget_after": before["attempt"]}) == []
    assert event("unblocked", before, again | {"budget_after": 99}) == ["wrong-fields"]
    assert event("unblocked", before | {"budget_after": 1}, ready) == ["wrong-fields"]
    assert event("edited", ready, ready | {"budget_after": before["attempt"]}) == ["wrong-fields"]


def test_a_run_log_is_the_next_one_of_its_item():
    stage_results = (("build", "pass"), *GATES)
    assert built(log(stage_results=stage_results, passed=PASSED, number=2)) == ["evidence"]
    assert built(log(stage_results=stage_results, passed=PASSED, item="t-00000")) == ["evidence"]
    assert built(log(stage_results=stage_results, passed=PASSED), attempt=2) == ["evidence"]


def test_an_attempt_is_not_counted_without_a_run_log():
    before = REVIEWED | {"status": "approved"}
    assert event("queued", before, REVIEWED | {"status": "queued", "attempt": 9}) == ["evidence"]


def test_the_work_is_the_commit_of_the_attempt():
    stage_results = (("build", "pass"), *GATES)
    run = log(stage_results=stage_results, passed=PASSED)
    assert built(run, work="f" * 40) == ["wrong-work"]
    assert built(run, base="f" * 40) == ["wrong-work"]


def undo(
    name: str, after: dict[str, Any], undone: dict[str, Any] | None, body: str = ""
) -> list[str]:
    before = item(**REVIEWED | {"status": "blocked"})
    made = item(**({"event": "e1"} | after))
    made = replace(made, document=made.document.with_body(body))
    told = turn(name, before, made)
    told.record.extra["Undoes"] = "e0"
    if undone is None:
        return rules(told)
    record = EventRecord(event="blocked", id="e0", status_before=undone["status"], to="blocked")
    return rules(replace(told, undone=Undone((record,), item(**undone), before)))


def test_an_undo_restores_the_earlier_fields_only():
    was = REVIEWED | {"status": "ready", "title": "Before"}
    assert undo("unblocked", was, was) == []
    assert undo("unblocked", REVIEWED | {"status": "ready"}, was) == ["wrong-undo"]
    assert undo("unblocked", was | {"title": "New"}, was) == ["wrong-undo"]
    assert undo("unblocked", was | {"reviewed": [ENTRY, ENTRY]}, was) == ["wrong-undo"]
    assert undo("unblocked", was | {"counters": {}}, was) == ["wrong-undo"]
    assert undo("unblocked", was, was, body="New.\n") == ["wrong-undo"]
    assert undo("unblocked", was, None) == ["wrong-undo"]


def test_undone_leads_only_to_a_status_before_an_event():
    was = REVIEWED | {"status": "waiting"}
    assert undo("undone", was, was) == []
    landed = REVIEWED | {"status": "landed"}
    assert undo("undone", landed, landed) == ["illegal-event"]


def test_a_lease_is_there_while_somebody_works_and_at_no_other_time():
    ready = {"status": "ready"}
    assert "wrong-lease" in event("claimed", ready, RUNNING | {"lease": None}, claim="c1")
    assert event("blocked", ready, {"status": "blocked", "lease": LEASE}) == ["wrong-lease"]


def test_a_stage_that_the_plan_does_not_have_leads_nowhere():
    before = REVIEWED | {"status": "waiting", "stage": "nowhere"}
    run = log(number=3, stage="nowhere", by=ADA, claim="", patch="")
    found = event("approved", before, before | {"status": "approved", "attempt": 3}, run=run)
    assert found == ["outcome"]


def test_a_review_judges_the_work_that_the_item_has():
    run = log(number=3, stage="approve", by=ADA, claim="", patch="", work="f" * 40)
    mine = ENTRY | {"by": ADA, "run": 3, "stage": "approve"}
    assert decided("approved", run, status="approved", reviewed=[ENTRY, mine]) == ["wrong-review"]


def test_tampering_spends_a_try_and_approves_nothing():
    stage_results = (("build", "pass"), *GATES)
    run = log(stage_results=stage_results, passed=PASSED)
    held = {"name": "held", "status": "waiting", "stage": "checks"}
    assert built(run, **held) == []
    assert built(run, **held | {"stage": "review"}) == ["outcome"]
    assert built(run, **held | {"counters": None}) == ["counters"]
    assert built(run, **held | {"reviewed": [ENTRY]}) == ["wrong-review"]


def test_the_same_work_returned_twice_is_blocked():
    before = REVIEWED | {
        "status": "running", "lease": LEASE, "reviewed": None, "returned": "9" * 40,
        "counters": {"build": 1}, "attempt": 1,
    }  # fmt: skip
    run = log(
        number=2, stage="review", stage_results=(("review", "return"),), verdict=VerdictWord.RETURN,
        tree="9" * 40,
    )  # fmt: skip
    after = before | {
        "lease": None, "stage": "build", "attempt": 2, "counters": {"returns": 1},
    }  # fmt: skip
    assert event("blocked", before, after | {"status": "blocked"}, run=run, claim="c1") == []
    assert event("returned", before, after | {"status": "ready"}, run=run, claim="c1") == [
        "outcome"
    ]


def test_only_the_task_that_takes_a_landing_back_is_approved_unseen():
    landed = "7" * 40
    source = f"revert:t-k3f9x:{landed}"
    name = derived_id(Kind.TASK, source)
    run = log(item=name, stage="review", by=ADA)
    entry = {"commit": WORK, "patch": "p", "by": ADA, "run": 1, "stage": "review"}
    after = {
        "status": "approved", "stage": "review", "plan": PLAN.hash12, "frozen": FROZEN,
        "attempt": 1, "work": WORK, "base": BASE, "reviewed": [entry], "builder": ADA,
    }  # fmt: skip

    def found(item_id: str, source: str) -> list[str]:
        lease = {"lease": LEASE | {"who": ADA}}
        before = item(item_id, **RUNNING | {"plan": PLAN.hash12, "source": source} | lease)
        kept = RUNNING | {"plan": PLAN.hash12, "source": source, "lease": None}
        then = item(item_id, **kept | after | {"event": "e1"})
        told = turn("approved", before, then, run=replace(run, item=item_id), claim="c1")
        told.record.extra["Reverts"] = landed
        return rules(told)

    assert found(name, source) == []
    assert found("t-00000", source) == ["outcome"]
    assert found(name, "") == ["outcome"]
