"""Run logs: the record of an attempt, for programs above and for people below."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.document import Document
from gitmill.core.runlog import (
    OUTPUT_LIMIT,
    RunLog,
    StageResult,
    finding_json,
    findings_text,
    longest_run,
    read_findings,
)
from gitmill.core.verdict import Finding, Severity, Verdict, VerdictWord

RETURN = Verdict(
    VerdictWord.RETURN,
    "Two things.",
    (
        Finding("wrong\nbecause of this", Severity.HIGH, "a.py", 3),
        Finding("unused", Severity.LOW, "b.py"),
    ),
)


def log(**fields):
    return RunLog(**{
        "item": "t-k3f9x", "stage": "build", "verdict": RETURN, "by": "shell@host",
        "started": "2026-01-02T03:04:05Z", **fields,
    })  # fmt: skip


def test_a_run_log_is_a_document():
    full = log(
        seconds=1.23456,
        agent="shell",
        claim="c1",
        plan="0" * 12,
        stage_results=[
            StageResult("build", "shell", "pass", 1.0),
            StageResult("checks", "gitmill", "return", 0.2),
        ],
        facts={"base": "b", "work": "", "usage": None, "cost": 0},
        checks=[{"name": "test", "passed": False}],
        output="out\n```\nmore\n\n",
    )
    assert full.document(3).text == (
        "---\n"
        'item: "t-k3f9x"\n'
        "number: 3\n"
        'stage: "build"\n'
        'stages: [{"stage": "build", "agent": "shell", "verdict": "pass", "seconds": 1.0}, '
        '{"stage": "checks", "agent": "gitmill", "verdict": "return", "seconds": 0.2}]\n'
        'verdict: "return"\n'
        'exit: "completed"\n'
        'by: "shell@host"\n'
        'agent: "shell"\n'
        'claim: "c1"\n'
        'plan: "000000000000"\n'
        'started: "2026-01-02T03:04:05Z"\n'
        "seconds: 1.23\n"
        'base: "b"\n'
        "cost: 0\n"
        'summary: "Two things."\n'
        'findings: [{"severity": "high", "file": "a.py", "line": 3, '
        '"message": "wrong\\nbecause of this"}, '
        '{"severity": "low", "file": "b.py", "message": "unused"}]\n'
        'checks: [{"name": "test", "passed": false}]\n'
        "---\n"
        "\n"
        "Two things.\n"
        "\n"
        "- high: a.py:3: wrong\n"
        "      because of this\n"
        "- low: b.py: unused\n"
        "\n"
        "````text\n"
        "out\n"
        "```\n"
        "more\n"
        "````\n"
    )


def test_unknown_fields_are_omitted():
    document = log(verdict=Verdict(VerdictWord.PASS)).document(1)
    assert list(document.fields) == [
        "item", "number", "stage", "verdict", "exit", "by", "started", "seconds", "summary",
    ]  # fmt: skip
    assert document.body == "\n\n"


severities = st.sampled_from(Severity)
texts = st.text(min_size=1)
findings = st.builds(
    Finding, texts, severities, file=st.just("") | st.text(), line=st.none() | st.integers(1, 99)
)


@given(st.lists(findings, max_size=3))
def test_findings_are_read_as_they_were_written(found):
    verdict = Verdict(VerdictWord.RETURN, "why", tuple(found))
    document = Document.from_bytes(log(verdict=verdict).document(1).to_bytes())
    assert read_findings(document) == tuple(found)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, ()),
        ("text", ()),
        (5, ()),
        ({"a": 1}, ()),
        (["text", 5, None, {"severity": "fatal"}, {"severity": []}, {"message": "m"}],
         (Finding("m"),)),
        ([{"severity": "low", "message": 5, "file": 6, "line": "7"}],
         (Finding("5", Severity.LOW, "6"),)),
    ],
)  # fmt: skip
def test_findings_that_somebody_broke_are_left_out(written, read):
    assert read_findings(Document.new({"findings": written}, "")) == read


@given(st.lists(findings, max_size=3))
def test_each_finding_is_one_point_of_the_list(found):
    lines = findings_text(found).splitlines()
    assert sum(line.startswith("- ") for line in lines) == len(found)
    assert all(line.startswith(("- ", "      ")) for line in lines)


def test_a_place_that_the_message_names_itself_is_not_named_again():
    assert findings_text([Finding("a.py is large", file="a.py")]) == "- medium: a.py is large"
    assert findings_text([Finding("is large", file="a.py")]) == "- medium: a.py: is large"


@given(st.text("`x\n~", max_size=30))
def test_no_output_closes_its_fence(output):
    body = log(verdict=Verdict(VerdictWord.PASS, "s"), output=output).document(1).body
    if not output.strip():
        assert "text\n" not in body
        return
    fence = body.split("\n")[3].removesuffix("text")
    assert len(fence) >= 3
    assert longest_run(output) < len(fence)
    assert body.split("\n").count(fence) == 1
    assert body.endswith(f"\n{output.rstrip()}\n{fence}\n")


def test_of_long_output_the_end_is_kept():
    body = log(output="a" * OUTPUT_LIMIT + "end").document(1).body
    assert body.endswith("aend\n```\n")
    assert len(body) < OUTPUT_LIMIT + 200


@given(findings)
def test_a_finding_omits_empty_fields(found):
    told = finding_json(found)
    assert set(told) <= {"severity", "file", "line", "message"}
    assert ("file" in told, "line" in told) == (bool(found.file), found.line is not None)
    assert json.loads(json.dumps(told)) == told
