"""The conversation that all CLIs share: its prompts, its verdict, its repair question."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gitmill.agents import _turns
from gitmill.agents.base import Attempt, ExitKind, Usage
from gitmill.core.verdict import VerdictWord
from gitmill.supervision.local import LocalEngine
from tests.support import talker

PASS = {"verdict": "pass", "summary": "fine"}


class Talk:
    """An attempt with the talker, and the prompts that the talker received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("work", "scratch", "home"):
            (folder / name).mkdir()

    def run(self, *steps: dict, **more):
        (self.folder / "builder.json").write_text(json.dumps(steps))
        self.progress: list[str] = []
        values: dict = {
            "item": "t-k3f9x", "title": "A title", "role": "builder", "permission": "workspace",
            "number": 1, "prompt": "All of it. `nonce` is `n0nce`.", "nonce": "n0nce",
            "workdir": self.folder / "work", "scratch": self.folder / "scratch",
            "findings": self.folder / "scratch" / "findings.md", "home": self.folder / "home",
            "env": os.environ | {"TALKER": str(self.folder)}, "wall": 60, "idle": 60,
            "progress": self.progress.append,
        }  # fmt: skip
        return talker.run(Attempt(**(values | more)), LocalEngine(claim="c0ffee").execute)

    @property
    def asked(self) -> list[dict]:
        files = sorted(self.folder.glob("builder.asked-*"))
        return [json.loads(file.read_text()) for file in files]


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def test_a_block_with_the_nonce_is_the_verdict(talk: Talk):
    report = talk.run({"verdict": PASS, "usage": {"input": 5, "output": 2}, "cost": 0.5})
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.PASS)
    assert (report.usage, report.cost, report.session) == (Usage(5, 2), 0.5, "s-builder-0")
    assert [asked["session"] for asked in talk.asked] == [""]


def test_structured_output_overrides_the_text(talk: Talk):
    answer = {
        "verdict": PASS,
        "structured": {"verdict": "ask", "summary": "Which?", "nonce": "n0nce"},
    }
    assert talk.run(answer).verdict.word is VerdictWord.ASK


@pytest.mark.parametrize(
    "unreadable",
    [
        {"text": "I passed it."},
        {"text": '```json\n{"verdict": "pass", "nonce": "of another attempt"}\n```'},
        {"structured": {"verdict": "very good"}},
        {"verdict": {"verdict": "return"}},  # returns without a finding
        {"verdict": PASS, "structured": {"verdict": "fails"}},
        {"verdict": {"verdict": "fail"}, "structured": PASS | {"nonce": "n0nce"}},
    ],
)
def test_an_unreadable_verdict_gets_one_repair_question_in_the_same_session(talk: Talk, unreadable):
    report = talk.run(
        unreadable | {"usage": {"input": 5}}, {"verdict": PASS, "usage": {"input": 3}}
    )
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.PASS)
    assert report.usage == Usage(input=8)
    assert [asked["session"] for asked in talk.asked] == ["", "s-builder-0"]
    assert "Change nothing" in talk.asked[1]["prompt"]
    assert talk.progress == ["the verdict cannot be used, asking again"]


def test_two_unreadable_answers_are_garbled_and_never_a_pass(talk: Talk):
    report = talk.run({"text": "all good"}, {"text": "pass!"})
    assert (report.exit, report.verdict.word) == (ExitKind.GARBLED, VerdictWord.FAIL)
    assert len(talk.asked) == 2


def test_without_a_session_there_is_no_repair_question(talk: Talk):
    report = talk.run({"text": "all good", "session": ""})
    assert report.exit is ExitKind.GARBLED
    assert len(talk.asked) == 1


def test_a_resumed_session_gets_only_the_followup(talk: Talk):
    talk.run({"verdict": PASS}, session="s-1", followup="New. `nonce` is `n0nce`.")
    assert talk.asked == [{"session": "s-1", "prompt": "New. `nonce` is `n0nce`."}]


def test_a_missing_session_is_replaced_by_one_with_the_whole_prompt(talk: Talk):
    report = talk.run(
        {"exit": "crashed", "forgotten": True}, {"verdict": PASS},
        session="s-1", followup="New. `nonce` is `n0nce`.",
    )  # fmt: skip
    assert report.verdict.word is VerdictWord.PASS
    assert [asked["session"] for asked in talk.asked] == ["s-1", ""]
    assert talk.asked[1]["prompt"].startswith("All of it.")


@pytest.mark.parametrize(
    ("earlier", "wrong"),
    [
        ([], "`earlier` has no answer to finding 1 of the last round"),
        ([{"number": 1, "resolved": True}], "`earlier` has no answer to finding 2"),
        (
            [{"number": 1, "resolved": True}, {"number": 2, "resolved": False}],
            "it passes although finding 2 of the last round is not resolved",
        ),
    ],
)
def test_a_pass_must_answer_each_earlier_finding(talk: Talk, earlier, wrong):
    good = [{"number": n, "resolved": True} for n in (1, 2)]
    report = talk.run(
        {"verdict": PASS | {"earlier": earlier}}, {"verdict": PASS | {"earlier": good}}, earlier=2
    )
    assert report.verdict.word is VerdictWord.PASS
    assert wrong in talk.asked[1]["prompt"]


def test_an_outage_is_no_verdict(talk: Talk):
    report = talk.run({"verdict": PASS, "exit": "rate-limited", "problem": "429"})
    assert (report.exit, report.problem) == (ExitKind.RATE_LIMITED, "429")
    assert report.verdict.word is VerdictWord.FAIL


def test_a_run_over_budget_ends_whatever_its_verdict(talk: Talk):
    def spend(usage: Usage, cost: float | None) -> str:
        return f"{usage.input} tokens are too many" if (usage.input or 0) > 4 else ""

    report = talk.run({"verdict": PASS, "usage": {"input": 5}, "linger": 60}, spend=spend)
    assert (report.exit, report.problem) == (ExitKind.OVER_BUDGET, "5 tokens are too many")
    assert (report.usage.input, report.verdict.word) == (5, VerdictWord.FAIL)


def test_an_adapter_can_end_the_run(talk: Talk):
    report = talk.run({"verdict": PASS, "stop": "it goes round in circles", "linger": 60})
    assert (report.exit, report.problem) == (ExitKind.CRASHED, "it goes round in circles")
    assert report.verdict.word is VerdictWord.FAIL


def test_the_repair_question_states_the_problem():
    attempt = Attempt(
        item="t", title="", role="", permission="", number=1, prompt="", nonce="n-1",
        workdir=Path(), scratch=Path(), findings=Path(), home=Path(), env={}, wall=1, idle=1,
    )  # fmt: skip
    text = _turns.repair(attempt, "it is a poem")
    assert "could not be used: it is a poem" in text
    assert "`nonce` is `n-1`" in text
