"""OpenCode: `opencode run`, the prompt on standard input, one JSON object a line on its output.

Configuration, plug-ins, instructions and formatters of the repository are not loaded, nor is the
user's own configuration: only the login. No setting keeps OpenCode from importing plug-ins of the
worktree, so these files are moved aside while it runs: a reviewer would otherwise load a plug-in
that gives its own verdict. OpenCode can neither read nor change them. It does not confine its
shell, so it has one only where something else confines it, or with `full`. With `OPENAI_BASE_URL`
it uses that service; models need no provider in their names.

If its service fails, it retries forever and prints nothing: its log is read as well, to end that.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from gitmill.agents import _cli
from gitmill.agents._aside import put_aside
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
from gitmill.process import Command, Outcome

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY",
         "OPENROUTER_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "DEEPSEEK_API_KEY",
         "XAI_API_KEY", "OPENCODE_API_KEY")  # fmt: skip
SIGN_IN = "opencode auth login"
LOGIN = (Login(".local/share/opencode/auth.json", "XDG_DATA_HOME", ".local/share"),)
KEYS: tuple[str, ...] = ()
PROGRAMS: tuple[str, ...] = ()
PRICES: Mapping[str, Price] = {}  # it has models of all vendors
_USED = {"input": 900, "output": 50, "total": 1050, "cache": {"read": 100}}
EXAMPLE = (
    {"type": "step_start", "sessionID": "SESSION"},
    {"type": "tool_use", "part": {"tool": "bash", "state": {
        "input": {"command": "DENIED"}, "error": "a rule which prevents it"}}},
    {"type": "text", "part": {"text": "ANSWER"}},
    {"type": "step_finish", "part": {"tokens": _USED, "cost": 0.02, "reason": "stop"}},
)  # fmt: skip

_FIRST, _BELOW = (1, 18, 33), (2,)
_ATTEMPTS = 4  # they take about 15 s; gitmill waits out longer outages
_MOVING = 20  # seconds to set the folder of a session
_BROKEN = 3  # answers in a row that end for no reason; it would ask again immediately and forever
_QUIET = {
    "OPENCODE_DISABLE_PROJECT_CONFIG": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1", "OPENCODE_DISABLE_CLAUDE_CODE": "1",
    "npm_config_offline": "true", "TERM": "dumb",
}  # fmt: skip
_SETTINGS = (".opencode", "opencode.json", "opencode.jsonc")
_READ = ("read", "glob", "grep", "list")
# A rule `ask` would end the run, with exit status 0 and without a message.
_RULES = {
    "read-only": dict.fromkeys(_READ, "allow"),
    "workspace": dict.fromkeys((*_READ, "edit"), "allow"),
    "full": {"*": "allow"},
}
_LOG = re.compile(r'message="stream error".* error\.error="(?:\w+: )?(.*)"')
_DENIED = re.compile(r"rule which prevents|unavailable tool")
_SIGNATURES = (
    (re.compile(r"rate.?limit|too many requests|quota|\b429\b", re.IGNORECASE),
     ExitKind.RATE_LIMITED),
    (re.compile(r"overloaded|at capacity|\b(?:503|529)\b", re.IGNORECASE), ExitKind.OVERLOADED),
)  # fmt: skip


def run(attempt: Attempt, execute: Execute) -> Report:
    """Carry out one attempt."""
    # It starts in an empty folder, because its run time loads `.env` from the current directory.
    # That folder is its configuration folder too, so that nothing of an earlier run is loaded.
    empty = Path(mkdtemp(prefix="opencode-", dir=attempt.scratch))
    data = _cli.folder(attempt.home, ".local/share/opencode")

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        move_aside()
        if session and not _moved(attempt, execute, data, session):
            session = "ses_none"  # no session has this id
        argv = (
            # The log comes on standard error, which is not read while it runs.
            "/bin/sh", "-c", 'exec "$@" 2>&1', "sh",
            *_cli.program("opencode", attempt.settings), "run", "--format", "json", "--pure",
            "--title", attempt.item, "--print-logs", "--log-level", "ERROR",
            "--dir", str(attempt.workdir),
            *(("--session", session) if session else ()),
            *_cli.options(attempt),
        )  # fmt: skip
        command = Command(
            argv, empty, _environment(attempt, empty),
            _cli.message(attempt, prompt), attempt.wall, attempt.idle,
        )  # fmt: skip
        return command, _Reader(attempt, session)

    with put_aside(_SETTINGS, attempt.workdir, attempt.home) as move_aside:
        return converse(attempt, execute, begin)


def _environment(attempt: Attempt, empty: Path) -> dict[str, str]:
    env = {
        name: value
        for name, value in attempt.env.items()
        if name in NEEDS or not name.startswith(("OPENCODE", "XDG_"))
    }
    own = {
        "HOME": str(attempt.home), "XDG_CONFIG_HOME": str(empty), "PWD": str(empty),
        "OPENCODE_CONFIG_CONTENT": json.dumps(_configuration(attempt)),
    }  # fmt: skip
    return env | _QUIET | own


def _configuration(attempt: Attempt) -> dict[str, Any]:
    rules: dict[str, Any] = {"*": "deny"} | _RULES[attempt.permission]
    if attempt.permission != "full":  # a long prompt is in a file of the scratch folder
        rules["external_directory"] = {"*": "deny", f"{attempt.scratch}/*": "allow"}
    if attempt.permission == "workspace" and attempt.confined:
        rules["bash"] = "allow"
    settings: dict[str, Any] = {
        "autoupdate": False, "share": "disabled", "snapshot": False,
        "lsp": False, "formatter": False, "permission": rules,
    }  # fmt: skip
    model, base = attempt.model, attempt.env.get("OPENAI_BASE_URL", "")
    if base:
        options = {"baseURL": base, "apiKey": "{env:OPENAI_API_KEY}"}
        provider = {
            "npm": "@ai-sdk/openai-compatible", "options": options, "models": {model: {}},
        }  # fmt: skip
        settings |= {"provider": {"gitmill": provider}, "enabled_providers": ["gitmill"]}
        model = f"gitmill/{model}"
    return settings | ({"model": model, "small_model": model} if model else {})


# The agent writes the database, and can make opening it remove files or never end: so it is opened
# in the sandbox.
_MOVE = """\
import sqlite3, sys
database, folder, session = sys.argv[1:]
with sqlite3.connect(f"file:{database}?mode=rw", uri=True) as opened:
    done = opened.execute("UPDATE session SET directory = ? WHERE id = ?", (folder, session))
sys.exit(done.rowcount != 1)
"""


def _moved(attempt: Attempt, execute: Execute, data: Path, session: str) -> bool:
    """Move a session to this attempt's worktree, in the sandbox; return whether it exists.

    In any folder but its own OpenCode would answer and never exit.
    """
    arguments = (str(data / "opencode.db"), str(attempt.workdir.resolve()), session)
    command = attempt.command((sys.executable, "-I", "-c", _MOVE, *arguments), wall=_MOVING)
    return execute(replace(command, cwd=attempt.scratch, transcript=None)).passed


class _Reader:
    """Reads the lines of one run."""

    def __init__(self, attempt: Attempt, session: str) -> None:
        self.usage = UNKNOWN_USAGE
        self.cost: float | None = None
        self._attempt = attempt
        self._resumed = bool(session)
        self._session = ""
        self._text = ""
        self._error: dict[str, Any] = {}
        self._answered = False
        self._reported = 0.0
        self._broken = 0
        self._failures: list[str] = []
        self._last = ""
        self._denied: list[str] = []

    def line(self, line: bytes) -> str:
        event = _cli.event(line)
        if not event:
            return self._logged(line.decode("utf-8", "replace"))
        self._session = str(event.get("sessionID") or self._session)
        kind, part = event.get("type"), event.get("part") or {}
        if kind == "step_start":
            self._text = ""
        elif kind == "text":
            self._text += str(part.get("text", ""))
            self._attempt.progress(_cli.shown(part.get("text")))
        elif kind == "tool_use":
            self._tool(part)
        elif kind == "step_finish":
            return self._finished(part)
        elif kind == "error":
            self._error = event.get("error") or {}
        return ""

    def _logged(self, line: str) -> str:
        """Read a line of the log; end the run after too many failures in a row."""
        self._last = _cli.shown(re.sub(r"\x1b\[[0-9;]*m", "", line)) or self._last
        if not (match := _LOG.search(line)):
            return ""
        self._failures.append(_cli.shown(match[1]))
        self._attempt.progress(f"the service failed ({self._failures[-1]}), retrying")
        return self._failures[-1] if len(self._failures) >= _ATTEMPTS else ""

    def _tool(self, part: dict[str, Any]) -> None:
        state = part.get("state") or {}
        action = _action(part.get("tool"), state.get("input"))
        self._attempt.progress(action)
        if _DENIED.search(str(state.get("error", ""))):
            self._denied.append(action)

    def _finished(self, step: dict[str, Any]) -> str:
        self.usage += _usage(step.get("tokens") or {})
        self._reported += float(step.get("cost") or 0)
        prices = self._attempt.settings.get("prices")
        # It reports 0 for models without a known price.
        self.cost = self._reported or _cli.price(self._attempt.model, self.usage, prices)
        if step.get("reason") == "unknown":
            self._broken += 1
            return "the service breaks off its answers" if self._broken >= _BROKEN else ""
        self._answered, self._broken, self._failures = True, 0, []
        return ""

    def turn(self, outcome: Outcome) -> CliTurn:
        data = self._error.get("data") or {}
        message = str(data.get("message") or self._error.get("name") or "")
        failing = self._failures[-1] if self._failures else ""
        completed = outcome.passed and not self._error and self._answered
        silent = self._last or "it ended without an answer"
        problem = message or failing or (silent if outcome.ended == "exited" else "")
        return CliTurn(
            exit=ExitKind.COMPLETED if completed else self._kind(data, problem),
            text=self._text,
            session=self._session,
            usage=self.usage,
            cost=self.cost,
            model=self._attempt.model,
            problem="" if completed else problem,
            retry_after=None if completed else _cli.stated_wait(problem),
            denied=tuple(self._denied),
            forgotten=self._resumed and "Session not found" in f"{self._last} {message}",
        )

    def _kind(self, data: dict[str, Any], problem: str) -> ExitKind:
        status = data.get("statusCode")
        if isinstance(status, int):
            return _cli.refusal(status)
        if self._failures:
            kinds = (kind for pattern, kind in _SIGNATURES if pattern.search(problem))
            return next(kinds, ExitKind.UNAVAILABLE)
        if self._broken >= _BROKEN:
            return ExitKind.UNAVAILABLE
        if self._error.get("name") == "ProviderAuthError":
            return ExitKind.UNAUTHORISED
        return _cli.refusal(404) if "odel not found" in problem else ExitKind.CRASHED


def _usage(tokens: dict[str, Any]) -> Usage:
    """Return the tokens. Its `input` excludes cached ones, and only its total includes thoughts."""
    cache = tokens.get("cache") or {}
    cached = int(cache.get("read") or 0)
    given = int(tokens.get("input") or 0) + cached + int(cache.get("write") or 0)
    output = max(int(tokens.get("output") or 0), int(tokens.get("total") or 0) - given)
    return Usage(given, output, cached)


def _action(tool: object, arguments: object) -> str:
    values = arguments if isinstance(arguments, Mapping) else {}
    keys = ("command", "filePath", "path", "pattern", "url")
    what = next((values[key] for key in keys if values.get(key)), "")
    return f"{tool} {_cli.shown(what)}".rstrip()


def probe(settings: Mapping[str, object]) -> Probe:
    """Return the program, its version and whether its user has an account."""
    signed_in = _cli.signed_in(LOGIN, *NEEDS, "OPENAI_BASE_URL")
    how = "no account: run `opencode auth login`, or set OPENAI_BASE_URL and OPENAI_API_KEY"
    return _cli.probe(
        "opencode", settings, first=_FIRST, below=_BELOW, signed_in=signed_in, how=how
    )
