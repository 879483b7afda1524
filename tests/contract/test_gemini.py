"""Behaviour that only Gemini CLI has, at its pinned version, against the model server."""

from __future__ import annotations

import json
import os

import pytest

from gitmill.agents import base
from gitmill.agents.base import ExitKind, Usage
from gitmill.core.verdict import VerdictWord
from tests.support.clis import KEY
from tests.support.model import Answer, Drop, Raw, Read, Say, Status, Tokens, Write
from tests.support.programs import folder_of, version

GEMINI = base.load("gemini")


@pytest.mark.slow
def test_each_step_is_reported_and_the_cost_follows_the_models_price(ask, work):
    lines: list[str] = []
    did = [Write("a.txt", "grüße\n"), Read("a.txt"), Answer("pass", "Made a.txt: grüße, 日本.")]
    report = ask("gemini", did, tokens=Tokens(1000, 50, 100), progress=lines.append)
    assert (report.exit, report.problem) == (ExitKind.COMPLETED, "")
    assert (work / "a.txt").read_text("utf-8") == "grüße\n"
    assert lines == ["write_file a.txt", "read_file a.txt", "I have looked at everything."]
    assert report.cost == pytest.approx((2700 * 1.25 + 300 * 0.125 + 150 * 10) / 1e6)
    assert (report.model, report.denied) == ("gemini-2.5-pro", ())


@pytest.mark.slow
def test_a_session_without_the_prompt_gets_no_repair_question(ask):
    """Gemini CLI exits with status 0, and its session does not contain the prompt."""
    report = ask("gemini", [Say("")], [Answer("pass")])
    assert (report.exit, report.verdict.word) == (ExitKind.CRASHED, VerdictWord.FAIL)
    assert "empty response" in report.problem


@pytest.mark.slow
def test_thoughts_are_billed_as_output(ask):
    answer = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "Hm."}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {
            "promptTokenCount": 100, "candidatesTokenCount": 5, "thoughtsTokenCount": 40,
            "totalTokenCount": 145,
        },
    }  # fmt: skip
    raw = Raw(body=f"data: {json.dumps(answer)}\n\n", kind="text/event-stream")
    # Twice the counts: the repair question is the second request.
    assert ask("gemini", [raw]).usage == Usage(200, 90, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "kind", "problem"),
    [
        (Status(401), ExitKind.UNAUTHORISED, "UNAUTHENTICATED"),
        (Status(400, "API key not valid."), ExitKind.UNAUTHORISED, "API key not valid."),
        (Status(403), ExitKind.UNAUTHORISED, "PERMISSION_DENIED"),
        (Status(404), ExitKind.UNAVAILABLE, "NOT_FOUND"),
        (Status(404, "models/x is not found"), ExitKind.UNAVAILABLE, "models/x is not found"),
        (Status(400), ExitKind.CRASHED, "INVALID_ARGUMENT"),
        (Status(429), ExitKind.RATE_LIMITED, "RESOURCE_EXHAUSTED"),
        (Status(500), ExitKind.UNAVAILABLE, "INTERNAL"),
        (Status(503), ExitKind.OVERLOADED, "UNAVAILABLE"),
        (Raw(), ExitKind.UNAVAILABLE, "Incomplete JSON segment at the end"),
        (Drop(), ExitKind.UNAVAILABLE, "terminated"),
    ],
)
def test_a_refusal_is_reported_with_the_message_of_the_service(ask, step, kind, problem):
    report = ask("gemini", [step])
    assert (report.exit, report.retry_after) == (kind, None)
    assert problem in report.problem
    assert report.verdict.word is VerdictWord.FAIL


@pytest.mark.slow
def test_the_probe_reports_whether_the_user_is_signed_in(monkeypatch):
    monkeypatch.setenv("PATH", f"{folder_of('gemini')}{os.pathsep}{os.environ['PATH']}")
    for name in (*GEMINI.NEEDS, "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)
    probe = GEMINI.probe({})
    assert (probe.found, probe.version, probe.supported) == (True, version("gemini"), True)
    assert probe.signed_in is False
    assert "GEMINI_API_KEY" in probe.detail
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    assert GEMINI.probe({}).signed_in is True
