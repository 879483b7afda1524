"""Loops and modes as people write them: reading them, and the messages of refusals."""

from pathlib import Path

import pytest

from gitmill.config import parse_policy
from gitmill.config.values import When
from gitmill.core.ids import Kind
from gitmill.core.plans.loop import Loop, Stage, merge_folders, read_loop
from gitmill.core.plans.mode import Mode, all_modes, choose_mode, read_mode
from gitmill.core.plans.plan import StageType
from gitmill.errors import BadDocumentError, CannotCompileError
from tests.support.hints import shown

SHIPPED = Path(__file__).parents[3] / "gitmill/loops"
LOOP = "---\nserves: task\n---\n"
BUILD = "---\ntype: agent\nrole: builder\n---\nBuild it.\n"


def folder(**stages):
    return {"loop.md": LOOP} | {name.replace("_", "-")[1:] + ".md": t for name, t in stages.items()}


def stage(text, file="10-build.md"):
    (only,) = read_loop("deliver", {"loop.md": LOOP, file: text}).stages
    return only


def error_lines(files):
    """Return message, evidence and hints of the error of `read_loop`, a line each."""
    if isinstance(files, str):
        files = {"loop.md": LOOP, "10-build.md": files}
    with pytest.raises(BadDocumentError) as caught:
        read_loop("deliver", files)
    error = caught.value
    return [error.message, *error.evidence, *(f"hint: {hint}" for hint in shown(error.hints))]


def test_a_stage_is_read_with_all_its_keys():
    text = (
        "---\n"
        "type: agent\n"
        "role: reviewer\n"
        "permission: read-only   # it only looks\n"
        "timeout: 1h30m\n"
        "idle: 5m\n"
        "attempts: 3\n"
        "approvals: 2\n"
        "distinct_from: build\n"
        "on: {return: build, fail: troubleshoot, impossible: blocked}\n"
        "---\n"
        "\n"
        "Review {{ diff }}.\n"
    )
    assert stage(text, "40-review.md") == Stage(
        name="review",
        number=40,
        path="loops/deliver/40-review.md",
        type=StageType.AGENT,
        role="reviewer",
        permission="read-only",
        timeout=5400,
        idle=300,
        attempts=3,
        approvals=2,
        distinct_from=("build",),
        on={"return": "build", "fail": "troubleshoot", "impossible": "blocked"},
        prompt="Review {{ diff }}.",
        prompt_line=13,
    )


def test_compiling_fills_in_omitted_keys():
    read = stage(BUILD)
    assert (read.permission, read.timeout, read.idle, read.attempts, read.when) == (None,) * 5
    assert (read.approvals, read.distinct_from, read.on) == (1, (), {})


def test_on_and_the_like_are_words_and_not_booleans():
    read = stage(
        "---\ntype: agent\nrole: no\non:\n  return: yes\n  fail: off\n---\nA\n", "40-review.md"
    )
    assert (read.role, read.on) == ("no", {"return": "yes", "fail": "off"})


def test_keys_know_their_line_whatever_precedes_them():
    text = "\ufeff\n---\n\n# a comment\ntype: agent\nrole: r\non:\n  ask: waiting\n---\n\nA\n"
    read = stage(text.replace("\n", "\r\n"))
    assert [read.where("role"), read.where("on"), read.where("on", "ask")] == [
        "loops/deliver/10-build.md:6",
        "loops/deliver/10-build.md:7",
        "loops/deliver/10-build.md:8",
    ]
    assert read.where("on", "fail") == "loops/deliver/10-build.md:7"
    assert read.where("timeout") == "loops/deliver/10-build.md:1"
    assert (read.prompt, read.prompt_line) == ("A", 11)


def test_the_body_of_a_stage_without_an_agent_is_for_readers():
    assert stage("---\ntype: checks\n---\nNot {{ a prompt.\n").prompt == ""


def test_stages_stand_in_the_order_of_their_files_and_side_stages_last():
    loop = read_loop("deliver", folder(_80_fix=BUILD, _20_b=BUILD, _10_a=BUILD, _79_last=BUILD))
    assert [s.name for s in loop.stages] == ["a", "b", "last", "fix"]
    assert [s.name for s in loop.main] == ["a", "b", "last"]


def test_the_loop_says_what_it_serves_and_its_limits():
    files = {"loop.md": "---\nserves: goal\nlimits: {returns: 2}\n---\n", "README.md": "for people"}
    assert read_loop("close", files, folder=".gitmill/loops/close") == Loop(
        "close", ".gitmill/loops/close/loop.md", Kind.GOAL, (), {"returns": 2}
    )


def test_a_project_replaces_stages_by_name_and_adds_others():
    shipped = {"loop.md": "L", "10-build.md": "B", "40-review.md": "R"}
    project = {"45-review.md": "mine", "35-security.md": "S", "10-build.md": "better"}
    assert merge_folders(shipped, project) == {
        "loop.md": "L", "45-review.md": "mine", "35-security.md": "S", "10-build.md": "better",
    }  # fmt: skip
    assert merge_folders(shipped, {"loop.md": "new"}) == shipped | {"loop.md": "new"}
    assert merge_folders({}, project) == project


P = "loops/deliver/10-build.md"
REFUSED = {
    "no front matter": (
        "type: agent\n",
        [
            f"{P}:1: there is no front matter",
            "1 | type: agent",
            "hint: the first line is `---`, and so is the one after the last key",
        ],
    ),
    "front matter that does not end": (
        "---\ntype: agent\n",
        [
            f"{P}:1: there is no front matter",
            "1 | ---",
            "hint: the first line is `---`, and so is the one after the last key",
        ],
    ),
    "fences in the body only": (
        "Text\n---\ntype: agent\n---\n",
        [
            f"{P}:1: there is no front matter",
            "1 | Text",
            "hint: the first line is `---`, and so is the one after the last key",
        ],
    ),
    "not YAML": (
        "---\ntype: agent\non: {return: build\n---\nA\n",
        [f"{P}:4: expected ',' or '}}', but got '<stream end>'", "4 | ---"],
    ),
    "a list": ("---\n- type\n---\nA\n", [f"{P}:2: expected `key: value`", "2 | - type"]),
    "key twice": (
        "---\ntype: agent\nrole: builder\ntype: checks\n---\nA\n",
        [f"{P}:4: duplicate key type", "4 | type: checks"],
    ),
    "verdict twice": (
        "---\ntype: checks\non:\n  fail: a\n  fail: b\n---\n",
        [f"{P}:5: duplicate key fail", "5 |   fail: b"],
    ),
    "key without a value": (
        "---\ntype: agent\nrole:\n---\nA\n",
        [f"{P}:3: the key role has no value", "3 | role:"],
    ),
    "an alias": (
        "---\ntype: &a agent\nrole: *a\n---\nA\n",
        [f"{P}:3: aliases are not supported; write the value out", "3 | role: *a"],
    ),
    "a key that is no word": (
        "---\n[a]: b\n---\n",
        [f"{P}:2: a key must be a word", "2 | [a]: b"],
    ),
    "nesting without end": ("---\ntype: " + "[" * 9000 + "\n---\n", None),
    "not UTF-8": ("---\ntype: \udcff\n---\n", [f"{P}:1: it is not UTF-8"]),
    "unknown key": (
        "---\ntype: agent\nrole: builder\npermision: full\n---\nA\n",
        [
            f"{P}:4: there is no key permision",
            "4 | permision: full",
            "hint: did you mean `permission`?",
        ],
    ),
    "unknown type": (
        "---\ntype: agnet\n---\nA\n",
        [
            f'{P}:2: type must be one of agent, sanity, checks, person, not "agnet"',
            "2 | type: agnet",
            "hint: for example `type: agent`",
        ],
    ),
    "no type": (
        "---\nrole: builder\n---\nA\n",
        [f"{P}:1: the key type is missing", "1 | ---", "hint: for example `type: agent`"],
    ),
    "bad duration and bad number": (
        "---\ntype: agent\nrole: a\nattempts: many\ntimeout: 20\n---\nA\n",
        [
            f'{P}:4: attempts must be a whole number, not "many"',
            "4 | attempts: many",
            (
                f'{P}:5: timeout must be a duration from "1s" to "7d", such as "90s", "20m" or '
                '"1h30m", not "20"'
            ),
            "hint: for example `attempts: 3`",
            "hint: for example `timeout: 20m`",
        ],
    ),
    "edges that are no mapping": (
        "---\ntype: checks\non: build\n---\n",
        [
            f'{P}:3: on must be a table, not "build"',
            "3 | on: build",
            "hint: for example `on: {return: build}`",
        ],
    ),
    "an edge to two stages": (
        "---\ntype: checks\non: {return: [a, b]}\n---\n",
        [
            f'{P}:3: on.return must be a text, not ["a", "b"]',
            "3 | on: {return: [a, b]}",
            "hint: for example `on: {return: build}`",
        ],
    ),
    "unknown gate": (
        "---\ntype: person\nwhen: often\n---\n",
        [
            f'{P}:3: when must be one of never, always, high-risk, not "often"',
            "3 | when: often",
            "hint: for example `when: high-risk`",
        ],
    ),
    "a key that this type does not have": (
        "---\ntype: person\ntimeout: 5m\n---\n",
        [
            f"{P}:3: a stage of type person has no key timeout",
            "3 | timeout: 5m",
            "hint: it has on, when",
        ],
    ),
    "an agent without a role": (
        "---\ntype: agent\n---\nA\n",
        [f"{P}:1: the key role is missing", "1 | ---", "hint: for example `role: reviewer`"],
    ),
    "an agent without a prompt": (
        "---\ntype: agent\nrole: builder\n---\n \n",
        [
            f"{P}:6: a stage of type agent needs a prompt",
            "6 | ",
            "hint: write it below the second `---`",
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_of_a_stage_name_file_line_key_and_expected_value(case):
    text, expected = REFUSED[case]
    if expected is None:
        assert error_lines(text)[0] == f"{P}:1: the front matter is nested too deeply"
    else:
        assert error_lines(text) == expected


def test_refusals_of_a_loop():
    assert error_lines({"10-build.md": BUILD}) == [
        "loops/deliver/loop.md is missing",
        "hint: it begins with `---`, `serves: task`, `---`",
    ]
    assert error_lines({"loop.md": "---\nserves: tasks\n---\n"}) == [
        (
            "loops/deliver/loop.md:2: serves must be one of analysis, goal, design, plan, task, "
            'not "tasks"'
        ),
        "2 | serves: tasks",
        "hint: for example `serves: task`",
    ]
    assert error_lines({"loop.md": "---\nserves: task\nlimits: {returns: 0}\n---\n"}) == [
        'loops/deliver/loop.md:3: limits.returns must be at least 1, not "0"',
        "3 | limits: {returns: 0}",
    ]


@pytest.mark.parametrize(
    "file", ["build.md", "1-build.md", "10-Build.md", "10-build.txt", "10_b.md"]
)
def test_a_file_that_is_no_stage_is_not_passed_over(file):
    assert error_lines({"loop.md": LOOP, file: BUILD}) == [
        f"loops/deliver/{file}: the file name of a stage must be NN-name.md",
        "hint: for example `35-security.md`",
    ]


def test_a_stage_has_one_file_and_a_name_of_its_own():
    assert error_lines(folder(_10_build=BUILD, _20_build=BUILD)) == [
        "loops/deliver/20-build.md: loops/deliver/10-build.md already is the stage build"
    ]
    assert error_lines(folder(_10_blocked=BUILD)) == [
        "loops/deliver/10-blocked.md: blocked is an end of every loop, not a stage"
    ]


OFFLINE = Mode(
    "offline",
    "loops/modes/offline.md",
    {"builder": ("shell",), "reviewer": ("rules",)},
    {"approve": When.HIGH_RISK},
)


def test_the_shipped_mode_needs_no_model():
    text = (SHIPPED / "modes/offline.md").read_text(encoding="utf-8")
    assert read_mode("loops/modes/offline.md", text) == OFFLINE


def test_a_mode_refuses_unknown_keys():
    with pytest.raises(BadDocumentError) as caught:
        read_mode("loops/modes/a.md", "---\nrole: {builder: shell}\n---\n")
    assert caught.value.message == "loops/modes/a.md:2: there is no key role"
    assert shown(caught.value.hints) == ("did you mean `roles`?",)


def test_a_mode_of_the_policy_changes_the_shipped_one_of_its_name():
    policy = parse_policy(
        '[modes.offline]\ngates = {approve = "always"}\n[modes.mine]\nroles = {builder = "x"}\n'
    )
    assert all_modes({"offline": OFFLINE}, policy) == {
        "offline": Mode(
            "offline", ".gitmill/config.toml", dict(OFFLINE.roles), {"approve": When.ALWAYS}
        ),
        "mine": Mode("mine", ".gitmill/config.toml", {"builder": ("x",)}, {}),
    }


def test_the_mode_is_the_one_that_was_named_else_that_of_the_policy():
    modes, policy = {"offline": OFFLINE}, parse_policy('mode = "mine"\n[modes.mine]\n')
    assert choose_mode(modes, policy).name == "mine"
    assert choose_mode(modes, policy, name="offline") is OFFLINE


def test_an_unknown_mode_is_refused():
    with pytest.raises(CannotCompileError) as caught:
        choose_mode({"offline": OFFLINE}, parse_policy('mode = "ofline"\n'))
    assert (caught.value.message, caught.value.evidence, shown(caught.value.hints)) == (
        "there is no mode ofline",
        ('.gitmill/config.toml: mode = "ofline"',),
        ("did you mean `offline`?",),
    )
    with pytest.raises(CannotCompileError) as caught:
        choose_mode({"offline": OFFLINE}, parse_policy(""), name="fast")
    assert (caught.value.message, caught.value.evidence, shown(caught.value.hints)) == (
        "there is no mode fast",
        (),
        ("the modes are offline",),
    )
