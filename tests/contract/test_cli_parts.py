"""The shared parts of CLI adapters: messages of services, prices, totals, versions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gitmill.agents import _cli, base, claude, codex
from gitmill.agents.base import ExitKind, Usage
from tests.support.promises import table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 11.054s. Visit …", 11.054),
        ("Rate limit reached. Please try again in 1m30.5s.", 90.5),
        ("try again in 2h 5m", 7500),
        ("try again in 30 seconds", 30),
        ("Please try again in 898ms.", 0.898),
        ("try again in 3 minutes", 180),
        ("try again in a moment", None),
        ("slow down", None),
        ("", None),
    ],
)
def test_a_stated_wait_is_read(text: str, seconds: float | None):
    assert _cli.stated_wait(text) == seconds


def test_a_stated_time_of_day_is_the_next_such_time():
    soon = time.localtime(time.time() + 600)
    text = time.strftime("try again at %I:%M %p.", soon).replace("at 0", "at ")
    assert 530 < _cli.stated_wait(text) <= 600
    past = time.localtime(time.time() - 600)
    assert 85700 < _cli.stated_wait(time.strftime("try again at %I:%M %p", past)) < 85801
    later = time.localtime(time.time() + 3 * 86400)
    text = time.strftime("try again at %b XX, %Y %I:%M %p.", later).replace(
        "XX", f"{later.tm_mday}th"
    )
    assert 3 * 86400 - 61 < _cli.stated_wait(text) <= 3 * 86400 + 1
    assert _cli.stated_wait("try again at Jan 1st, 2026 12:26 AM.") == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ExitKind.UNAUTHORISED), (402, ExitKind.UNAUTHORISED), (403, ExitKind.UNAUTHORISED),
        (429, ExitKind.RATE_LIMITED), (503, ExitKind.OVERLOADED), (529, ExitKind.OVERLOADED),
        (500, ExitKind.UNAVAILABLE), (502, ExitKind.UNAVAILABLE), (404, ExitKind.UNAVAILABLE),
        (400, ExitKind.CRASHED), (413, ExitKind.CRASHED),
    ],
)  # fmt: skip
def test_each_http_status_has_its_exit_kind(status: int, kind: ExitKind):
    assert _cli.refusal(status) is kind


def test_prices_of_the_policy_override_the_list_and_an_unknown_price_is_not_0():
    used = Usage(1_000_000, 100_000, 400_000)
    assert _cli.price("gpt-5", used, {}) == pytest.approx(0.6 * 1.25 + 0.4 * 0.125 + 0.1 * 10)
    assert _cli.price("gpt-5-2025-08-07", used, {}) == _cli.price("gpt-5", used, {})
    own = {"gpt-5": {"input": 1.0, "output": 2.0, "cached": None}}
    assert _cli.price("gpt-5", used, own) == pytest.approx(1.2)
    assert _cli.price("nobody-knows", used, own) is None
    assert _cli.price("", used, own) is None
    assert _cli.price("gpt-5", Usage(), own) is None
    assert _cli.price("free", used, {"free": {"input": 0.0, "output": 0.0}}) == 0


def test_totals_are_stored_and_a_broken_file_counts_as_empty(tmp_path: Path):
    totals = _cli.Totals(tmp_path / "home")
    assert totals.before("a") == {}
    totals.remember("a", {"cost": 1.5, "input": None})
    totals.remember("b", {"cost": 2.0})
    totals.remember("a", {"input": 7.0})
    assert _cli.Totals(tmp_path / "home").before("a") == {"cost": 1.5, "input": 7.0}
    (tmp_path / "home.totals.json").write_text("{")
    assert totals.before("a") == {}


def test_an_unsupported_version_is_found_and_not_supported(tmp_path: Path, monkeypatch):
    def says(text: str) -> base.Probe:
        _cli._version.forget()
        program = tmp_path / "claude"
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        return base.load("claude").probe({})

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not base.load("codex").probe({}).found
    probe = says("2.1.329 (Claude Code)")
    assert (probe.version, probe.supported, probe.signed_in) == ("2.1.329", True, False)
    assert "ANTHROPIC_API_KEY" in probe.detail
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    assert says("2.1.329 (Claude Code)").signed_in
    assert not says("3.0.0 (Claude Code)").supported
    assert not says("1.9.9 (Claude Code)").supported
    assert not says("Segmentation fault").found


def test_a_command_of_the_policy_is_not_run_to_learn_its_version(tmp_path: Path):
    trap = tmp_path / "trap"
    program = tmp_path / "mine"
    program.write_text(f"#!/bin/sh\ntouch {trap}\n")
    program.chmod(0o755)
    assert base.load("claude").probe({"command": [str(program)]}).found
    assert not trap.exists()


def test_claude_runs_any_command_only_when_confined(attempt, tmp_path: Path):
    def flags(**more: object) -> str:
        return " ".join(claude._permission(attempt(env={"PATH": str(tmp_path)}, **more)))

    for program in ("bwrap", "socat"):
        assert "--allowedTools" not in flags()
        assert "allowUnsandboxedCommands" not in flags() or program == "socat"
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    assert '"allowUnsandboxedCommands": false' in flags()
    assert flags(confined=True).endswith("--allowedTools Bash")
    assert "allowUnsandboxedCommands" not in flags(confined=True)
    assert "Bash" in flags(confined=True, permission="read-only")
    assert "--allowedTools" not in flags(confined=True, permission="read-only")


def test_codex_is_billed_to_the_login_if_there_is_one():
    key = {"OPENAI_API_KEY": "sk-1"}
    assert codex._provider(key, signed_in=True) == ()
    assert codex._provider({}, signed_in=False) == ()
    _, _, _, by_key = codex._provider(key, signed_in=False)
    assert 'base_url="https://api.openai.com/v1"' in by_key
    assert 'env_key="OPENAI_API_KEY"' in by_key
    _, _, _, gateway = codex._provider({"OPENAI_BASE_URL": "http://h/v1"}, signed_in=True)
    assert 'base_url="http://h/v1"' in gateway
    assert "env_key" not in gateway


def test_the_page_of_the_agents_has_the_table_of_the_contract_tests():
    """To write the table: python -c 'from tests.support.promises import write; write()'."""
    assert table() in (ROOT / "docs/agents.md").read_text("utf-8")
