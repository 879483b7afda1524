"""The real CLIs, at their pinned versions, against the model server: the promises of each adapter.

The text of a `promise` is a row of the table in docs/agents.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmill.agents.base import ExitKind, Usage
from gitmill.core.verdict import VerdictWord
from tests.support.clis import KEY
from tests.support.model import Answer, Say, Shell, Tokens, Write
from tests.support.promises import promise

AGAIN = "Once more.\n\n- `nonce` is `n0nce`.\n"
DID = [Write("a.txt", "grüße\n"), Shell("cat a.txt"), Answer("pass", "Made a.txt: grüße, 日本.")]


@promise("edits files and returns a verdict, by its own schema option if it has one")
def test_edits_are_made_and_the_structured_verdict_is_read(name, ask, work):
    lines: list[str] = []
    report = ask(name, DID, tokens=Tokens(1000, 50, 100), progress=lines.append)
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert report.verdict.word is VerdictWord.PASS
    assert report.verdict.summary == "Made a.txt: grüße, 日本."
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert "häßlich → schön, 日本語" in ask.seen[0].asked.prompt
    assert report.session
    assert any("a.txt" in line for line in lines)
    assert all("\n" not in line for line in lines)
    assert report.usage == Usage(3000, 150, 300)
    assert report.cost is not None
    assert report.cost > 0
    assert KEY not in report.output


@promise("a verdict in a fenced block with the attempt's nonce")
def test_a_fenced_verdict_counts_only_with_the_nonce_of_the_attempt(name, ask):
    report = ask(name, [Answer("return", "No.", [{"message": "wrong"}], fenced=True)])
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.RETURN)
    assert report.verdict.findings[0].message == "wrong"
    foreign = Answer("pass", "Quoted.", nonce="foreign", fenced=True)
    report = ask(name, [foreign], [foreign])
    assert (report.exit, report.verdict.word) == (ExitKind.GARBLED, VerdictWord.FAIL)


@pytest.mark.slow
@promise("one repair question in the same session")
def test_an_unreadable_verdict_gets_one_repair_question(name, ask):
    report = ask(name, [Say("All is well.")], [Answer("pass", "Asked again.")])
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Asked again.")
    if name != "claude":  # Claude Code repeats the question itself if the answer breaks the schema
        assert report.usage.input == 2000
    assert len(ask.seen[-1].asked.people) == 2
    report = ask(name, [Say("All is well.")], [Say("Really.")])
    assert report.exit is ExitKind.GARBLED


@pytest.mark.slow
@promise("resumes its session; usage and cost are those of each run")
def test_a_resumed_session_reports_the_usage_of_each_run(name, ask, tmp_path: Path):
    cost = []
    again = first = ask(name, [Answer("pass", "One.")], tokens=Tokens(1000, 50))
    for number in (2, 3):
        turns = [[Answer("pass", f"{n}.")] for n in range(1, number + 1)]
        other = tmp_path / f"work-{number}"  # the next attempt may run in another worktree
        other.mkdir()
        again = ask(
            name, *turns, tokens=Tokens(2000, 70), session=again.session, followup=AGAIN,
            workdir=other,
        )  # fmt: skip
        assert again.exit is ExitKind.COMPLETED
        assert (again.session == first.session) == (name != "gemini")  # Gemini CLI assigns a new id
        assert again.verdict.summary == f"{number}."
        assert len(ask.seen[0].asked.people) == number
        assert (again.usage.input, again.usage.output) == (2000, 70)
        cost.append(again.cost)
    assert cost[0] == pytest.approx(cost[1])
    assert cost[0] > first.cost


@pytest.mark.slow
@promise("a missing session is replaced by a new one, with the whole prompt")
def test_a_missing_session_is_replaced_by_a_new_one(name, ask):
    missing = "0b5c3b9e-1c7e-4d0a-9d55-3c2f8f1f7a10"
    missing = {"opencode": "ses_e008737d0ffeGeqgn9T79EGtT3"}.get(name, missing)
    report = ask(name, [Answer("pass", "New.")], session=missing, followup="Go on.")
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "New.")
    assert report.session
    assert report.session != missing
    assert "häßlich" in ask.seen[0].asked.prompt


@promise(
    "the CLI's default model, recorded in the run log",
    but={"gemini": "not tested", "opencode": "name one"},
)
def test_without_a_model_the_cli_chooses_its_default(name, ask, work):
    report = ask(name, DID, model="", tokens=Tokens(1000, 50, 100))
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.PASS)
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert report.model == ask.seen[0].asked.model
    assert report.usage == Usage(3000, 150, 300)
    # An unknown price is not 0.
    assert (report.cost is None) == (name == "codex")
