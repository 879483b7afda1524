"""Gemini CLI: the prompt on standard input, one JSON object a line on its output.

The folder counts as untrusted, so nothing of the repository is loaded: no settings, `.env`, hooks,
policies, extensions, agents, skills or GEMINI.md. What it may do is told by a policy file of ours;
what that does not allow, the model does not even see. A shell it has only where something else
confines it, or with `full`; git in that shell it refuses in any untrusted folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitmill import process
from gitmill.agents import _cli
from gitmill.agents._turns import CliTurn, converse
from gitmill.agents.base import (
    ANY_ROLE,
    NOTHING_SAID,
    Attempt,
    Execute,
    ExitKind,
    Login,
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

_FIRST, _BELOW = (0, 61), (1,)
# It repeats its prompt on its output, and what does not fit into the pipe is lost when it ends.
_LONGEST = 150_000
_OWN = ("GEMINI_API_KEY", "GEMINI_MODEL")  # others of that name lead out of our settings
_READ = ("read_file", "read_many_files", "glob", "grep_search", "list_directory")
_WRITE = (*_READ, "write_file", "replace")
# The first wait between two tries is 5 s; longer outages are for gitmill to wait out.
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
    process.write_anew(settings, json.dumps(_settings(attempt)).encode())
    policy = attempt.scratch / "gemini-policy.toml"
    process.write_anew(policy, _policy(attempt).encode())

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        argv = (
            *_cli.program("gemini", attempt.settings), "-o", "stream-json",
            "--policy", str(policy), "--extensions", "none",
            "--include-directories", str(attempt.scratch),  # where a long prompt is
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
    """Return its settings. That folders are not asked about lets it run in an untrusted one."""
    signed_in = (attempt.home / LOGIN[0].name).exists()
    kind = "gemini-api-key"
    if attempt.env.get("GOOGLE_GENAI_USE_VERTEXAI") == "true":
        kind = "vertex-ai"
    elif signed_in and not attempt.env.get("GOOGLE_GEMINI_BASE_URL"):
        kind = "oauth-personal"  # a key that lies about would be billed to another account
    auth = {"auth": {"selectedType": kind}, "folderTrust": {"enabled": False}}
    return {**_SETTINGS, "security": auth}


def _policy(attempt: Attempt) -> str:
    """Return what it may do, as its policy engine reads it; a tool that is denied is not shown."""
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
    """Return how it goes on with a session: by its file, for it may have been in another folder.

    A session that is not there is asked for by its id, which is then refused.
    """
    if not session:
        return ()
    named = f"session-*-{session[:8]}.jsonl" if re.fullmatch(r"[0-9a-f-]{36}", session) else ""
    found = list((home / ".gemini/tmp").glob(f"*/chats/{named}")) if named else []
    # Of a session that was gone on with there is a second file, which stops where that began.
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    largest = max(files, key=lambda path: path.stat().st_size, default=None)
    return ("--session-file", str(largest)) if largest else ("--resume", session)


class _Reader:
    """Reads the lines of one run. What it used is told only at the end."""

    def __init__(self, attempt: Attempt, session: str) -> None:
        self.usage = NOTHING_SAID
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
        told = _cli.event(line)
        kind = told.get("type")
        if kind == "init":
            self._session, self._model = str(told.get("session_id")), str(told.get("model"))
        elif kind == "message" and told.get("role") == "assistant":
            self._text += str(told.get("content", ""))
        elif kind == "tool_use":
            self._say()
            action = _action(told.get("tool_name"), told.get("parameters"))
            self._tools[str(told.get("tool_id"))] = action
            self._attempt.progress(action)
            self._text = ""
        elif kind == "tool_result" and told.get("status") == "error":
            self._failed(told)
        elif kind == "error":
            self._warning = _cli.shown(told.get("message"))
        elif kind == "result":
            self._say()
            self._result = told
            self._count(told.get("stats") or {})
        return ""

    def _say(self) -> None:
        if self._text.strip():
            self._attempt.progress(_cli.shown(self._text))

    def _failed(self, told: dict[str, Any]) -> None:
        error = told.get("error") or {}
        unknown = error.get("type") in ("policy_violation", "tool_not_registered")
        if unknown or _REFUSED.search(str(error.get("message"))):
            self._denied.append(self._tools.get(str(told.get("tool_id")), "a tool"))

    def _count(self, stats: dict[str, Any]) -> None:
        """Set what this run has used, by the models that it turned to."""
        used = {name: _usage(told) for name, told in (stats.get("models") or {}).items()}
        self.usage = sum(used.values(), NOTHING_SAID)
        prices = self._attempt.settings.get("prices")
        costs = [_cli.price(name, usage, prices) for name, usage in used.items() if usage.input]
        known = [cost for cost in costs if cost is not None]
        self.cost = sum(known) if known and len(known) == len(costs) else None

    def turn(self, outcome: Outcome) -> CliTurn:
        said = outcome.stderr.decode("utf-8", "replace") if outcome.ended == "exited" else ""
        error = self._result.get("error") or {}
        problem = _words(str(error.get("message") or "")) or _complaint(said)
        # With status 0 it also ends when the model was not asked, because the prompt is too long
        # for it, and when it has said nothing. Its session has nothing of the prompt then.
        answered = self._result.get("status") == "success" and bool(self._text or self._tools)
        completed = outcome.passed and answered
        if outcome.passed and not answered:
            silent = "it ended without asking the model; is the prompt too long?"
            problem = self._warning or _complaint(said) or silent
        exit_kind = ExitKind.COMPLETED if completed else _kind(outcome.status, problem, said)
        waits = re.findall(r"[Rr]etry (?:in|after) ([\d.]+)s", f"{said}\n{problem}")
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


def _usage(told: dict[str, Any]) -> Usage:
    """Return tokens; thoughts are paid for as output and stand only in the total."""
    given = int(told.get("input_tokens") or 0)
    output = max(int(told.get("output_tokens") or 0), int(told.get("total_tokens") or 0) - given)
    return Usage(given, output, int(told.get("cached") or 0))


def _kind(status: int, problem: str, said: str) -> ExitKind:
    """Return how a run ended: its exit status is that of HTTP modulo 256, where there is one.

    Of a model that does not exist only its standard error tells more than the service's words.
    """
    found = (kind for pattern, kind in _SIGNATURES if pattern.search(problem))
    if kind := next(found, None):
        return kind
    if status == 41:
        return ExitKind.UNAUTHORISED
    if status >= 144:
        return _cli.refusal(status + 256)
    unknown = "NOT_FOUND" in problem or "ModelNotFoundError" in said
    return _cli.refusal(404) if unknown else ExitKind.CRASHED


def _words(message: str) -> str:
    """Return the words of an error, which may be JSON of the service in brackets."""
    inner = message.removeprefix("[API Error: ").removesuffix("]")
    error = _cli.event(inner.encode()).get("error")
    return _cli.shown(error.get("message") if isinstance(error, dict) else inner)


def _complaint(said: str) -> str:
    chatter = ("Warning:", "Ripgrep", "[STARTUP]", "YOLO", "    at ")
    return _cli.shown("\n".join(x for x in said.splitlines() if not x.startswith(chatter)))


def _action(tool: object, given: object) -> str:
    values = given if isinstance(given, Mapping) else {}
    keys = ("command", "file_path", "dir_path", "pattern", "query", "url")
    what = next((values[key] for key in keys if values.get(key)), "")
    return f"{tool} {_cli.shown(what)}".rstrip()


def probe(settings: Mapping[str, object]) -> Probe:
    """Look for the program, its version and whether its user is signed in."""
    signed_in = _cli.signed_in(LOGIN, *NEEDS, "GOOGLE_GENAI_USE_VERTEXAI")
    how = "not signed in: run `gemini` once and sign in, or set GEMINI_API_KEY"
    return _cli.probe("gemini", settings, first=_FIRST, below=_BELOW, signed_in=signed_in, how=how)
