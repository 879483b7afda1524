"""The behaviour of each built-in agent with a real process."""

from __future__ import annotations

import json
import sys

import pytest

from gitmill.agents import base
from gitmill.agents.base import ExitKind
from gitmill.core.verdict import VerdictWord


def python(code: str) -> dict[str, object]:
    return {"command": [sys.executable, "-c", code]}


def test_shell_runs_the_script_in_the_worktree(attempt, execute):
    asked = attempt(script='echo "$GITMILL_ATTEMPT" > made.txt')
    report = base.load("shell").run(asked, execute)
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.PASS)
    assert (asked.workdir / "made.txt").read_text() == "1\n"


def test_shell_stops_at_the_first_failing_line_whatever_it_printed(attempt, execute):
    failing = "echo fine\necho 'no such remote' >&2\nfalse\ntouch never"
    report = base.load("shell").run(attempt(script=failing), execute)
    assert report.verdict.word is VerdictWord.FAIL
    assert report.verdict.summary == "the script exited 1: no such remote"
    assert "fine" in report.output
    assert not (attempt().workdir / "never").exists()


def test_shell_without_a_script_asks(attempt, execute):
    report = base.load("shell").run(attempt(), execute)
    assert report.verdict.word is VerdictWord.ASK


def test_shell_that_never_ends_is_timed_out(attempt, execute):
    report = base.load("shell").run(attempt(script="sleep 60", wall=0.5), execute)
    assert (report.exit, report.verdict) == (ExitKind.TIMED_OUT, None)


@pytest.mark.parametrize(
    ("criteria", "outside", "word"),
    [
        (("$ true",), (), VerdictWord.PASS),
        (("$ true", "$ exit 3"), (), VerdictWord.RETURN),
        (("$ true", "reads well"), (), VerdictWord.ASK),
        (("reads well",), (), VerdictWord.ASK),
        ((), (), VerdictWord.ASK),
        (("$",), (), VerdictWord.ASK),
        (("$ true",), ("other.txt",), VerdictWord.RETURN),
        (("$ false", "reads well"), (), VerdictWord.RETURN),
        (("$ no-such-program-here",), (), VerdictWord.RETURN),
    ],
)
def test_rules_never_passes_an_uncheckable_criterion(attempt, execute, criteria, outside, word):
    asked = attempt(role="reviewer", permission="read-only", criteria=criteria, outside=outside)
    report = base.load("rules").run(asked, execute)
    assert report.verdict.word is word
    assert bool(report.verdict.findings) == (word is VerdictWord.RETURN)


def test_rules_reports_the_failed_criterion_and_its_output(attempt, execute):
    asked = attempt(role="reviewer", criteria=("$ echo why; exit 3",))
    report = base.load("rules").run(asked, execute)
    assert report.verdict.findings[0].message == "criterion `$ echo why; exit 3` exited 3\nwhy"


def test_command_gets_the_prompt_and_answers_with_a_verdict(attempt, execute):
    code = (
        "import json,sys; p=sys.stdin.read();"
        'print(json.dumps({"verdict": "return", "summary": str(len(p)), "findings": ["x"]}))'
    )
    asked = attempt(role="reviewer", prompt="é" * 500_000, settings=python(code))
    report = base.load("command").run(asked, execute)
    assert report.verdict.word is VerdictWord.RETURN
    assert report.verdict.summary == "500000"


def test_a_verdict_of_command_within_other_text_needs_the_nonce(attempt, execute):
    def block(word: str, nonce: str) -> str:
        return (
            "```json\n" + json.dumps({"verdict": word, "summary": "s", "nonce": nonce}) + "\n```\n"
        )

    for text, word in (
        ("quoted:\n" + block("pass", "other") + block("return", "n0nce"), VerdictWord.RETURN),
        (block("pass", "other"), None),
    ):
        asked = attempt(role="reviewer", settings=python(f"print({text!r})"))
        report = base.load("command").run(asked, execute)
        if word is None:
            assert report.exit is ExitKind.GARBLED
            assert report.verdict.word is VerdictWord.FAIL
        else:
            assert report.verdict.word is word


def test_command_as_builder_passes_only_with_exit_status_0(attempt, execute):
    passed = base.load("command").run(attempt(settings=python("print('done')")), execute)
    assert passed.verdict.word is VerdictWord.PASS
    crashed = base.load("command").run(attempt(settings=python("raise SystemExit(9)")), execute)
    assert crashed.exit is ExitKind.CRASHED
    assert crashed.verdict.word is VerdictWord.FAIL


def test_a_missing_command_is_unavailable_and_costs_no_attempt(attempt, execute):
    asked = attempt(settings={"command": ["/no/such/program"]})
    report = base.load("command").run(asked, execute)
    assert report.exit in base.BLAMELESS
    assert report.verdict is None
    assert not base.load("command").probe({"command": ["/no/such/program"]}).found


def test_the_run_log_schema_has_every_exit_kind():
    from gitmill.core.runlog import EXITS

    assert {kind.value for kind in ExitKind} == EXITS


def test_status_lines_of_command_are_reported_and_not_part_of_its_output(attempt, execute):
    code = (
        "import json; print(json.dumps({'progress': 'reads'}), flush=True);"
        "print(json.dumps({'usage': {'input': 10, 'output': 5}, 'cost': 0.25}));"
        "print('{\"progress\": 1, \"more\": 2}'); print('text')"
    )
    seen: list[str] = []
    asked = attempt(settings=python(code), progress=seen.append)
    report = base.load("command").run(asked, execute)
    assert seen == ["reads", '{"progress": 1, "more": 2}', "text"]
    assert (report.usage, report.cost) == (base.Usage(10, 5), 0.25)
    assert report.output == '{"progress": 1, "more": 2}\ntext'


@pytest.mark.parametrize(
    ("status", "kind"), [(69, ExitKind.UNAVAILABLE), (75, ExitKind.RATE_LIMITED),
                         (77, ExitKind.UNAUTHORISED)],
)  # fmt: skip
def test_exit_statuses_of_command_for_outages_cost_no_attempt(attempt, execute, status, kind):
    code = f"import sys; print('{{\"retry_after\": 60}}'); sys.stderr.write('no more'); sys.exit({status})"
    report = base.load("command").run(attempt(settings=python(code)), execute)
    assert (report.exit, report.verdict, report.problem) == (kind, None, "no more")
    assert report.retry_after == 60


def test_command_is_ended_when_it_exceeds_its_budget(attempt, execute):
    code = "import time; print('{\"cost\": 3}', flush=True); time.sleep(60)"
    asked = attempt(settings=python(code), spend=lambda usage, cost: "too much" if cost else "")
    report = base.load("command").run(asked, execute)
    assert (report.exit, report.problem, report.cost) == (ExitKind.OVER_BUDGET, "too much", 3.0)


def test_the_output_of_a_program_goes_to_the_transcript(attempt, execute, tmp_path):
    path = tmp_path / "transcript"
    base.load("shell").run(attempt(script="echo out; echo err >&2", transcript=path), execute)
    assert sorted(path.read_text().split()) == ["err", "out"]
