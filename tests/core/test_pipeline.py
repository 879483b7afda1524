"""Pipeline: the next item, the effect of each verdict, and the end of every cycle."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.config.values import When
from gitmill.core.ids import Kind
from gitmill.core.item import as_json
from gitmill.core.lifecycle import Event, Status, advance
from gitmill.core.pipeline import (
    NextStep,
    attempts_exhausted,
    authoring,
    eligible,
    group,
    is_review,
    is_side,
    new_round,
    next_after_pass,
    next_step,
    paths_overlap,
    reviewing,
)
from gitmill.core.verdict import Verdict, VerdictWord
from tests.support.items import by_id, deliver, item

PASS, RETURN, ASK, FAIL, IMPOSSIBLE = VerdictWord
REVIEW = "---\ntype: agent\nrole: reviewer\npermission: read-only\non: {return: build}\n"
TEXT = "---\nJudge {{ diff }} by {{ nonce }} and {{ verdict_schema }}.\n"
TROUBLE = (
    ("10-build.md", "---\ntype: agent\nrole: builder\npermission: workspace\nattempts: 4\n"
                    "on: {fail: troubleshoot, impossible: consult}\n---\nBuild {{ nonce }}.\n"),
    ("80-troubleshoot.md", "---\ntype: agent\nrole: builder\npermission: workspace\nattempts: 2\n"
                           "on: {pass: sanity, fail: consult}\n---\nMend {{ item.title }}.\n"),
    ("85-consult.md", "---\ntype: agent\nrole: builder\npermission: workspace\nattempts: 1\n"
                      "on: {pass: sanity, fail: blocked}\n---\nThink about {{ item.title }}.\n"),
)  # fmt: skip
PLANS = [
    deliver(),
    deliver(gate=When.NEVER),
    deliver(gate=When.ALWAYS),
    deliver("[limits]\nreturns = 1\nattempts = 1\n"),
    deliver(more=(("40-review.md", f"{REVIEW}approvals: 3\n{TEXT}"),)),
    deliver(more=TROUBLE),
    deliver(optional=True),
    deliver("[limits]\nattempts = 5\n", optional=True),
]


def at(minute):
    return f"2026-01-02T03:{minute:02}:00Z"


# Who goes next


def test_priority_comes_before_age():
    items = by_id(
        item("t-aaaaa", created=at(3)),
        item("t-bbbbb", created=at(1)),
        item("t-ccccc", created=at(2), priority=0),
        item("t-ddddd", created=at(1)),
    )
    line = ["t-ccccc", "t-bbbbb", "t-ddddd", "t-aaaaa"]
    assert [one.id for one in eligible(items, kinds=[Kind.TASK])] == line
    assert [one.id for one in eligible(items, ["t-aaaaa", "t-ddddd"], kinds=[Kind.TASK])] == [
        "t-ddddd",
        "t-aaaaa",
    ]
    assert eligible(items, ["t-eeeee"], kinds=[Kind.TASK]) == []


@pytest.mark.parametrize("status", Status)
def test_only_ready_items_are_eligible(status):
    items = by_id(item("t-aaaaa", status=status.value))
    assert bool(eligible(items, kinds=[Kind.TASK])) is (status is Status.READY)


def test_the_first_that_can_go_and_not_the_first_of_the_list():
    items = by_id(
        item("t-aaaaa", priority=0, after=["t-ddddd"]),
        item("t-bbbbb", priority=0, paths=["src/core/"]),
        item("g-ccccc", priority=0, kind="goal"),
        item("t-ddddd", status="running", paths=["src/core/a.py"]),
        item("t-eeeee", paths=["docs/"]),
        item("t-fffff"),
    )
    assert [one.id for one in eligible(items, kinds=[Kind.TASK])] == ["t-eeeee", "t-fffff"]


@pytest.mark.parametrize(
    ("ours", "theirs", "overlap"),
    [
        (["src/"], ["src/a.py"], True),
        (["src/a.py"], ["src/a.py"], True),
        (["/src/"], ["src/deep/er/x"], True),
        (["src/**"], ["src/deep/x"], True),
        (["src/*.py"], ["src/deep/x"], True),
        (["*.py"], ["docs/"], True),
        (["src/a.py"], ["src/b.py"], False),
        (["src/a"], ["src/ab"], False),
        (["docs/", "src/x/"], ["tests/", "src/x/y"], True),
        (["docs/"], ["src/"], False),
        ([], ["src/"], False),
        (["src/"], [], False),
    ],
)
def test_paths_overlap_by_their_literal_prefixes(ours, theirs, overlap):
    assert paths_overlap(ours, theirs) is overlap
    assert paths_overlap(theirs, ours) is overlap


# What one attempt goes through


def test_mechanical_stages_run_with_the_one_before_them():
    plan = deliver()
    attempts = {stage.name: [s.name for s in group(plan, stage.name)] for stage in plan.stages}
    assert attempts == {
        "build": ["build", "sanity", "checks"],
        "sanity": ["sanity", "checks"],
        "checks": ["checks"],
        "review": ["review"],
        "approve": ["approve"],
    }


@pytest.mark.parametrize(
    ("gate", "risk", "after"),
    [
        (When.HIGH_RISK, "low", "approved"),
        (When.HIGH_RISK, "medium", "approved"),
        (When.HIGH_RISK, "high", "approve"),
        (When.ALWAYS, "low", "approve"),
        (When.ALWAYS, "high", "approve"),
        (When.NEVER, "high", "approved"),
    ],
)
def test_a_gate_asks_by_risk(gate, risk, after):
    plan = deliver(gate=gate)
    assert next_after_pass(plan, item(risk=risk), "review") == after
    assert next_after_pass(plan, item(risk=risk), "approve") == "approved"
    assert next_after_pass(plan, item(risk=risk), "checks") == "review"
    settled = next_step(plan, item(risk=risk), "review", "review", Verdict(PASS, "fine"))
    asked = NextStep(Event.ASKED, "approve", {"review": 1}, "it needs a person's approval")
    assert settled == (
        asked if after == "approve" else NextStep(Event.APPROVED, "review", {"review": 1})
    )


# Where a verdict leads


@pytest.mark.parametrize(
    ("head", "at", "word", "event", "stage", "counters"),
    [
        ("build", "checks", PASS, Event.ADVANCED, "review", {"build": 2, "returns": 1}),
        ("build", "build", ASK, Event.ASKED, "build", {"build": 2, "returns": 1}),
        ("build", "build", FAIL, Event.FAILED, "build", {"build": 2, "returns": 1}),
        ("build", "build", IMPOSSIBLE, Event.BLOCKED, "build", {"build": 2, "returns": 1}),
        ("build", "build", RETURN, Event.BLOCKED, "build", {"build": 2, "returns": 1}),
        ("build", "sanity", RETURN, Event.RETURNED, "build", {"returns": 2}),
        ("build", "sanity", ASK, Event.ASKED, "sanity", {"build": 2, "returns": 1}),
        ("build", "sanity", FAIL, Event.FAILED, "sanity", {"build": 2, "returns": 1}),
        ("build", "checks", RETURN, Event.RETURNED, "build", {"returns": 2}),
        ("build", "checks", FAIL, Event.FAILED, "checks", {"build": 2, "returns": 1}),
        ("build", "checks", ASK, Event.ASKED, "checks", {"build": 2, "returns": 1}),
        ("sanity", "checks", PASS, Event.ADVANCED, "review",
         {"build": 1, "returns": 1, "sanity": 1}),
        ("checks", "checks", FAIL, Event.FAILED, "checks",
         {"build": 1, "returns": 1, "checks": 1}),
        ("review", "review", PASS, Event.APPROVED, "review",
         {"build": 1, "returns": 1, "review": 1}),
        ("review", "review", RETURN, Event.RETURNED, "build", {"returns": 2}),
        ("review", "review", ASK, Event.ASKED, "review",
         {"build": 1, "returns": 1, "review": 1}),
        ("review", "review", FAIL, Event.FAILED, "review",
         {"build": 1, "returns": 1, "review": 1}),
        ("review", "review", IMPOSSIBLE, Event.BLOCKED, "review",
         {"build": 1, "returns": 1, "review": 1}),
        ("approve", "approve", PASS, Event.APPROVED, "approve",
         {"build": 1, "returns": 1, "approve": 1}),
        ("approve", "approve", RETURN, Event.RETURNED, "build", {"returns": 2}),
        ("approve", "approve", ASK, Event.ASKED, "approve",
         {"build": 1, "returns": 1, "approve": 1}),
    ],
)  # fmt: skip
def test_each_verdict_at_each_stage_of_the_shipped_loop(head, at, word, event, stage, counters):
    begun = item(status="running", stage=head, counters={"build": 1, "returns": 1})
    settled = next_step(deliver(), begun, head, at, Verdict(word, "because"))
    reason = "" if word is PASS else "because"
    assert settled == NextStep(event, stage, counters, reason)


def test_no_verdict_at_any_stage_is_left_without_a_way():
    for plan in PLANS:
        for first in plan.stages:
            for at_stage in group(plan, first.name):
                for word in VerdictWord:
                    begun = item(status="running", stage=first.name, risk="high")
                    settled = next_step(plan, begun, first.name, at_stage.name, Verdict(word))
                    assert advance(Status.RUNNING, settled.event)
                    assert settled.stage in {stage.name for stage in plan.stages}
                    if word is not PASS:
                        assert settled.event not in (Event.APPROVED, Event.ADVANCED)


def test_attempts_are_bounded_in_a_round_and_a_return_begins_a_new_one():
    plan, counters = deliver(), {}
    for number in (1, 2):
        settled = next_step(plan, item(counters=counters), "build", "build", Verdict(FAIL, "no"))
        counters = settled.counters
        assert (settled.event, counters) == (Event.FAILED, {"build": number})
    last = next_step(plan, item(counters=counters), "build", "build", Verdict(FAIL, "no"))
    assert last == NextStep(
        Event.BLOCKED, "build", {"build": 3}, "all 3 attempts at build are used up: no"
    )
    returned = next_step(plan, item(counters=counters), "review", "review", Verdict(RETURN, "mend"))
    assert returned == NextStep(Event.RETURNED, "build", {"returns": 1}, "mend")
    assert new_round({"build": 2, "review": 1, "aborts": 2, "returns": 4}) == {
        "aborts": 2,
        "returns": 5,
    }


def test_rounds_are_bounded():
    plan = deliver("[limits]\nreturns = 2\n")
    for returns, event in ((0, Event.RETURNED), (1, Event.RETURNED), (2, Event.BLOCKED)):
        begun = item(counters={"returns": returns})
        settled = next_step(plan, begun, "review", "review", Verdict(RETURN))
        assert (settled.event, settled.counters) == (event, {"returns": returns + 1})
        assert settled.reason == ("it was returned more than 2 times" if returns == 2 else "")


def test_a_failed_build_is_looked_into_twice_then_a_consultant_decides():
    plan, now, seen = deliver(optional=True), item(), []
    for stage, word in (("build", FAIL), ("troubleshoot", PASS)) * 2 + (
        ("build", FAIL), ("consult", RETURN), ("build", IMPOSSIBLE), ("consult", IMPOSSIBLE),
    ):  # fmt: skip
        settled = next_step(plan, now, stage, stage, Verdict(word, "why"))
        seen.append((settled.event.value, settled.stage, dict(settled.counters)))
        now = item(stage=settled.stage, counters=dict(settled.counters))
    assert seen == [
        ("failed", "troubleshoot", {"build": 1}),
        ("advanced", "build", {"build": 1, "troubleshoot": 1}),
        ("failed", "troubleshoot", {"build": 2, "troubleshoot": 1}),
        ("advanced", "build", {"build": 2, "troubleshoot": 2}),
        ("failed", "consult", {"build": 3, "troubleshoot": 2}),
        ("returned", "build", {"returns": 1}),
        ("failed", "consult", {"returns": 1, "build": 1}),
        ("blocked", "consult", {"returns": 1, "build": 1, "consult": 1}),
    ]


def test_a_pass_of_a_side_stage_is_no_approval_and_respects_the_attempts():
    plan = deliver(optional=True)
    assert [s.name for s in plan.stages if is_review(plan, s.name)] == ["review"]
    assert [s.name for s in plan.stages if is_side(plan, s.name)] == ["troubleshoot", "consult"]
    spent = item(counters={"build": 3, "troubleshoot": 1})
    settled = next_step(plan, spent, "troubleshoot", "troubleshoot", Verdict(PASS))
    assert (settled.event, settled.stage) == (Event.ADVANCED, "consult")
    spent = item(counters={"build": 3, "troubleshoot": 2})
    settled = next_step(plan, spent, "consult", "consult", Verdict(PASS))
    assert (settled.event, settled.stage) == (Event.BLOCKED, "build")


def test_a_gate_has_no_attempts_to_use_up():
    assert attempts_exhausted(deliver(), "approve", {"approve": 900}) == ""
    assert (
        attempts_exhausted(deliver(), "review", {"review": 3})
        == "all 3 attempts at review are used up"
    )


def test_several_approvals_are_counted_and_cost_no_attempt():
    plan = deliver(more=(("40-review.md", f"{REVIEW}approvals: 3\n{TEXT}"),))
    yes = {"commit": "ab" * 20, "patch": "p", "by": "any", "stage": "review"}
    begun = {"counters": {"build": 1, "review": 2}}
    for have in (0, 1):
        settled = next_step(
            plan, item(reviewed=[yes] * have, **begun), "review", "review", Verdict(PASS)
        )
        assert settled == NextStep(Event.APPROVAL_COUNTED, "review", {"build": 1, "review": 2})
    settled = next_step(plan, item(reviewed=[yes] * 2, **begun), "review", "review", Verdict(PASS))
    assert settled == NextStep(Event.APPROVED, "review", {"build": 1, "review": 3})
    other = [yes | {"stage": "security"}] * 2
    settled = next_step(plan, item(reviewed=other, **begun), "review", "review", Verdict(PASS))
    assert settled.event is Event.APPROVAL_COUNTED  # another stage's approvals do not count
    no = next_step(
        plan, item(reviewed=[yes] * 2, **begun), "review", "review", Verdict(RETURN, "bad")
    )
    assert no == NextStep(Event.RETURNED, "build", {"returns": 1}, "bad")


def test_failures_follow_the_edges_of_the_loop():
    plan, counters, way = deliver(more=TROUBLE), {}, []
    stage = "build"
    for _ in range(20):
        settled = next_step(plan, item(counters=counters), stage, stage, Verdict(FAIL))
        way.append((stage, settled.event.value, settled.stage))
        if settled.event is Event.BLOCKED:
            break
        stage, counters = settled.stage, settled.counters
    assert way == [
        ("build", "failed", "troubleshoot"),
        ("troubleshoot", "failed", "consult"),
        ("consult", "blocked", "consult"),
    ]


@given(
    st.sampled_from(PLANS),
    st.sampled_from(["low", "medium", "high"]),
    st.integers(0, 2**32),
    st.sampled_from([(5, 1, 1, 5, 1), (1, 9, 0, 1, 0), (1, 0, 0, 9, 0), (3, 3, 0, 3, 0)]),
)
def test_a_random_walk_always_ends(plan, risk, seed, weights):
    """Without a person nothing goes round for ever, and no counter leaves its bound."""
    dice = random.Random(seed)
    now = item(status="ready", risk=risk)
    rounds = plan.limits.returns + 1
    bound = rounds * sum(max(stage.attempts, stage.approvals, 1) + 1 for stage in plan.stages)
    for _ in range(bound + 1):
        stages = group(plan, now.stage or plan.first.name)
        word = dice.choices(list(VerdictWord), weights)[0]
        reached = dice.randrange(len(stages)) if word is not PASS else -1
        settled = next_step(plan, now, stages[0].name, stages[reached].name, Verdict(word))
        status = advance(Status.RUNNING, settled.event)
        limits = {s.name: s.attempts + 1 for s in plan.stages if s.attempts}
        limits["returns"] = plan.limits.returns + 1
        assert all(count <= limits.get(name, 1) for name, count in settled.counters.items())
        if status is not Status.READY:
            assert status in (Status.APPROVED, Status.BLOCKED, Status.WAITING)
            break
        yes = {"commit": "ab" * 20, "patch": "p", "by": "any", "stage": "review"}
        counted = settled.event is Event.APPROVAL_COUNTED
        reviewed = [*as_json(now.reviewed), yes] if counted else []
        now = item(
            risk=risk, stage=settled.stage, counters=dict(settled.counters), reviewed=reviewed
        )
    else:
        pytest.fail(f"still under way after {bound} attempts")


# Where work goes back to


def test_work_returns_to_its_author_and_a_changed_patch_to_its_reviewer():
    plan = deliver()
    assert {stage.name: authoring(plan, stage.name) for stage in plan.stages} == dict.fromkeys(
        ["build", "sanity", "checks", "review", "approve"], "build"
    )
    assert reviewing(plan) == "sanity"


def test_of_several_authors_it_is_the_last_before():
    polish = (
        "---\ntype: agent\nrole: builder\npermission: workspace\non: {fail: blocked}\n---\n"
        "Polish {{ item.title }}.\n"
    )
    more = (
        ("35-polish.md", polish),
        ("40-review.md", f"{REVIEW}{TEXT}"),
        ("45-security.md", f"{REVIEW.replace('build', 'polish')}{TEXT}"),
    )
    plan = deliver(more=more)
    assert authoring(plan, "polish") == "polish"
    assert authoring(plan, "review") == "build"
    assert authoring(plan, "security") == "polish"
    assert reviewing(plan) == "review"
