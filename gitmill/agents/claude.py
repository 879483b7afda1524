"""Claude Code: `claude -p`, the prompt on standard input, one JSON object a line on its output.

Its own sandbox is used only where nothing else confines it. Settings, hooks, skills, MCP servers
and CLAUDE.md of the repository are not loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from gitmill.agents import _cli
from gitmill.agents._turns import CliTurn, converse
from gitmill.agents.base import (
    ANY_ROLE,
    UNKNOWN_USAGE,
    Attempt,
    Execute,
    ExitKind,
    Login,
    Price,
    Probe,
    Report,
    Usage,
)
from gitmill.core.verdict_schema import json_schema
from gitmill.process import Command, Outcome

_USED = {"input_tokens": 900, "cache_read_input_tokens": 100, "output_tokens": 50}

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
LOGIN = (Login(".claude/.credentials.json", "CLAUDE_CONFIG_DIR", ".claude"),)
SIGN_IN = "claude /login"
KEYS = (".claude.json",)
PROGRAMS = (".claude/local",)
PRICES: Mapping[str, Price] = {}  # it reports the cost itself
EXAMPLE = (
    {"type": "system", "subtype": "init", "session_id": "SESSION", "model": "sonnet"},
    {"type": "assistant", "message": {"id": "m", "usage": _USED}},
    {"type": "result", "is_error": False, "result": "ANSWER", "session_id": "SESSION",
     "total_cost_usd": 0.02, "usage": _USED,
     "permission_denials": [{"tool_name": "Bash", "tool_input": {"command": "DENIED"}}]},
)  # fmt: skip

_FIRST, _BELOW = (2, 1, 197), (3,)
# Variables that a Claude Code sets for its children, gitmill among them, or that point to another
# home.
_FOREIGN = ("CLAUDECODE", "CLAUDE_PID", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_SESSION_ID",
            "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_EXECPATH",
            "CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN")  # fmt: skip
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "TERM": "dumb",
}  # fmt: skip
# Four retries take about 10 s; gitmill waits out longer outages.
_RETRIES = "4"
_SANDBOX = {
    "sandbox": {
        "enabled": True, "failIfUnavailable": True, "allowUnsandboxedCommands": False,
        "autoAllowBashIfSandboxed": True,
    }
}  # fmt: skip


def run(attempt: Attempt, execute: Execute) -> Report:
    """Carry out one attempt."""
    _cli.folder(attempt.home, ".claude")

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        argv = (
            *_cli.program("claude", attempt.settings), "-p",
            "--output-format", "stream-json", "--verbose",
            "--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands",
            "--json-schema", json.dumps(json_schema(attempt.produces)),
            "--add-dir", str(attempt.scratch),
            *_permission(attempt),
            *(("--model", attempt.model) if attempt.model else ()),
            *(("--resume", session) if session else ()),
            *_cli.options(attempt),
        )  # fmt: skip
        command = Command(
            argv, attempt.workdir, _environment(attempt),
            _cli.message(attempt, prompt), attempt.wall, attempt.idle,
        )  # fmt: skip
        return command, _Reader(attempt, session)

    return converse(attempt, execute, begin)


def _permission(attempt: Attempt) -> tuple[str, ...]:
    """Return the flags of a permission. None may come before text that it could take as a value."""
    if attempt.permission == "full":
        return ("--permission-mode", "bypassPermissions")
    if attempt.permission == "read-only":
        # Without a rule that allows more, Bash runs only commands that it knows to be read-only.
        return ("--permission-mode", "dontAsk", "--tools", "Read,Grep,Glob,Bash")
    tools = ("--tools", "Read,Grep,Glob,Bash,Edit,Write,NotebookEdit")
    if attempt.confined:
        return ("--permission-mode", "acceptEdits", *tools, "--allowedTools", "Bash")
    if _has_sandbox(attempt.env):
        return ("--permission-mode", "acceptEdits", *tools, "--settings", json.dumps(_SANDBOX))
    return ("--permission-mode", "acceptEdits", *tools)


def _has_sandbox(env: Mapping[str, str]) -> bool:
    if sys.platform == "darwin":
        return True
    return all(shutil.which(program, path=env.get("PATH")) for program in ("bwrap", "socat"))


def _environment(attempt: Attempt) -> dict[str, str]:
    env = {name: value for name, value in attempt.env.items() if name not in _FOREIGN}
    env = {"CLAUDE_CODE_MAX_RETRIES": _RETRIES} | env | _QUIET | {"HOME": str(attempt.home)}
    if attempt.permission == "full" and os.geteuid() == 0:
        env["IS_SANDBOX"] = "1"  # otherwise it refuses this permission to root
    return env


class _Reader:
    """Reads the lines of one run."""

    def __init__(self, attempt: Attempt, session: str) -> None:
        self.usage = UNKNOWN_USAGE
        self.cost: float | None = None
        self._attempt = attempt
        self._resumed = bool(session)
        self._session = session
        self._model = ""
        self._messages: dict[str, Usage] = {}
        self._result: dict[str, Any] = {}
        self._retrying: int | None = None
        self._trouble = ""
        self._resets: float | None = None

    def line(self, line: bytes) -> str:
        event = _cli.event(line)
        kind = event.get("type")
        if kind == "system" and event.get("subtype") == "init":
            self._session, self._model = event.get("session_id", ""), event.get("model", "")
        elif kind == "system" and event.get("subtype") == "api_retry":
            self._retrying = event.get("error_status") or 0
            self._trouble = f"the service failed ({event.get('error')}), retrying"
            self._attempt.progress(self._trouble)
        elif kind == "rate_limit_event":
            self._limited(event.get("rate_limit_info") or {})
        elif kind == "assistant":
            self._message(event.get("message") or {})
        elif kind == "result":
            self._result = event
        return ""

    def _limited(self, info: dict[str, Any]) -> None:
        if info.get("status") == "rejected" and isinstance(info.get("resetsAt"), int | float):
            self._resets = float(info["resetsAt"])

    def _message(self, message: dict[str, Any]) -> None:
        if message.get("model") == "<synthetic>":  # an error message of the CLI itself
            return
        self._retrying, self._trouble = None, ""
        for block in message.get("content") or ():
            if block.get("type") == "text":
                self._attempt.progress(_cli.shown(block.get("text")))
            elif block.get("type") == "tool_use":
                self._attempt.progress(_action(block.get("name"), block.get("input")))
        # A message comes on several lines, each with the usage known so far.
        self._messages[str(message.get("id"))] = _usage(message.get("usage") or {})
        self.usage = sum(self._messages.values(), UNKNOWN_USAGE)
        self.cost = _cli.price(self._model, self.usage, self._attempt.settings.get("prices"))

    def turn(self, outcome: Outcome) -> CliTurn:
        result = self._result
        session = str(result.get("session_id") or self._session)
        usage = _usage(result["usage"]) if result.get("usage") else self.usage
        text = str(result.get("result") or "")
        errors = "; ".join(str(error) for error in result.get("errors") or ())
        problem = text or errors or _cli.shown(outcome.stderr.decode("utf-8", "replace"))
        if outcome.ended != "exited":
            problem = self._trouble  # its output after our signal means nothing
        in_outage = outcome.ended != "exited" and self._retrying is not None
        exit_kind = _refused(self._retrying or 0) if in_outage else self._exit(outcome, problem)
        too_long = result.get("terminal_reason") == "prompt_too_long"
        completed = exit_kind is ExitKind.COMPLETED
        return CliTurn(
            exit=exit_kind,
            text=text if completed else "",
            structured=result.get("structured_output"),
            session=session,
            usage=usage,
            cost=self._cost(session, usage),
            model=self._model,
            problem="" if completed else problem,
            retry_after=max(0.0, self._resets - time.time()) if self._resets else None,
            denied=tuple(
                _action(denial.get("tool_name"), denial.get("tool_input"))
                for denial in result.get("permission_denials") or ()
            ),
            forgotten=self._resumed and (too_long or "No conversation found" in problem),
        )

    def _exit(self, outcome: Outcome, problem: str) -> ExitKind:
        result = self._result
        if not result:
            return ExitKind.CRASHED
        if not result.get("is_error") and outcome.passed:
            return ExitKind.COMPLETED
        if result.get("subtype") == "error_max_structured_output_retries":
            return ExitKind.COMPLETED  # the run is complete, only its verdict cannot be used
        status = result.get("api_error_status")
        if "Not logged in" in problem or "Credit balance is too low" in problem:
            return ExitKind.UNAUTHORISED
        if isinstance(status, int) or problem.startswith("API Error"):
            return _refused(status or 0)
        return ExitKind.CRASHED

    def _cost(self, session: str, usage: Usage) -> float | None:
        """Return the cost of this run: the CLI reports that of the whole session."""
        total = self._result.get("total_cost_usd")
        totals = _cli.Totals(self._attempt.home)
        before = totals.before(session).get("cost", 0.0) if self._resumed else 0.0
        if isinstance(total, int | float):
            cost: float | None = round(max(0.0, total - before), 9)
        else:
            cost = _cli.price(self._model, usage, self._attempt.settings.get("prices"))
        if session and cost is not None:
            totals.remember(session, {"cost": before + cost})
        return cost


def _refused(status: int) -> ExitKind:
    return _cli.refusal(status) if status else ExitKind.UNAVAILABLE


def _usage(counts: Mapping[str, Any]) -> Usage:
    cached = int(counts.get("cache_read_input_tokens") or 0)
    written = int(counts.get("cache_creation_input_tokens") or 0)
    fresh = int(counts.get("input_tokens") or 0) + written
    return Usage(fresh + cached, int(counts.get("output_tokens") or 0), cached)


def _action(tool: object, arguments: object) -> str:
    values = arguments if isinstance(arguments, Mapping) else {}
    keys = ("command", "file_path", "notebook_path", "pattern", "path", "url", "summary")
    what = next((values[key] for key in keys if values.get(key)), "")
    return f"{tool} {_cli.shown(what)}".rstrip()


def probe(settings: Mapping[str, object]) -> Probe:
    """Return the program, its version and whether its user is signed in."""
    elsewhere = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
    signed_in: bool | None = _cli.signed_in(LOGIN, *NEEDS, *elsewhere)
    if not signed_in and sys.platform == "darwin":
        signed_in = None  # the login may be in the key chain, which would ask the user
    how = "not signed in: run `claude` once and sign in, or set ANTHROPIC_API_KEY"
    return _cli.probe("claude", settings, first=_FIRST, below=_BELOW, signed_in=signed_in, how=how)
