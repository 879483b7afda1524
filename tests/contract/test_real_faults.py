"""Failures of a CLI's service, of its account and of the CLI: the exit that each leads to."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from gitmill.agents.base import ExitKind, Usage
from gitmill.core.verdict import VerdictWord
from gitmill.supervision.local import LocalEngine
from tests.support.clis import CLIS
from tests.support.model import Answer, Drop, Hang, Raw, Say, Shell, Status, Write
from tests.support.promises import promise

REFUSED = "http://127.0.0.1:9/s/nobody"


@promise("401: unauthorised, no attempt lost")
def test_a_refused_key_is_unauthorised(name, ask):
    report = ask(name, [Status(401, "invalid key")])
    assert report.exit is ExitKind.UNAUTHORISED
    assert report.problem
    assert report.verdict.word is VerdictWord.FAIL
    assert report.usage.output in (None, 0)


@pytest.mark.slow
@promise(
    "no user signed in: unauthorised",
    but=dict.fromkeys(("codex", "opencode"), "left to its service"),
)
def test_without_an_account_it_is_unauthorised(name, ask):
    report = ask(name, [Answer("pass", "Done.")], env={CLIS[name].key: ""})
    assert (report.exit, ask.seen) == (ExitKind.UNAUTHORISED, [])
    assert {"claude": "/login", "gemini": "GEMINI_API_KEY"}[name] in report.problem


@pytest.mark.slow
@promise("429 without an end: rate-limited")
def test_a_limit_without_an_end_is_rate_limited(name, ask):
    # OpenCode shows only the message of its service, not the status.
    report = ask(name, [Status(429, "Rate limit." if name == "opencode" else "slow down")])
    assert (report.exit, report.retry_after) == (ExitKind.RATE_LIMITED, None)


@promise("429 with an end: rate-limited until then")
@pytest.mark.parametrize("hours", [1, 72])
def test_a_limit_with_an_end_reports_the_wait(name, ask, hours: int):
    # Claude Code reports the end to users who are signed in, not to those who pay by key.
    login = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-fake", "ANTHROPIC_API_KEY": ""}
    report = ask(name, [limit(name, hours * 3600)], env=login if name == "claude" else {})
    assert report.exit is ExitKind.RATE_LIMITED, report.problem
    assert report.retry_after == pytest.approx(hours * 3600, abs=70)


def limit(name: str, seconds: int) -> Status:
    """Return the answer by which a CLI's service states the end of a limit."""
    until = int(time.time()) + seconds
    spent = {
        "type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "pro", "resets_at": until, "resets_in_seconds": seconds,
    }  # fmt: skip
    quota = {
        "code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": f"You exceeded your current quota. Please retry in {seconds}s.",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"},
        ],
    }  # fmt: skip
    headers = {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(until),
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
    }
    return {
        "claude": Status(429, "limit", headers),
        "codex": Status(429, body=json.dumps({"error": spent})),
        "gemini": Status(429, body=json.dumps({"error": quota})),
        "opencode": Status(429, f"Rate limit reached. Please try again in {seconds}s."),
    }[name]


@pytest.mark.slow
@promise(
    "an account without credit: unauthorised",
    but=dict.fromkeys(("gemini", "opencode"), "reported as a limit"),
)
def test_an_account_without_credit_is_unauthorised(name, ask):
    body = '{"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota"}}'
    spent = {
        "claude": Status(400, "Your credit balance is too low to access the Anthropic API."),
        "codex": Status(429, body=body),
    }
    assert ask(name, [spent[name]]).exit is ExitKind.UNAUTHORISED


@pytest.mark.slow
@promise("overloaded (503), 500, a model that does not exist, refused connections: outages")
def test_failures_of_the_service_are_outages(name, ask):
    busy = '{"error": {"code": "server_is_overloaded", "message": "overloaded"}}'
    text = "overloaded" if name == "opencode" else "no room"
    cases = [
        (Status(503, text, body=busy if name == "codex" else ""), {ExitKind.OVERLOADED}),
        (Status(500, "broken"), {ExitKind.UNAVAILABLE, ExitKind.OVERLOADED}),
        (Status(404, "model: nope"), {ExitKind.UNAVAILABLE}),
    ]
    if name in ("claude", "codex"):
        cases.append((Status(529, "Overloaded"), {ExitKind.OVERLOADED}))
    for step, kinds in cases:
        report = ask(name, [step])
        assert report.exit in kinds, (step, report.problem)
        assert report.problem
    report = ask(name, url=REFUSED)
    assert report.exit is ExitKind.UNAVAILABLE, report.problem


@promise("a short outage is waited out")
@pytest.mark.slow
def test_a_short_outage_is_waited_out(name, ask):
    # With the adapters' own waits, not the short ones of the tests.
    report = ask(
        name, [Write("a.txt", "a"), Status(500, "broken", times=1), Answer("pass", "Made it.")],
        settings={}, env={"CLAUDE_CODE_MAX_RETRIES": "4"},
    )  # fmt: skip
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Made it.")


@pytest.mark.slow
@promise(
    "ended by gitmill while it waits for its service: that outage",
    but={"gemini": "it does not wait for long"},
)
def test_a_timeout_while_waiting_for_the_service_counts_as_the_outage(name, ask):
    # Codex and OpenCode wait as long as the service asks, Claude Code keeps retrying.
    limits = {"codex": {"idle": 4}, "claude": {"wall": 6}, "opencode": {"idle": 15}}[name]
    limited = (Status(429, "slow down: rate limit", {"retry-after": "90"}), ExitKind.RATE_LIMITED)
    step, kind = (Status(529, "Overloaded"), ExitKind.OVERLOADED) if name == "claude" else limited
    report = ask(
        name, [Write("a.txt", "a"), step], settings={}, env={"CLAUDE_CODE_MAX_RETRIES": "10"},
        **limits,
    )  # fmt: skip
    assert (report.exit, report.verdict.word) == (kind, VerdictWord.FAIL), report.problem


@pytest.mark.slow
@promise("over budget: stopped during the run", but={"gemini": "at the end of a run"})
def test_a_run_over_budget_is_stopped(name, ask):
    def spend(usage: Usage, cost: float | None) -> str:
        return "no more than 2,000 tokens" if (usage.input or 0) >= 2000 else ""

    steps = [Shell("sleep 0.5; git status") for _ in range(6)]
    report = ask(name, [*steps, Answer("pass", "Done.")], spend=spend)
    assert report.exit is ExitKind.OVER_BUDGET
    assert report.problem == "no more than 2,000 tokens"
    assert 2000 <= report.usage.input <= 4000
    assert len(ask.seen) < 6


@pytest.mark.slow
@promise("an empty answer, a broken stream: unavailable")
def test_an_empty_or_broken_answer_is_an_outage(name, ask):
    for step in (Raw(), Raw("{}", "application/json"), Drop()):
        report = ask(name, [step])
        assert report.exit is ExitKind.UNAVAILABLE, (step, report.exit, report.problem)


@pytest.mark.slow
@promise("a service that hangs: timed out by the idle limit")
def test_a_run_with_a_hanging_service_is_timed_out(name, ask):
    began = time.monotonic()
    for step in (Hang(), Hang(headers=True)):
        report = ask(name, [Write("a.txt", "a"), step], idle=CLIS[name].wakes)
        assert report.exit is ExitKind.TIMED_OUT
    assert time.monotonic() - began < 30 + 2 * CLIS[name].wakes


@pytest.mark.slow
@promise("a cancel ends it and all its processes")
def test_a_cancel_ends_all_processes(name, ask, work: Path):
    engine = LocalEngine(claim="c0ffee")
    mark = f"31{time.monotonic_ns() % 10**9}"
    shell = f"(setsid sleep {mark} &) ; touch begun; sleep {mark}"

    def cancel() -> None:
        until = time.monotonic() + 30
        while not (work / "begun").exists() and time.monotonic() < until:
            time.sleep(0.05)
        engine.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    report = ask(name, [Shell(shell)], execute=engine.execute, permission="full")
    thread.join()
    assert report.exit is ExitKind.CANCELLED
    assert (work / "begun").exists()
    survivors = [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or ())]
    assert survivors == []


@pytest.mark.slow
@promise("killed from outside: crashed, whatever its exit status")
def test_a_killed_cli_has_crashed(name, ask, work: Path):
    def kill() -> None:
        until = time.monotonic() + 30
        while not (work / "begun").exists() and time.monotonic() < until:
            time.sleep(0.05)
        for process in psutil.process_iter(["environ", "cmdline"]):
            ours = (process.info["environ"] or {}).get("GITMILL_CLAIM") == "c0ffee"
            if ours and name in " ".join(process.info["cmdline"] or ()):
                process.send_signal(signal.SIGTERM)

    thread = threading.Thread(target=kill)
    thread.start()
    report = ask(name, [Shell("touch begun; sleep 20"), Say("late")], permission="full")
    thread.join()
    assert report.exit is ExitKind.CRASHED, report
