"""The real CLIs, at their pinned versions, against the model server: what each adapter promises.

The text of a `promise` is a row of the table in docs/agents.md.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.agents import base
from gitmill.agents.base import OUTAGES, ExitKind, Usage
from gitmill.core.verdict import VerdictWord
from gitmill.engines.local import LocalEngine
from tests.support.clis import CLIS, KEY
from tests.support.model import (
    Answer,
    Drop,
    Hang,
    Raw,
    Say,
    Shell,
    Status,
    Tokens,
    Write,
)
from tests.support.promises import promise

PROMPT = "Carry this out, please: häßlich → schön, 日本語.\n\n- `nonce` is `n0nce`.\n"


@pytest.fixture
def ask(attempt, execute, model, tmp_path: Path):
    """Run one attempt of a CLI against a scenario and return its report."""

    def run(name: str, *turns, tokens=None, env=None, execute=execute, url="", **more):
        cli = CLIS[name]
        url = url or model.play(*turns, tokens=tokens)
        values = {
            "prompt": PROMPT, "model": cli.model, "settings": {"options": list(cli.options)},
            "wall": 60, "idle": 60,
        } | more  # fmt: skip
        asked = attempt(**values)
        if not (asked.workdir / ".git").exists():
            subprocess.run(["git", "init", "-q", str(asked.workdir)], check=True)
        full = cli.environment(url) | {"TMPDIR": str(asked.scratch)} | (env or {})
        asked = attempt(**values | {"env": full})
        report = base.load(name).run(asked, execute)
        run.asked = model.asked(url)
        return report

    return run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


DID = [Write("a.txt", "grüße\n"), Shell("cat a.txt"), Answer("pass", "Made a.txt: grüße, 日本.")]


@promise("edits files and returns a verdict by its own schema option")
def test_it_edits_and_its_structured_verdict_is_read(name, ask, work):
    said: list[str] = []
    report = ask(name, DID, tokens=Tokens(1000, 50, 100), progress=said.append)
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert report.verdict.word is VerdictWord.PASS
    assert report.verdict.summary == "Made a.txt: grüße, 日本."
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert "häßlich → schön, 日本語" in ask.asked[0].asked.prompt
    assert report.session
    assert any("a.txt" in line for line in said)
    assert all("\n" not in line for line in said)
    assert report.usage == Usage(3000, 150, 300)
    assert report.cost is not None
    assert report.cost > 0
    assert KEY not in report.output


@promise("a verdict in a fenced block with the attempt's nonce")
def test_a_fenced_verdict_is_read_and_one_with_a_foreign_nonce_is_not(name, ask):
    report = ask(name, [Answer("return", "No.", [{"message": "wrong"}], fenced=True)])
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.RETURN)
    assert report.verdict.findings[0].message == "wrong"
    foreign = Answer("pass", "Quoted.", nonce="foreign", fenced=True)
    report = ask(name, [foreign], [foreign])
    assert (report.exit, report.verdict.word) == (ExitKind.GARBLED, VerdictWord.FAIL)


@promise("one repair question in the same session")
def test_an_unreadable_verdict_is_asked_for_once_more(name, ask):
    report = ask(name, [Say("All is well.")], [Answer("pass", "Asked again.")])
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Asked again.")
    assert report.usage == Usage(
        2000 if name == "codex" else report.usage.input, report.usage.output, 0
    )
    assert len(ask.asked[-1].asked.people) == 2
    report = ask(name, [Say("All is well.")], [Say("Really.")])
    assert report.exit is ExitKind.GARBLED


@promise("goes on in its session; usage and cost are of each run alone")
def test_a_session_goes_on_and_each_run_tells_its_own_use(name, ask):
    cost = []
    first = ask(name, [Answer("pass", "One.")], tokens=Tokens(1000, 50))
    for number in (2, 3):
        turns = [[Answer("pass", f"{n}.")] for n in range(1, number + 1)]
        again = ask(
            name, *turns, tokens=Tokens(2000, 70), session=first.session,
            followup=f"Once more. {PROMPT}",
        )  # fmt: skip
        assert again.exit is ExitKind.COMPLETED
        assert again.session == first.session
        assert again.verdict.summary == f"{number}."
        assert len(ask.asked[0].asked.people) == number
        assert (again.usage.input, again.usage.output) == (2000, 70)
        cost.append(again.cost)
    assert cost[0] == pytest.approx(cost[1])
    assert cost[0] > first.cost


@promise("a session that is gone begins anew with the whole prompt")
def test_a_forgotten_session_begins_anew(name, ask):
    gone = "0b5c3b9e-1c7e-4d0a-9d55-3c2f8f1f7a10"
    report = ask(name, [Answer("pass", "New.")], session=gone, followup="Go on.")
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "New.")
    assert report.session
    assert report.session != gone
    assert "häßlich" in ask.asked[0].asked.prompt
