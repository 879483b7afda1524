"""Prompts: their variables, the quoting of data, and the shipped prompts."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.attempts.stage_types import all_types
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Item, Risk
from gitmill.core.lifecycle import Status
from gitmill.core.plans.loop import read_loop
from gitmill.core.plans.prompt import (
    VARIABLES,
    Convention,
    FailedCheck,
    JudgingCheck,
    LastRun,
    PromptValues,
    one_line,
    quote,
    render_prompt,
)
from gitmill.core.plans.template import PromptProblem, check_prompt
from gitmill.core.verdict import Finding, Severity
from gitmill.core.verdict_schema import json_schema, parse_verdict
from gitmill.errors import AttemptError

SHIPPED = Path(__file__).parents[3] / "gitmill/loops"
DAY = datetime(2026, 1, 2, tzinfo=UTC)


def item(**fields):
    body = fields.pop("body", "Do it.\n")
    return Item(**{
        "id": "t-k3f9x", "title": "Fix the parser", "kind": Kind.TASK, "status": Status.RUNNING,
        "event": "claimed", "created": DAY, "since": DAY, "document": Document.new({}, body),
        **fields,
    })  # fmt: skip


def values(**fields):
    return PromptValues(**{
        "item": item(), "attempt": 1, "of": 3, "target": "main", "nonce": "n-1", **fields,
    })  # fmt: skip


FULL = values(
    item=item(risk=Risk.HIGH, priority=1, paths=("src/",), criteria=("$ make", "it is fast")),
    attempt=2,
    findings=(Finding("wrong", Severity.HIGH, "a.py", 3), Finding("one\ntwo")),
    checks=(FailedCheck("test", "make test", "1 failed\n"),),
    diff="+ a\n",
    changed=("a.py",),
    answer="yes",
    conventions=(Convention("AGENTS.md", "Be brief.\n"),),
    commands=(JudgingCheck("test", "pytest", True),),
    last=LastRun("build", "crashed", "claude@host", "it broke", "boom\n"),
)


def test_each_variable_has_its_value():
    shown = {
        name: render_prompt("{{ " + name.replace("[]", "[0]") + " | string }}", FULL)[:-1]
        for name in VARIABLES
        if name not in ("findings", "checks", "commands", "conventions", "last", "verdict_schema")
    }
    assert shown == {
        "item.id": "t-k3f9x",
        "item.title": "Fix the parser",
        "item.body": "```\nDo it.\n```",
        "item.kind": "task",
        "item.risk": "high",
        "item.priority": "1",
        "item.paths": "['src/']",
        "item.criteria": "['$ make', 'it is fast']",
        "attempt.number": "2",
        "attempt.of": "3",
        "findings[].number": "1",
        "findings[].severity": "high",
        "findings[].file": "a.py",
        "findings[].line": "3",
        "findings[].message": "wrong",
        "checks[].name": "test",
        "checks[].command": "make test",
        "checks[].output": "```\n1 failed\n```",
        "commands[].name": "test",
        "commands[].command": "pytest",
        "commands[].red": "True",
        "diff": "```diff\n+ a\n```",
        "changed": "['a.py']",
        "conventions[].path": "AGENTS.md",
        "conventions[].text": "```\nBe brief.\n```",
        "last.stage": "build",
        "last.exit": "crashed",
        "last.by": "claude@host",
        "last.summary": "it broke",
        "last.output": "```\nboom\n```",
        "resumed": "False",
        "target": "main",
        "nonce": "n-1",
        "answer": "```\nyes\n```",
    }
    schema = render_prompt("{{ verdict_schema }}", FULL)
    assert json.loads(schema.removeprefix("```json").removesuffix("```\n")) == json_schema()


def test_absent_values_are_empty_and_false():
    empty = values(item=item(body=" \n"))
    for name in (
        "item.body",
        "item.paths",
        "item.criteria",
        "findings",
        "checks",
        "diff",
        "answer",
    ):
        assert render_prompt(f"{{% if {name} %}}yes{{% else %}}no{{% endif %}}", empty) == "no\n"


def test_a_finding_of_several_lines_is_fenced():
    text = render_prompt("{% for f in findings %}- {{ f.message }}\n{% endfor %}", FULL)
    assert text == "- wrong\n- \n```\none\ntwo\n```\n"


@given(st.text(alphabet="`~\n a", max_size=60))
def test_nothing_in_a_quoted_text_closes_its_fence(text):
    quoted = quote(text, "text")
    if not text.strip():
        assert quoted == ""
        return
    first, *inner, last = quoted.split("\n")
    assert re.fullmatch("`{3,}text", first)
    assert last == first.removesuffix("text")
    assert last not in "\n".join(inner)
    assert "\n".join(inner) == text.removesuffix("\n")


def test_a_reviewer_sees_the_characters_of_a_diff_that_nobody_sees():
    text = render_prompt(
        "{{ diff }}\n{{ changed[0] }}", values(diff="+ a\u202eb\n", changed=("a\u200b",))
    )
    assert text == "```diff\n+ a\\u202eb\n```\na\\u200b\n"


def test_a_prompt_can_quote_with_the_filter():
    assert render_prompt("{{ '```' | quote }}", values()) == "````\n```\n````\n"


@given(st.text(max_size=40))
def test_one_line_is_one_line(text):
    assert len((one_line(text) + "x").splitlines()) == 1


def test_text_of_others_is_not_a_template():
    mine = item(title="{{ 7 * 7 }}", body="{% include 'x' %}")
    text = render_prompt("{{ item.title }}\n{{ item.body }}", values(item=mine))
    assert text == "{{ 7 * 7 }}\n```\n{% include 'x' %}\n```\n"


def test_text_that_is_not_utf8_can_still_be_sent():
    mine = values(item=item(body="a\udcffb"))
    assert render_prompt("{{ item.body }}", mine) == "```\na?b\n```\n"


def test_a_template_reaches_nothing_but_its_variables():
    with pytest.raises(AttemptError) as caught:
        render_prompt("{{ item.__class__.__mro__ }}", values())
    assert caught.value.message == (
        "the prompt could not be rendered: "
        "access to attribute '__class__' of 'dict' object is unsafe."
    )


KNOWN = (
    "known names: answer, attempt, changed, checks, commands, conventions, diff, findings, item, last, "
    "nonce, resumed, target, verdict_schema"
)
BRACES = "write a literal brace pair as `{{ '{{' }}`"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Build {{ item.title }} for {{ target }}.", []),
        ("{% for f in findings %}{{ f.file }}:{{ loop.index }}{% endfor %}", []),
        ("{% set item = 3 %}{{ item }}", []),
        ("{% for x in range(3) %}{{ x.real }}{% endfor %}", []),
        (
            "Hello\n{{ itm.title }}",
            [PromptProblem(2, "there is no variable itm", "did you mean `item`?")],
        ),
        (
            "{{ password }}",
            [
                PromptProblem(
                    1,
                    "there is no variable password",
                    KNOWN,
                )
            ],
        ),
        (
            "{% if findings %}\n{{ item.titel }}{% endif %}",
            [PromptProblem(2, "there is no variable item.titel", "did you mean `item.title`?")],
        ),
        (
            "{{ attempt['count'] }}",
            [PromptProblem(1, "there is no variable attempt.count", "known names: number, of")],
        ),
        (
            "{% for f in findings %}\n\n{{ f.mesage }}{% endfor %}",
            [PromptProblem(3, "there is no variable f.mesage", "did you mean `f.message`?")],
        ),
        (
            "{{ a }}\n{{ b }}\n{{ a }}",
            [
                PromptProblem(1, "there is no variable a", KNOWN),
                PromptProblem(2, "there is no variable b", KNOWN),
            ],
        ),
        (
            "line\n{% if %}",
            [
                PromptProblem(
                    2,
                    "expected an expression, got 'end of statement block'",
                    BRACES,
                )
            ],
        ),
        (
            "{% for x in findings %}",
            [
                PromptProblem(
                    1,
                    (
                        "unexpected end of template. Jinja was looking for the following tags: "
                        "'endfor' or 'else'. The innermost block that needs to be closed is 'for'"
                    ),
                    BRACES,
                )
            ],
        ),
        (
            "\n{{ diff | shorten }}",
            [
                PromptProblem(
                    2,
                    "no filter named 'shorten'",
                    "the filters are those of Jinja and `quote`",
                )
            ],
        ),
        (
            "{% include 'other.md' %}",
            [
                PromptProblem(
                    1,
                    "a prompt cannot include another template",
                    "copy the text of the other template into the prompt",
                )
            ],
        ),
        (
            "{{ findings[0].message }}",
            [
                PromptProblem(
                    1,
                    ("the prompt could not be rendered: list object has no element 0"),
                    "make it work for a first attempt and for a later one",
                )
            ],
        ),
        (
            "{% if findings %}{{ attempt.number + 'x' }}{% endif %}",
            [
                PromptProblem(
                    1,
                    (
                        "the prompt could not be rendered: "
                        "unsupported operand type(s) for +: 'int' and 'str'"
                    ),
                    "make it work for a first attempt and for a later one",
                )
            ],
        ),
    ],
)
def test_prompts_are_checked_before_they_run(template, expected):
    assert check_prompt(template) == expected


def shipped():
    files = {path.name: path.read_text() for path in (SHIPPED / "deliver").iterdir()}
    return {s.name: s.prompt for s in read_loop("deliver", files, all_types()).stages if s.prompt}


def test_the_shipped_prompts_hold_in_a_first_and_a_later_round():
    prompts = shipped()
    assert list(prompts) == ["build", "review", "troubleshoot", "consult"]
    for name, prompt in prompts.items():
        assert check_prompt(prompt) == []
        for given_values in (values(diff="+ a\n"), FULL, replace(FULL, resumed=True)):
            text = render_prompt(prompt, given_values)
            assert "\n\n\n" not in re.sub(r"(?ms)^```.*?^```$", "fenced", text), name
            assert given_values.resumed or "t-k3f9x: Fix the parser" in text
            assert "- `nonce` is `n-1`." in text


def test_the_shipped_prompts_carry_findings_checks_criteria_and_the_change():
    prompts = shipped()
    build, review = (render_prompt(prompts[name], FULL) for name in ("build", "review"))
    for text in (build, review):
        assert "- $ make\n- it is fast\n" in text
        assert "1. [high] a.py:3: wrong\n2. [medium] \n```\none\ntwo\n```\n" in text
        assert "# The answer to your question\n\n```\nyes\n```\n" in text
    assert "The check test failed: `make test`\n\n```\n1 failed\n```\n" in build
    assert "files:\n\n- a.py\n\n```diff\n+ a\n```\n" in review
    assert "`AGENTS.md`:\n\n```\nBe brief.\n```\n" in build
    assert "`AGENTS.md`:\n\n```\nBe brief.\n```\n" in review
    assert "- `earlier` has one entry for each numbered finding" in review
    for name in ("troubleshoot", "consult"):
        text = render_prompt(prompts[name], FULL)
        assert "stage build ended as `crashed` by claude@host: it broke\n\n```\nboom" in text


def test_a_resumed_session_gets_only_new_text():
    build = shipped()["build"]
    again = render_prompt(build, replace(FULL, resumed=True))
    assert "Do it." not in again
    assert "1. [high] a.py:3: wrong\n" in again
    assert "- `nonce` is `n-1`." in again
    assert len(again) < len(render_prompt(build, FULL))


def test_an_agent_that_repeats_its_prompt_has_given_no_verdict():
    for prompt in shipped().values():
        assert parse_verdict(render_prompt(prompt, FULL), nonce="n-1") is None


def test_jinja_is_imported_only_when_a_prompt_is_used():
    code = "import sys, gitmill.core.plans.prompt; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
