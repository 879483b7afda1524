"""Compiling: the settings of a plan, each reason to refuse one, and the round trip of a plan."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.attempts.stage_types import all_types
from gitmill.config import parse_policy
from gitmill.config.values import Permission, When
from gitmill.core.ids import Kind
from gitmill.core.item import Risk
from gitmill.core.plans.compile import AgentFacts, compile_plan
from gitmill.core.plans.loop import read_loop
from gitmill.core.plans.mode import Mode, read_mode
from gitmill.core.plans.plan import (
    ENDS,
    FrozenPlan,
    PlannedAgent,
    PlannedCheck,
    PlannedLimits,
    PlannedSanity,
    PlannedStage,
)
from gitmill.core.product import Product
from gitmill.core.verdict import VerdictWord
from gitmill.errors import BadDocumentError, CannotCompileError
from tests.support.hints import shown

SHIPPED = Path(__file__).parents[3] / "gitmill/loops"
READ, WRITE, FULL = Permission
TYPES = all_types()
AGENTS = {
    "shell": AgentFacts("shell", frozenset({WRITE}), frozenset({"builder"})),
    "rules": AgentFacts("rules", frozenset({READ}), frozenset({"reviewer"})),
    "any": AgentFacts("any", frozenset(Permission)),
}
BUILD = "---\ntype: agent\nrole: builder\n---\nBuild {{ item.title }}.\n"
REVIEW = "---\ntype: agent\nrole: reviewer\n---\nReview {{ diff }}.\n"
SANITY, CHECKS, PERSON = (f"---\ntype: {kind}\n---\n" for kind in ("sanity", "checks", "person"))


def on(text, edges, **more):
    """Return the text of a stage with edges and other keys added."""
    lines = [f"on: {{{edges}}}\n"] if edges else []
    lines += [f"{key}: {value}\n" for key, value in more.items()]
    return text.replace("\n---\n", "\n" + "".join(lines) + "---\n", 1)


def shipped():
    files = {path.name: path.read_text() for path in (SHIPPED / "deliver").iterdir()}
    return read_loop("deliver", files, TYPES)


def offline():
    return read_mode("loops/modes/offline.md", (SHIPPED / "modes/offline.md").read_text())


def compiled(files=None, *, policy="", mode=None, agents=AGENTS, loops=None, **kwargs):
    if files is not None:
        files = {"loop.md": "---\nserves: task\n---\n", **files}
        loops = {"deliver": read_loop("deliver", files, TYPES)}
    if mode is None:
        roles = {stage.role for loop in (loops or {}).values() for stage in loop.stages}
        chosen = {"builder": "shell", "reviewer": "rules"}
        mode = Mode("test", "modes/test.md", {r: (chosen[r],) for r in chosen if r in roles})
    return compile_plan(
        mode=mode, loops=loops, policy=parse_policy(policy), agents=agents, types=TYPES, **kwargs
    )


def error_lines(files=None, **kwargs):
    """Return message, evidence and hints of the refusal, a line each."""
    with pytest.raises(CannotCompileError) as caught:
        compiled(files, **kwargs)
    error = caught.value
    return [error.message, *error.evidence, *(f"hint: {hint}" for hint in shown(error.hints))]


def refused(files, *expected, **kwargs):
    heading = "the loop deliver does not compile in mode test"
    assert error_lines(files, **kwargs) == [heading, *expected]


def in_mode(gates=(), **roles):
    served = {r: (a,) if isinstance(a, str) else tuple(a) for r, a in roles.items()}
    return Mode("test", "modes/test.md", served, dict(gates))


def ways(plan):
    return {s.name: " ".join(f"{word}:{to}" for word, to in s.edges.items()) for s in plan.stages}


D = "loops/deliver"


# What a plan decides


def test_the_shipped_loop_compiles_in_the_shipped_mode():
    plan = compiled(loops={"deliver": shipped()}, mode=offline())
    assert (plan.mode, plan.loop, plan.serves) == ("offline", "deliver", Kind.TASK)
    assert ways(plan) == {
        "build": "pass:sanity ask:waiting fail:build impossible:blocked",
        "sanity": "pass:checks return:build ask:waiting fail:sanity",
        "checks": "pass:review return:build fail:checks",
        "review": "pass:approve return:build ask:waiting fail:review impossible:blocked",
        "approve": "pass:approved return:build",
    }
    assert [(s.agent, s.permission, s.attempts, s.timeout, s.idle) for s in plan.stages] == [
        ("shell", WRITE, 3, 1200, 600),
        ("", READ, 3, 600, 0),
        ("", READ, 3, 600, 0),
        ("rules", READ, 3, 1200, 600),
        ("", READ, 0, 0, 0),
    ]
    assert plan.gates == {"approve": When.HIGH_RISK}
    assert (plan.checks, plan.item_criteria) == ((), True)
    assert plan.limits == PlannedLimits(returns=6, attempts=3, aborts=3)
    assert plan.first.name == "build"
    assert plan.first.is_authoring
    assert not plan.stage("review").is_authoring
    assert plan.stage("build").prompt == shipped().stages[0].prompt
    with pytest.raises(KeyError):
        plan.stage("deploy")


def test_the_policy_is_heard():
    plan = compiled(
        {"10-build.md": BUILD, "20-checks.md": CHECKS, "30-approve.md": PERSON},
        policy=(
            '[checks]\nlint = "ruff"\n'
            '[checks.test]\ncommand = "pytest"\ntimeout = "1h"\ninputs = ["conftest.py"]\n'
            "[limits]\nattempts = 5\nreturns = 2\naborts = 1\n[sanity]\nmax_files = 7\n"
            '[agents.shell]\ncommand = ["sh", "-e"]\ntimeout = "5m"\npermission = "workspace"\n'
        ),
    )
    assert plan.checks == (
        PlannedCheck("lint", "ruff", 600, ()),
        PlannedCheck("test", "pytest", 3600, ("conftest.py",)),
    )
    assert plan.item_criteria is False
    assert plan.limits == PlannedLimits(returns=2, attempts=5, aborts=1)
    assert plan.sanity.max_files == 7
    assert plan.sanity.protected[-3:] == (
        "conftest.py", "/.worktreeinclude", ".gitmill/",
    )  # fmt: skip
    build, checks = plan.stage("build"), plan.stage("checks")
    assert (build.agents[0].command, build.timeout, build.idle) == (("sh", "-e"), 300, 300)
    assert (build.attempts, checks.attempts, checks.timeout) == (5, 5, 4200)


def test_the_stage_comes_before_the_agent_and_the_loop_before_the_policy():
    policy = (
        "[limits]\nattempts = 5\nreturns = 9\n"
        '[agents.any]\ntimeout = "5m"\nidle = "1m"\npermission = "full"\n'
    )
    files = {
        "loop.md": "---\nserves: task\nlimits: {returns: 2}\n---\n",
        "10-build.md": on(BUILD, "", timeout="1h", idle="2m", attempts=1, permission="workspace"),
        "20-second.md": BUILD,
    }
    mode = in_mode(builder="any")
    plan = compiled(files, policy=policy, mode=mode)
    first, second = plan.stages
    assert (first.timeout, first.idle, first.attempts, first.permission) == (3600, 120, 1, WRITE)
    assert (second.timeout, second.idle, second.attempts, second.permission) == (300, 60, 5, FULL)
    assert plan.limits == PlannedLimits(returns=2, attempts=5, aborts=3)


def test_the_default_permission_is_the_least_that_the_role_needs():
    mode = in_mode(builder="any", poet="any")
    poet = REVIEW.replace("reviewer", "poet")
    plan = compiled({"10-build.md": BUILD, "20-poet.md": poet}, mode=mode)
    assert [stage.permission for stage in plan.stages] == [WRITE, READ]


@pytest.mark.parametrize(
    ("stage", "mode", "risks"),
    [
        (None, None, {Risk.HIGH}),
        ("never", None, set()),
        ("never", When.ALWAYS, set(Risk)),
        ("always", When.HIGH_RISK, {Risk.HIGH}),
        ("always", None, set(Risk)),
    ],
)
def test_the_gate_is_the_modes_else_the_stages_else_high_risk(stage, mode, risks):
    text = on(PERSON, "", when=stage) if stage else PERSON
    chosen = in_mode({"approve": mode} if mode else {}, builder="shell")
    plan = compiled({"10-build.md": BUILD, "20-approve.md": text}, mode=chosen)
    assert {risk for risk in Risk if plan.asks("approve", risk)} == risks


def test_work_goes_back_to_the_nearest_author_before():
    plan = compiled({
        "10-build.md": BUILD, "20-sanity.md": SANITY, "30-polish.md": BUILD, "40-review.md": REVIEW,
    })  # fmt: skip
    assert plan.stage("sanity").edges[VerdictWord.RETURN] == "build"
    assert plan.stage("review").edges[VerdictWord.RETURN] == "polish"


def test_declared_edges_and_side_stages():
    plan = compiled({
        "10-build.md": on(BUILD, "fail: fix, impossible: consult, ask: waiting"),
        "20-review.md": on(REVIEW, "impossible: waiting, return: fix"),
        "80-fix.md": on(BUILD, "pass: review, return: build"),
        "85-consult.md": on(REVIEW, "pass: build, return: fix"),
    })  # fmt: skip
    assert ways(plan) == {
        "build": "pass:review ask:waiting fail:fix impossible:consult",
        "review": "pass:approved return:fix ask:waiting fail:review impossible:waiting",
        "fix": "pass:review return:build ask:waiting fail:fix impossible:blocked",
        "consult": "pass:build return:fix ask:waiting fail:consult impossible:blocked",
    }


def test_the_loop_is_chosen_by_the_kind_that_it_serves():
    goal = read_loop(
        "close",
        {"loop.md": "---\nserves: goal\n---\n", "10-judge.md": on(REVIEW, "return: waiting")},
        TYPES,
    )
    loops, mode = {"deliver": shipped(), "close": goal}, offline()
    assert compiled(loops=loops, mode=mode).loop == "deliver"
    assert compiled(loops=loops, mode=mode, kind=Kind.GOAL).loop == "close"


def design(**files: str):
    """Return the loops with one for designs beside the shipped one."""
    texts = {"loop.md": "---\nserves: design\n---\n"} | {
        name.replace("_", "-").removeprefix("s") + ".md": text for name, text in files.items()
    }
    return {"deliver": shipped(), "design": read_loop("design", texts, TYPES)}


AUTHOR = BUILD.replace("type: agent", "type: agent\nproduces: document\npermission: workspace")


def refusals(**files: str) -> list[str]:
    with pytest.raises(CannotCompileError) as caught:
        compiled(loops=design(**files), mode=offline(), kind=Kind.DESIGN)
    return list(caught.value.evidence)


def test_a_document_is_done_and_work_is_approved():
    loops = design(s10_author=AUTHOR, s20_review=REVIEW)
    plan = compiled(loops=loops, mode=offline(), kind=Kind.DESIGN)
    assert ways(plan)["review"].startswith("pass:done return:author")
    assert (plan.product, plan.first.is_authoring) == (Product.DOCUMENT, True)
    assert FrozenPlan.parse(plan.render()) == plan
    work = compiled(loops=loops, mode=offline())
    assert (work.product, work.stage("review").product) == (Product.WORK, Product.VERDICT)


def test_a_plan_without_products_is_read_by_its_permissions():
    plan = small()
    old = replace(plan, stages=tuple(replace(stage, produces=None) for stage in plan.stages))
    assert "produces" not in old.render()
    assert [stage.product for stage in old.stages] == [stage.product for stage in plan.stages]


def test_a_loop_produces_one_thing_that_its_kind_can_have():
    assert refusals(s10_build=BUILD) == [
        "loops/design/10-build.md:1: build produces work, but the text of a design is a document"
    ]
    assert refusals(s10_author=AUTHOR, s20_sanity=SANITY) == [
        "loops/design/20-sanity.md:2: a stage of type sanity inspects work, but the loop produces none"
    ]
    assert refusals(s10_author=AUTHOR, s20_build=BUILD) == [
        "loops/design/20-build.md:1: build produces work, but the loop produces document"
    ]
    reads = BUILD.replace("type: agent", "type: agent\nproduces: work\npermission: read-only")
    refused(
        {"10-build.md": reads},
        f"{D}/10-build.md:4: build produces work, but it may only read",
        f"{D}/10-build.md:4: the agent shell cannot run with the permission read-only",
        "hint: give it `permission: workspace`",
        "hint: it can run with workspace",
    )


def test_agents_that_must_be_distinct_may_be():
    files = {"10-build.md": BUILD, "20-review.md": on(REVIEW, "", distinct_from="build")}
    plan = compiled(files)
    assert plan.stage("review").distinct_from == ("build",)


# Refusals


def test_an_unknown_verdict_and_a_verdict_that_a_stage_never_gives():
    refused(
        {
            "10-build.md": BUILD,
            "20-sanity.md": on(SANITY, "impossible: build"),
            "30-review.md": on(REVIEW, "retrun: build"),
            "40-approve.md": on(PERSON, "maybe: build"),
        },
        f"{D}/20-sanity.md:3: a stage of type sanity never gives the verdict impossible",
        f"{D}/30-review.md:4: there is no verdict retrun",
        f"{D}/40-approve.md:3: there is no verdict maybe",
        "hint: its verdicts are pass, return, ask, fail",
        "hint: did you mean `return`?",
        "hint: the verdicts are pass, return, ask, fail, impossible",
    )


def test_an_unknown_stage():
    refused(
        {
            "10-build.md": on(BUILD, "pass: waiting"),
            "20-review.md": on(REVIEW, "return: biuld, fail: approved"),
        },
        f"{D}/10-build.md:4: pass leads to waiting, which is not a stage of this loop",
        f"{D}/20-review.md:4: return leads to biuld, which is not a stage of this loop",
        f"{D}/20-review.md:4: fail leads to approved, which is not a stage of this loop",
        "hint: the stages are build, review",
        "hint: did you mean `build`?; return can also lead to blocked or waiting",
        "hint: the stages are build, review; fail can also lead to blocked or waiting",
    )


def test_an_unknown_role():
    refused(
        {"10-build.md": BUILD, "20-review.md": REVIEW.replace("reviewer", "reveiwer")},
        "modes/test.md: no stage of any loop has the role reviewer",
        f"{D}/20-review.md:3: the mode test has no agent for the role reveiwer",
        "hint: did you mean `reveiwer`?",
        "hint: did you mean `reviewer`?",
        mode=in_mode(builder="shell", reviewer="rules"),
    )


def test_an_unknown_agent_in_the_mode_and_in_the_policy():
    refused(
        {"10-build.md": BUILD},
        "modes/test.md: the role builder names shel, which is not an agent",
        ".gitmill/config.toml: agents.zzz: there is no such agent",
        "hint: did you mean `shell`?",
        "hint: the agents are any, rules, shell",
        mode=in_mode(builder="shel"),
        policy='[agents.zzz]\ntimeout = "5m"\n',
    )


def test_an_unknown_permission():
    refused(
        {"10-build.md": on(BUILD, "", permission="workspce")},
        f"{D}/10-build.md:4: there is no permission workspce",
        "hint: did you mean `workspace`?",
    )


def test_an_agent_that_cannot_serve_the_role_or_the_permission():
    refused(
        {"10-build.md": on(BUILD, "", permission="full"), "20-review.md": REVIEW},
        f"{D}/10-build.md:4: the agent shell cannot run with the permission full",
        f"{D}/20-review.md:3: the agent shell cannot serve as reviewer",
        f"{D}/20-review.md:1: the agent shell cannot run with the permission read-only",
        "hint: it can run with workspace",
        "hint: it serves as builder; give the role another agent",
        mode=in_mode(builder="shell", reviewer="shell"),
    )


def test_a_permission_of_the_policy_is_not_applied_where_it_cannot_be():
    refused(
        {"10-build.md": BUILD, "20-review.md": REVIEW},
        f"{D}/20-review.md:1: the agent rules cannot run with the permission full",
        "hint: it can run with read-only",
        policy='[agents.rules]\npermission = "full"\n',
    )


def test_a_verdict_with_no_way_on():
    refused(
        {
            "10-sanity.md": SANITY,
            "20-build.md": on(BUILD, "fail: fix"),
            "80-fix.md": REVIEW,
        },
        f"{D}/10-sanity.md:1: the verdict return of sanity leads to no stage: "
        "no earlier stage produces work or a document",
        f"{D}/80-fix.md:1: the verdict pass of fix leads to no stage: "
        "a side stage has no default for it",
        f"{D}/80-fix.md:1: the verdict return of fix leads to no stage: "
        "a side stage has no default for it",
        "hint: add `on: {return: STAGE}`",
        "hint: add `on: {pass: STAGE}`",
    )


def test_an_unreachable_stage():
    refused(
        {
            "10-build.md": on(BUILD, "pass: checks"),
            "20-review.md": REVIEW,
            "30-checks.md": CHECKS,
            "80-fix.md": on(BUILD, "pass: build"),
        },
        f"{D}/20-review.md:1: no verdict of any stage leads to review",
        f"{D}/80-fix.md:4: no verdict of any stage leads to fix",
        "hint: lead to it from another stage with `on: {fail: review}`",
        "hint: lead to it from another stage with `on: {fail: fix}`",
    )


def test_passes_that_lead_in_a_circle_are_unbounded():
    """Nothing counts a pass, so a cycle of them would never end, with an agent in it or not."""
    refused(
        {"10-build.md": BUILD, "20-review.md": on(REVIEW, "pass: build")},
        f"{D}/20-review.md:4: nothing bounds the cycle build -> review -> build: "
        "passes never reach an end",
        "hint: let `pass` lead to a later stage",
    )
    refused(
        {
            "10-build.md": on(BUILD, "fail: one"),
            "80-one.md": on(BUILD, "pass: two"),
            "81-two.md": on(BUILD, "pass: one, fail: build"),
        },
        f"{D}/80-one.md:4: nothing bounds the cycle one -> two -> one: passes never reach an end",
        "hint: let `pass` lead to a later stage",
    )


def test_only_a_pass_gets_past_a_gate():
    refused(
        {
            "10-build.md": BUILD,
            "20-sanity.md": on(SANITY, "ask: build"),
            "30-checks.md": on(CHECKS, "return: review"),
            "40-review.md": on(REVIEW, "fail: approve, ask: blocked"),
            "50-approve.md": PERSON,
        },
        f"{D}/20-sanity.md:3: ask leads to build, but it always waits for a person",
        f"{D}/30-checks.md:3: return of checks leads to review, but only pass leads forward",
        f"{D}/40-review.md:4: fail of review leads to approve, but only pass leads forward",
        f"{D}/40-review.md:4: ask leads to blocked, but it always waits for a person",
        "hint: leave `ask` out",
        "hint: an earlier stage, a side stage, blocked and waiting are possible",
    )


@pytest.mark.parametrize("word", ["return", "fail"])
def test_a_cycle_without_an_agent_is_unbounded(word):
    checks = on(CHECKS, f"{word}: sanity")
    refused(
        {"10-build.md": BUILD, "20-sanity.md": SANITY, "30-checks.md": checks},
        f"{D}/30-checks.md:3: nothing bounds the cycle sanity -> checks -> sanity: "
        "no agent is part of it",
        "hint: lead back to a stage that changes files",
    )


def test_a_stage_that_returns_to_itself_without_an_agent_is_unbounded():
    refused(
        {"10-build.md": BUILD, "20-approve.md": on(PERSON, "return: approve")},
        f"{D}/20-approve.md:3: nothing bounds the cycle approve -> approve: no agent is part of it",
        "hint: lead back to a stage that changes files",
    )


@pytest.mark.parametrize("attempts", [0, -1, 21, 10**9])
def test_attempts_that_bound_nothing(attempts):
    refused(
        {"10-build.md": on(BUILD, "", attempts=attempts)},
        f"{D}/10-build.md:4: attempts must be 1 to 20, not {attempts}",
        "hint: for example `attempts: 3`",
    )


def test_approvals_out_of_range_or_of_an_author():
    refused(
        {
            "10-build.md": on(BUILD, "", approvals=2),
            "20-review.md": on(REVIEW, "", approvals=0),
        },
        f"{D}/10-build.md:4: build writes, so there is nothing to approve 2 times",
        f"{D}/20-review.md:4: approvals must be 1 to 10, not 0",
        "hint: set `approvals` at the stage that reviews it",
        "hint: for example `approvals: 2`",
    )


def test_a_prompt_variable_that_does_not_exist_and_a_prompt_that_is_none():
    refused(
        {
            "10-build.md": BUILD.replace("Build", "\n\nBuild\n{{ item.titel }}\n{{ secret }}\n"),
            "20-review.md": REVIEW + "\n{% if %}\n",
        },
        f"{D}/10-build.md:8: there is no variable item.titel",
        f"{D}/10-build.md:9: there is no variable secret",
        f"{D}/20-review.md:7: expected an expression, got 'end of statement block'",
        "hint: did you mean `item.title`?",
        "hint: known names: answer, attempt, changed, checks, commands, conventions, diff, findings, item, last, "
        "nonce, resumed, target, verdict_schema",
        "hint: write a literal brace pair as `{{ '{{' }}`",
    )


def test_checks_without_a_command_are_an_error_and_not_a_pass():
    files = {"10-build.md": BUILD, "20-checks.md": CHECKS}
    refused(
        files,
        ".gitmill/config.toml: [checks] names no command, "
        "so the stage checks would pass everything",
        'hint: add `test = "COMMAND"` to it; without the table items bring `$` criteria',
        policy="[checks]\n",
    )
    assert compiled(files, policy="").item_criteria
    assert compiled({"10-build.md": BUILD}, policy="[checks]\n").checks == ()


def test_a_loop_without_a_stage():
    for files in ({}, {"80-fix.md": on(BUILD, "pass: fix")}):
        refused(
            files,
            f"{D}/loop.md: the loop has no stage to begin with",
            "hint: add a file such as `10-build.md` beside it",
        )


def test_a_loop_without_an_author():
    refused(
        {"10-review.md": on(REVIEW, "return: review")},
        f"{D}/loop.md: no stage of the loop can change files",
        "hint: give a stage of type agent `permission: workspace`",
    )


def test_distinct_agents_that_the_mode_does_not_have():
    refused(
        {
            "10-build.md": BUILD,
            "20-sanity.md": SANITY,
            "30-review.md": on(REVIEW, "", distinct_from="[build, sanity, review, biuld]"),
        },
        f"{D}/30-review.md:4: review cannot be distinct from sanity: it has no other agent",
        f"{D}/30-review.md:4: review cannot be distinct from biuld: it has no other agent",
        f"{D}/30-review.md:4: review must not have the agent of build, but any serves both",
        "hint: the stages with an agent or a person are build, author",
        "hint: did you mean `build`?",
        "hint: give the roles more agents in `[modes.test]`",
        mode=in_mode(builder="any", reviewer="any"),
    )


def test_more_agents_for_a_role_are_asked_in_their_order():
    mode = in_mode(builder=["shell", "any"], reviewer=["any", "rules"])
    plan = compiled({"10-build.md": BUILD, "30-review.md": REVIEW}, mode=mode)
    assert [[agent.name for agent in stage.agents] for stage in plan.stages] == [
        ["shell", "any"], ["any", "rules"],
    ]  # fmt: skip
    assert plan.stage("build").agent == "shell"


@pytest.mark.parametrize(
    ("reviewers", "approvals", "why"),
    [
        (["rules", "any"], 1, ""),
        (["any"], 1, "review must not have the agent of author, but any serves both"),
        (["rules", "any"], 2, "review must not have the agent of author, but any serves both"),
        (["rules"], 2, "review needs 2 different agents and has 1"),
    ],
)
def test_the_requirements_of_a_mode_must_be_possible(reviewers, approvals, why):
    mode = replace(
        in_mode(builder=["any"], reviewer=reviewers), approvals={"review": approvals},
        distinct_from={"review": ("author", "review")},
    )  # fmt: skip
    files = {"10-build.md": BUILD, "30-review.md": REVIEW}
    if why:
        assert any(line.endswith(f": {why}") for line in error_lines(files, mode=mode))
    else:
        stage = compiled(files, mode=mode).stage("review")
        assert (stage.approvals, stage.distinct_from) == (1, ("author", "review"))


def test_a_gate_that_no_loop_has():
    refused(
        {"10-build.md": BUILD, "20-approve.md": PERSON},
        "modes/test.md: no stage of type person is called aprove",
        "hint: did you mean `approve`?",
        mode=in_mode({"aprove": When.NEVER}, builder="shell"),
    )


def test_a_kind_that_no_loop_or_more_than_one_loop_serves():
    loops = {name: read_loop(name, {"loop.md": "---\nserves: task\n---\n"}, TYPES) for name in "ab"}
    assert error_lines(loops=loops) == [
        "more than one loop serves items of kind task",
        "loops/a/loop.md: serves task",
        "loops/b/loop.md: serves task",
        "hint: exactly one `loop.md` has `serves: task`",
    ]
    assert error_lines(loops=loops, kind=Kind.GOAL) == [
        "no loop serves items of kind goal",
        "loops/a/loop.md: serves task",
        "loops/b/loop.md: serves task",
        "hint: exactly one `loop.md` has `serves: goal`",
    ]


# The plan as a document

SMALL = {"10-build.md": BUILD, "20-approve-it.md": PERSON}
DOCUMENT = """\
---
format: 1
mode: "test"
loop: "deliver"
serves: "task"
gates: {"approve-it": "high-risk"}
limits: {"returns": 6, "attempts": 3, "aborts": 3}
checks: [{"name": "test", "command": "make", "timeout": 600, "inputs": []}]
item_criteria: false
sanity: {"max_files": 1, "max_lines": 2, "max_file_size": 3, "protected": ["a", "/.worktreeinclude", ".gitmill/"], \
"forbidden_lines": ["b"]}
stages: [{"name": "build", "type": "agent", "role": "builder", "agents": [{"name": "shell", "command": [], "model": "", "options": []}], \
"permission": "workspace", "timeout": 1200, "idle": 600, "attempts": 3, "approvals": 1, \
"distinct_from": [], "edges": {"pass": "approve-it", "ask": "waiting", "fail": "build", \
"impossible": "blocked"}, "produces": "work"}, {"name": "approve-it", "type": "person", "role": "", "agents": [], "permission": "read-only", "timeout": 0, "idle": 0, "attempts": 0, "approvals": 1, \
"distinct_from": [], "edges": {"pass": "approved", "return": "build"}}]
---

# Plan of the loop deliver in mode test

| stage | type | agent | permission | tries | pass | return | ask | fail | impossible |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| build | agent | shell | workspace | 3 | approve-it | - | waiting | build | blocked |
| approve-it | person | - | - | - | approved | build | - | - | - |

## Prompt of build

```jinja
Build {{ item.title }}.
```
"""


def small():
    policy = (
        '[checks]\ntest = "make"\n[sanity]\nmax_files = 1\nmax_lines = 2\nmax_file_size = "3B"\n'
        'protected = ["a"]\nforbidden_lines = ["b"]\n'
    )
    return compiled(SMALL, policy=policy)


def test_the_document_is_one_that_people_can_read():
    assert small().render() == DOCUMENT
    assert small().hash12 == "81d258185ed9"


def test_the_same_input_gives_the_same_bytes_in_whatever_order_it_comes():
    loops = {"deliver": shipped()}
    files = {path.name: path.read_text() for path in sorted((SHIPPED / "deliver").iterdir())}
    backwards = {"deliver": read_loop("deliver", dict(reversed(files.items())), TYPES)}
    mode, agents = offline(), dict(reversed(AGENTS.items()))
    again = Mode(mode.name, mode.path, dict(reversed(mode.roles.items())), dict(mode.gates))
    one = compiled(loops=loops, mode=mode)
    two = compiled(loops=backwards, mode=again, agents=agents)
    assert one.render() == two.render()
    assert one.hash12 == two.hash12


def test_another_prompt_is_another_plan():
    plan = small()
    changed = compiled({**SMALL, "10-build.md": BUILD.replace("Build", "Make")})
    assert plan.hash12 != changed.hash12


def test_the_picture():
    assert small().mermaid() == (
        "flowchart TD\n"
        "    s_build[build]\n"
        "    s_approve_it{{approve-it}}\n"
        "    s_approved([approved])\n"
        "    s_waiting([waiting])\n"
        "    s_blocked([blocked])\n"
        "    s_build -->|pass| s_approve_it\n"
        "    s_build -->|impossible| s_blocked\n"
        "    s_build -->|fail| s_build\n"
        "    s_build -->|ask| s_waiting\n"
        "    s_approve_it -->|pass| s_approved\n"
        "    s_approve_it -->|return| s_build\n"
    )


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
prompts = texts | st.sampled_from([
    "```jinja\nx\n```\n", "a\n````\n---\n", "\n## Prompt of build\n\n```jinja\nfake\n```\n", "\r\n",
])  # fmt: skip
numbers, names = st.integers(0, 10**6), st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
lists = st.lists(texts, max_size=3).map(tuple)
stages = st.builds(
    PlannedStage,
    name=names,
    type=names,
    role=names,
    agents=st.lists(
        st.builds(PlannedAgent, names, command=lists, model=names, options=lists), max_size=2
    ).map(tuple),
    permission=st.sampled_from(Permission),
    timeout=numbers,
    idle=numbers,
    attempts=numbers,
    approvals=numbers,
    distinct_from=lists,
    edges=st.dictionaries(st.sampled_from(VerdictWord), names | st.sampled_from(ENDS)),
    prompt=prompts,
    settings=st.dictionaries(names, texts | st.lists(texts, max_size=2), max_size=2),
)
plans = st.builds(
    FrozenPlan,
    mode=names,
    loop=names,
    serves=st.sampled_from(Kind),
    stages=st.lists(stages, max_size=3).map(tuple),
    checks=st.lists(st.builds(PlannedCheck, texts, texts, numbers, lists), max_size=2).map(tuple),
    item_criteria=st.booleans(),
    sanity=st.builds(PlannedSanity, numbers, numbers, numbers, lists, lists),
    gates=st.dictionaries(names, st.sampled_from(When), max_size=3),
    limits=st.builds(PlannedLimits, numbers, numbers, numbers),
)


@given(plans)
def test_a_plan_reads_back_equal(plan):
    again = FrozenPlan.parse(plan.render())
    assert again == plan
    assert again.hash12 == plan.hash12


@given(plans)
def test_equal_plans_have_equal_bytes(plan):
    fields = vars(plan) | {"gates": dict(reversed(plan.gates.items()))}
    fields.pop("hash12", None)
    assert FrozenPlan(**fields).render() == plan.render()


@pytest.mark.parametrize(
    "change",
    [
        ('attempts": 3, "approvals', 'attempts": 9, "approvals'),
        ('timeout": 1200', 'timeout": "1200"'),
        ('"shell"', '"any"'),
        ("| build | agent | shell | workspace |", "| build | agent | shell | read-only |"),
        ("```jinja\nBuild", "```jinja\n```\nBuild"),
        ("## Prompt of build", "## Prompt of builder"),
        ("item_criteria: false", "item_criteria: false\nextra: 1"),
        ('mode: "test"', "mode: test"),
        ('mode: "test"\n', ""),
        ('serves: "task"', 'serves: "job"'),
        ("format: 1", "format: 2"),
        ("---\n\n# Plan", "\n\n# Plan"),
        ("stages: [", "stages: [["),
        ("deliver", "\udcff"),
        (DOCUMENT, ""),
    ],
)
def test_a_plan_that_was_changed_by_hand_is_refused(change):
    text = DOCUMENT.replace(*change)
    assert text != DOCUMENT
    with pytest.raises(BadDocumentError) as caught:
        FrozenPlan.parse(text, path="frozen/x.md")
    assert caught.value.message == "frozen/x.md: this is not a plan that gitmill compiled"
    assert shown(caught.value.hints) == ("compile it again with `gitmill compile`",)


@pytest.mark.parametrize(
    "change", [("Build {{", "Ruin {{"), ('"command": "make"', '"command": "true"')]
)
def test_a_change_that_still_reads_is_not_found_under_the_old_hash(change):
    assert FrozenPlan.parse(DOCUMENT.replace(*change)).hash12 != small().hash12
