"""What only OpenCode does, at its pinned version, against the model server. A run takes 5 to 10 s."""

from __future__ import annotations

import os

import pytest

from gitmill.agents import base
from gitmill.agents.base import ExitKind
from gitmill.core.verdict import VerdictWord
from tests.support.clis import KEY
from tests.support.model import Answer, Drop, Raw, Read, Say, Shell, Status, Tokens, Write
from tests.support.programs import folder_of, version
from tests.support.traps import plant

OPENCODE = base.load("opencode")


def test_it_tells_each_step_and_a_cost_by_the_price_of_its_model(ask, work):
    said: list[str] = []
    did = [Write("a.txt", "grüße\n"), Read("a.txt"), Answer("pass", "Made a.txt: grüße, 日本.")]
    report = ask("opencode", did, tokens=Tokens(1000, 50, 100), progress=said.append)
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert [line.split()[0] for line in said] == ["write", "read", "I"]
    assert report.cost == pytest.approx((2700 * 1.25 + 300 * 0.125 + 150 * 10) / 1e6)
    assert (report.model, report.denied) == ("gemini-2.5-pro", ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "kind", "problem"),
    [
        (Status(401), ExitKind.UNAUTHORISED, "error 401"),
        (Status(404), ExitKind.UNAVAILABLE, "error 404"),
        (Status(400), ExitKind.CRASHED, "error 400"),
        (Status(429, "Rate limit reached.", {"retry-after": "2"}),
         ExitKind.RATE_LIMITED, "Rate limit reached."),
        (Status(500), ExitKind.UNAVAILABLE, "error 500"),
        (Status(503, "Overloaded."), ExitKind.OVERLOADED, "Overloaded."),
        (Raw(), ExitKind.UNAVAILABLE, "the service breaks off its answers"),
        (Drop(), ExitKind.UNAVAILABLE, "onnection"),  # closed or reset, as it sees it
    ],
)  # fmt: skip
def test_a_refusal_of_the_service_is_told_apart_and_not_tried_for_ever(ask, step, kind, problem):
    report = ask("opencode", [step])
    assert (report.exit, report.verdict.word) == (kind, VerdictWord.FAIL)
    assert problem in report.problem
    assert len(ask.seen) <= 8  # it ends after four in a row; more may be on their way by then


@pytest.mark.slow
def test_what_fails_now_and_then_is_tried_again(ask):
    now_and_then = [
        Status(500, times=2),
        Write("a.txt", "x"),
        Drop(times=1),
        Answer("pass", "Did."),
    ]
    report = ask("opencode", now_and_then)
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Did.")


@pytest.mark.slow
def test_files_for_it_are_put_aside_and_back_with_what_was_made_in_the_meantime(ask, work):
    trap = work.with_name("trap")
    plant(work, trap)
    before = {path: path.read_text() for path in work.rglob("*.*") if path.is_file()}
    made = Write(".opencode/plugin/made.js", (work / "obey.ts").read_text())
    turns = [Shell("env > env.txt"), Write("a.txt", "a"), made, Say("Hm.")], [Answer("pass")]
    report = ask("opencode", *turns)
    assert report.exit is ExitKind.COMPLETED
    assert (work / "a.txt").exists()
    assert not (work / "env.txt").exists()
    assert not trap.exists()
    assert {path: path.read_text() for path in before} == before
    assert (work / ".opencode/plugin/made.js").exists()


@pytest.mark.slow
def test_the_probe_tells_who_is_not_signed_in(monkeypatch):
    monkeypatch.setenv("PATH", f"{folder_of('opencode')}{os.pathsep}{os.environ['PATH']}")
    for name in (*OPENCODE.NEEDS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    probe = OPENCODE.probe({})
    assert (probe.found, probe.version, probe.supported) == (True, version("opencode"), True)
    assert probe.signed_in is False
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OPENCODE.probe({}).signed_in is True
