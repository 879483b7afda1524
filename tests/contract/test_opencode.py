"""Behaviour that only OpenCode has, at its pinned version, against the model server.

A run takes 5 to 10 s.
"""

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


@pytest.mark.slow
def test_each_step_is_reported_and_the_cost_follows_the_models_price(ask, work):
    lines: list[str] = []
    did = [Write("a.txt", "grüße\n"), Read("a.txt"), Answer("pass", "Made a.txt: grüße, 日本.")]
    report = ask("opencode", did, tokens=Tokens(1000, 50, 100), progress=lines.append)
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert [line.split()[0] for line in lines] == ["write", "read", "I"]
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
        (Drop(), ExitKind.UNAVAILABLE, "onnection"),  # reported as closed or as reset
    ],
)  # fmt: skip
def test_each_refusal_has_its_exit_kind_and_is_not_retried_forever(ask, step, kind, problem):
    report = ask("opencode", [step])
    assert (report.exit, report.verdict.word) == (kind, VerdictWord.FAIL)
    assert problem in report.problem
    assert len(ask.seen) <= 8  # it ends after four in a row; more requests may be under way by then


@pytest.mark.slow
def test_occasional_failures_of_the_service_are_retried(ask):
    occasional = [
        Status(500, times=2),
        Write("a.txt", "x"),
        Drop(times=1),
        Answer("pass", "Did."),
    ]
    report = ask("opencode", occasional)
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Did.")


@pytest.mark.slow
def test_its_configuration_files_are_restored_with_those_created_meanwhile(ask, work):
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
def test_the_probe_reports_whether_the_user_is_signed_in(monkeypatch):
    monkeypatch.setenv("PATH", f"{folder_of('opencode')}{os.pathsep}{os.environ['PATH']}")
    for name in (*OPENCODE.NEEDS, "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    probe = OPENCODE.probe({})
    assert (probe.found, probe.version, probe.supported) == (True, version("opencode"), True)
    assert probe.signed_in is False
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OPENCODE.probe({}).signed_in is True
