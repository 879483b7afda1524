"""Gemini CLI: the prompt on standard input, one JSON object a line on its output.

The folder counts as untrusted, so nothing of the repository is loaded: no settings, `.env`, hooks,
policies, extensions, agents, skills or GEMINI.md. Its permissions come from a policy file that
gitmill writes; tools that the file does not allow are hidden from the model. It has a shell only
where something else confines it, or with `full`; it refuses git there in any untrusted folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitmill import files
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
from gitmill.process import Command, Outcome

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
SIGN_IN = "gemini"
LOGIN = (
    Login(".gemini/oauth_creds.json", "GEMINI_CLI_HOME"),
    Login(".gemini/google_accounts.json", "GEMINI_CLI_HOME"),
)
KEYS: tuple[str, ...] = ()
PROGRAMS: tuple[str, ...] = ()
PRICES = {  # from the vendor's public list as of 2026-11
    "gemini-2.5-pro": Price(1.25, 0.125, 10.0),
    "gemini-2.5-flash": Price(0.3, 0.03, 2.5),
}
_USED = {"input_tokens": 1000, "cached": 100, "output_tokens": 50, "total_tokens": 1050}
EXAMPLE = (
    {"type": "init", "session_id": "SESSION", "model": "gemini-2.5-pro"},
    {"type": "tool_use", "tool_id": "1", "tool_name": "run_shell_command",
     "parameters": {"command": "DENIED"}},
    {"type": "tool_result", "tool_id": "1", "status": "error",
     "error": {"type": "policy_violation"}},
    {"type": "message", "role": "assistant", "content": "ANSWER"},
    {"type": "result", "status": "success", "stats": {"models": {"gemini-2.5-pro": _USED}}},
)  # fmt: skip

_FIRST, _BELOW = (0, 61), (1,)
# It repeats its prompt on its output, and loses output that does not fit into the pipe at its end.
_LONGEST = 150_000
_OWN = ("GEMINI_API_KEY", "GEMINI_MODEL")  # other `GEMINI_` variables would bypass our settings
_READ = ("read_file", "read_many_files", "glob", "grep_search", "list_directory")
_WRITE = (*_READ, "write_file", "replace")
# Its first wait before a retry is 5 s; gitmill waits out longer outages.
_SETTINGS = {
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "maxAttempts": 2},
    "advanced": {"ignoreLocalEnv": True},
    "hooksConfig": {"enabled": False},
    "skills": {"enabled": False},
    "experimental": {"enableAgents": False},
}  # fmt: skip
_SIGNATURES = (
    (re.compile(r"API key (?:not valid|expired)|API_KEY_INVALID"), ExitKind.UNAUTHORISED),
    (re.compile(r"fetch failed|Incomplete JSON segment|terminated|ECONN|socket|timed? ?out"),
     ExitKind.UNAVAILABLE),
)  # fmt: skip
_REFUSED = re.compile(r"[Nn]ot in workspace|requires user confirmation|denied")


def run(attempt: Attempt, execute: Execute) -> Report:
    """Carry out one attempt."""
    settings = _cli.folder(attempt.home, ".gemini") / "settings.json"
    files.replace(settings, json.dumps(_settings(attempt)).encode(), mode=0o600)
    policy = attempt.scratch / "gemini-policy.toml"
    files.replace(policy, _policy(attempt).encode(), mode=0o600)

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        argv = (
            *_cli.program("gemini", attempt.settings), "-o", "stream-json",
            "--policy", str(policy), "--extensions", "none",
            "--include-directories", str(attempt.scratch),  # a long prompt is in a file there
            *(("-m", attempt.model) if attempt.model else ()),
            *_resumed(attempt.home, session),
            *_cli.options(attempt),
        )  # fmt: skip
        command = Command(
            argv, attempt.workdir, _environment(attempt),
            _cli.message(attempt, prompt, _LONGEST), attempt.wall, attempt.idle,
        )  # fmt: skip
        return command, _Reader(attempt, session)

    return converse(attempt, execute, begin)


def _settings(attempt: Attempt) -> dict[str, Any]:
    """Return its settings. With `folderTrust` off it runs in an untrusted folder without asking."""
    signed_in = (attempt.home / LOGIN[0].name).exists()
    kind = "gemini-api-key"
    if attempt.env.get("GOOGLE_GENAI_USE_VERTEXAI") == "true":
        kind = "vertex-ai"
    elif signed_in and not attempt.env.get("GOOGLE_GEMINI_BASE_URL"):
        kind = "oauth-personal"  # a key in the environment would be billed to another account
    auth = {"auth": {"selectedType": kind}, "folderTrust": {"enabled": False}}
    return {**_SETTINGS, "security": auth}


def _policy(attempt: Attempt) -> str:
    """Return its permissions in the form of its policy engine, which hides denied tools."""
    tools = {"read-only": _READ, "workspace": _WRITE, "full": ("*",)}[attempt.permission]
    if attempt.permission == "workspace" and attempt.confined:
        tools = (*_WRITE, "run_shell_command")
    return (
        '[[rule]]\ntoolName = "*"\ndecision = "deny"\npriority = 1\n\n'
        f'[[rule]]\ntoolName = {json.dumps(tools)}\ndecision = "allow"\npriority = 2\n'
        "allowRedirection = true\n"
    )


def _environment(attempt: Attempt) -> dict[str, str]:
    env = {
        name: value
        for name, value in attempt.env.items()
        if name in _OWN or not name.startswith("GEMINI_")
    }
    return env | {
        "HOME": str(attempt.home), "GEMINI_CLI_HOME": str(attempt.home), "TERM": "dumb",
        "GEMINI_CLI_TRUST_WORKSPACE": "false", "GEMINI_CLI_NO_RELAUNCH": "true",
    }  # fmt: skip


def _resumed(home: Path, session: str) -> tuple[str, ...]:
    """Return the arguments that resume a session: its file, as it may be of another folder.

    A missing session is passed by its id, which Gemini CLI then refuses.
    """
    if not session:
        return ()
    pattern = f"session-*-{session[:8]}.jsonl" if re.fullmatch(r"[0-9a-f-]{36}", session) else ""
    paths = list((home / ".gemini/tmp").glob(f"*/chats/{pattern}")) if pattern else []
    # A resumed session also has an older file, which ends where the resumption began.
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    largest = max(files, key=lambda path: path.stat().st_size, default=None)
    return ("--session-file", str(largest)) if largest else ("--resume", session)


class _Reader:
    """Reads the lines of one run. The usage comes only at the end."""

    def __init__(self, attempt: Attempt, session: str) -> None:
        self.usage = UNKNOWN_USAGE
        self.cost: float | None = None
        self._attempt = attempt
        self._resumed = bool(session)
        self._session = ""
        self._model = ""
        self._text = ""
        self._warning = ""
        self._result: dict[str, Any] = {}
        self._tools: dict[str, str] = {}
        self._denied: list[str] = []

    def line(self, line: bytes) -> str:
        event = _cli.event(line)
        kind = event.get("type")
        if kind == "init":
            self._session, self._model = str(event.get("session_id")), str(event.get("model"))
        elif kind == "message" and event.get("role") == "assistant":
            self._text += str(event.get("content", ""))
        elif kind == "tool_use":
            self._show_text()
            action = _action(event.get("tool_name"), event.get("parameters"))
            self._tools[str(event.get("tool_id"))] = action
            self._attempt.progress(action)
            self._text = ""
        elif kind == "tool_result" and event.get("status") == "error":
            self._failed(event)
        elif kind == "error":
            self._warning = _cli.shown(event.get("message"))
        elif kind == "result":
            self._show_text()
            self._result = event
            self._count(event.get("stats") or {})
        return ""

    def _show_text(self) -> None:
        if self._text.strip():
            self._attempt.progress(_cli.shown(self._text))

    def _failed(self, result: dict[str, Any]) -> None:
        error = result.get("error") or {}
        unknown = error.get("type") in ("policy_violation", "tool_not_registered")
        if unknown or _REFUSED.search(str(error.get("message"))):
            self._denied.append(self._tools.get(str(result.get("tool_id")), "a tool"))

    def _count(self, stats: dict[str, Any]) -> None:
        """Set the usage and cost of this run, added up over its models."""
        used = {name: _usage(counts) for name, counts in (stats.get("models") or {}).items()}
        self.usage = sum(used.values(), UNKNOWN_USAGE)
        prices = self._attempt.settings.get("prices")
        costs = [_cli.price(name, usage, prices) for name, usage in used.items() if usage.input]
        known = [cost for cost in costs if cost is not None]
        self.cost = sum(known) if known and len(known) == len(costs) else None

    def turn(self, outcome: Outcome) -> CliTurn:
        stderr = outcome.stderr.decode("utf-8", "replace") if outcome.ended == "exited" else ""
        error = self._result.get("error") or {}
        problem = _message(str(error.get("message") or "")) or _complaint(stderr)
        # It also exits 0 if the model was not asked, because the prompt is too long for it, or gave
        # no answer. The session lacks the prompt in both cases.
        answered = self._result.get("status") == "success" and bool(self._text or self._tools)
        completed = outcome.passed and answered
        if outcome.passed and not answered:
            silent = "it ended without asking the model; is the prompt too long?"
            problem = self._warning or _complaint(stderr) or silent
        exit_kind = ExitKind.COMPLETED if completed else _kind(outcome.status, problem, stderr)
        waits = re.findall(r"[Rr]etry (?:in|after) ([\d.]+)s", f"{stderr}\n{problem}")
        return CliTurn(
            exit=exit_kind,
            text=self._text,
            session=self._session,
            usage=self.usage,
            cost=self.cost,
            model=self._model,
            problem="" if completed else problem,
            retry_after=float(waits[-1].rstrip(".")) if waits and not completed else None,
            denied=tuple(self._denied),
            forgotten=self._resumed and outcome.status == 42,
        )


def _usage(counts: dict[str, Any]) -> Usage:
    """Return the tokens. Thoughts are billed as output and are included only in the total."""
    given, total = int(counts.get("input_tokens") or 0), int(counts.get("total_tokens") or 0)
    output = max(int(counts.get("output_tokens") or 0), total - given)
    return Usage(given, output, int(counts.get("cached") or 0))


def _kind(status: int, problem: str, stderr: str) -> ExitKind:
    """Return the exit of a run: its exit status is the HTTP status modulo 256, if there is one.

    A model that does not exist is sometimes named only on standard error, not in the message.
    """
    kinds = (kind for pattern, kind in _SIGNATURES if pattern.search(problem))
    if kind := next(kinds, None):
        return kind
    if status == 41:
        return ExitKind.UNAUTHORISED
    if status >= 144:
        return _cli.refusal(status + 256)
    unknown = "NOT_FOUND" in problem or "ModelNotFoundError" in stderr
    return _cli.refusal(404) if unknown else ExitKind.CRASHED


def _message(message: str) -> str:
    """Return the text of an error, which may be the service's JSON in brackets."""
    inner = message.removeprefix("[API Error: ").removesuffix("]")
    error = _cli.event(inner.encode()).get("error")
    return _cli.shown(error.get("message") if isinstance(error, dict) else inner)


def _complaint(stderr: str) -> str:
    noise = ("Warning:", "Ripgrep", "[STARTUP]", "YOLO", "    at ")
    return _cli.shown("\n".join(x for x in stderr.splitlines() if not x.startswith(noise)))


def _action(tool: object, arguments: object) -> str:
    values = arguments if isinstance(arguments, Mapping) else {}
    keys = ("command", "file_path", "dir_path", "pattern", "query", "url")
    what = next((values[key] for key in keys if values.get(key)), "")
    return f"{tool} {_cli.shown(what)}".rstrip()


def probe(settings: Mapping[str, object]) -> Probe:
    """Return the program, its version and whether its user is signed in."""
    signed_in = _cli.signed_in(LOGIN, *NEEDS, "GOOGLE_GENAI_USE_VERTEXAI")
    how = "not signed in: run `gemini` once and sign in, or set GEMINI_API_KEY"
    return _cli.probe("gemini", settings, first=_FIRST, below=_BELOW, signed_in=signed_in, how=how)
