"""Codex: `codex exec`, the prompt on standard input, one JSON object a line on its output.

Its own sandbox enforces every permission but `full`. Configuration, AGENTS.md and skills of the
repository are not loaded.
"""

from __future__ import annotations

import json
import os
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
from gitmill.core.verdict_schema import json_schema
from gitmill.errors import PlantedFileError
from gitmill.process import Command, Outcome

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace", "full"})
READS_PROMPT = True
NEEDS = ("CODEX_API_KEY", "OPENAI_API_KEY")
LOGIN = (Login(".codex/auth.json", "CODEX_HOME", ".codex"),)
SIGN_IN = "codex login"
KEYS: tuple[str, ...] = ()
PROGRAMS = (".codex/packages",)
PRICES = {  # from the vendor's public list as of 2026-11
    "gpt-5.5": Price(5.0, 0.5, 30.0),
    "gpt-5.4": Price(2.5, 0.25, 15.0),
    "gpt-5.3-codex": Price(1.75, 0.175, 14.0),
    "gpt-5.2": Price(1.75, 0.175, 14.0),
    "gpt-5.2-codex": Price(1.75, 0.175, 14.0),
    "gpt-5.1": Price(1.25, 0.125, 10.0),
    "gpt-5.1-codex": Price(1.25, 0.125, 10.0),
    "gpt-5.1-codex-mini": Price(0.25, 0.025, 2.0),
    "gpt-5": Price(1.25, 0.125, 10.0),
    "gpt-5-codex": Price(1.25, 0.125, 10.0),
    "gpt-5-mini": Price(0.25, 0.025, 2.0),
}
EXAMPLE = (
    {"type": "thread.started", "thread_id": "SESSION"},
    {"type": "item.completed",
     "item": {"type": "command_execution", "command": "DENIED", "status": "declined"}},
    {"type": "item.completed", "item": {"type": "agent_message", "text": "ANSWER"}},
    {"type": "turn.completed",
     "usage": {"input_tokens": 1000, "cached_input_tokens": 100, "output_tokens": 50}},
)  # fmt: skip

_FIRST, _BELOW = (0, 163), (1,)
_OFFICIAL = "https://api.openai.com/v1"
_QUIET = (
    "-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false",
    "--disable", "plugins", "--disable", "apps", "--disable", "unbounded_connection_retries",
)  # fmt: skip
# No AGENTS.md and no skills of the worktree; no secrets in the environment of its commands.
_CLOSED = (
    "-c", "project_doc_max_bytes=0", "-c", "skills.include_instructions=false",
    "-c", "shell_environment_policy.ignore_default_excludes=false",
)  # fmt: skip
_SANDBOXES = {
    "read-only": ("-c", 'sandbox_mode="read-only"'),
    "workspace": (
        "-c", 'sandbox_mode="workspace-write"',
        "-c", "sandbox_workspace_write.exclude_slash_tmp=true",
    ),
    "full": ("--dangerously-bypass-approvals-and-sandbox",),
}  # fmt: skip
_SIGNATURES = (
    (re.compile(r"[Qq]uota exceeded|[Mm]issing environment variable|[Nn]ot logged in"),
     ExitKind.UNAUTHORISED),
    (re.compile(r"usage limit|[Rr]ate limit|status: 429"), ExitKind.RATE_LIMITED),
    (re.compile(r"at capacity|high demand|overloaded"), ExitKind.OVERLOADED),
    (re.compile(r"[Cc]onnection failed|stream disconnected|error sending request|timed? ?out"),
     ExitKind.UNAVAILABLE),
)  # fmt: skip


def run(attempt: Attempt, execute: Execute) -> Report:
    """Carry out one attempt."""
    schema = attempt.scratch / "verdict-schema.json"
    files.replace(schema, json.dumps(json_schema(attempt.produces)).encode(), mode=0o600)
    home = _cli.folder(attempt.home, ".codex")
    env = {
        name: value
        for name, value in attempt.env.items()
        if not name.startswith("CODEX_") or name in NEEDS
    } | {"HOME": str(attempt.home), "CODEX_HOME": str(home), "TERM": "dumb"}

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        argv = (
            *_cli.program("codex", attempt.settings), "exec", *(("resume",) if session else ()),
            "--json", "--skip-git-repo-check", "--output-schema", str(schema),
            *(("-m", attempt.model) if attempt.model else ()),
            *_provider(attempt.env, signed_in=(home / "auth.json").exists()),
            # Not by `-s`: a resumed session lacks that option and would be read-only.
            *_SANDBOXES[attempt.permission], *_git_directory(attempt), *_QUIET, *_CLOSED,
            *_cli.options(attempt),
            *((session,) if session else ()), "-",
        )  # fmt: skip
        command = Command(
            argv, attempt.workdir, env,
            _cli.message(attempt, prompt), attempt.wall, attempt.idle,
        )  # fmt: skip
        return command, _Reader(attempt, session, home / "sessions")

    return converse(attempt, execute, begin)


def _git_directory(attempt: Attempt) -> tuple[str, ...]:
    """Return the setting that makes the worktree's own git directory writable."""
    if attempt.permission != "workspace":
        return ()
    folder = json.dumps([str(attempt.workdir / ".git")])
    return "-c", f"sandbox_workspace_write.writable_roots={folder}"


def _provider(env: Mapping[str, str], *, signed_in: bool) -> tuple[str, ...]:
    """Return the settings of the model's service, none for the default service with a login.

    The key itself stays in the environment. With a login, a key in the environment is not used: it
    would be billed to another account.
    """
    base = env.get("OPENAI_BASE_URL", "")
    key = next((name for name in NEEDS if env.get(name)), "")
    if not base and (signed_in or not key):
        return ()
    table = {"name": "gitmill", "base_url": base or _OFFICIAL, "wire_api": "responses"}
    table |= {"env_key": key} if key else {}
    fields = ",".join(f"{name}={json.dumps(value)}" for name, value in table.items())
    return ("-c", 'model_provider="gitmill"', "-c", f"model_providers.gitmill={{{fields}}}")


class _Reader:
    """Reads the lines of one run."""

    def __init__(self, attempt: Attempt, session: str, sessions: Path) -> None:
        self.usage = UNKNOWN_USAGE
        self.cost: float | None = None
        self._attempt = attempt
        self._resumed = bool(session)
        self._session = session
        self._record = _Record(sessions)
        self._before = _cli.Totals(attempt.home).before(session) if session else {}
        self._text = ""
        self._failed = ""
        self._retrying = ""
        self._denied: list[str] = []

    def line(self, line: bytes) -> str:
        event = _cli.event(line)
        kind = event.get("type")
        if kind == "thread.started":
            self._session = str(event.get("thread_id", ""))
        elif kind in ("item.started", "item.completed"):
            self._item(event.get("item") or {}, begun=kind == "item.started")
        elif kind == "turn.completed":
            self._record.total = event.get("usage") or {}
        elif kind == "turn.failed":
            self._failed = str((event.get("error") or {}).get("message") or "it failed")
        elif kind == "error":
            self._retrying = str(event.get("message", ""))
            self._attempt.progress(_cli.shown(self._retrying))
        if kind not in ("turn.completed", "turn.failed"):
            self._record.read(self._session)
        self._count()
        return ""

    def _item(self, item: dict[str, Any], *, begun: bool) -> None:
        kind = item.get("type")
        if kind == "error":
            return  # a warning; an error that ends the run is an event of its own
        self._retrying = ""
        if kind == "agent_message":
            self._text = str(item.get("text", ""))
            self._attempt.progress(_cli.shown(self._text))
        elif kind == "command_execution" and begun:
            self._attempt.progress(f"$ {_cli.shown(item.get('command'))}")
        elif kind == "command_execution" and _was_denied(item):
            self._denied.append(f"$ {_cli.shown(item.get('command'))}")
        elif kind == "file_change" and not begun:
            for change in item.get("changes") or ():
                self._attempt.progress(f"{change.get('kind')} {_cli.shown(change.get('path'))}")

    def _count(self) -> None:
        """Set the usage and cost of this run: the CLI reports those of the whole session."""
        total = self._record.total
        if not total:
            return
        own = {key: int(total.get(key) or 0) - int(self._before.get(key, 0)) for key in _SUMS}
        self.usage = Usage(*(max(0, own[key]) for key in _SUMS))
        prices = self._attempt.settings.get("prices")
        self.cost = _cli.price(self._model, self.usage, prices)

    @property
    def _model(self) -> str:
        return self._attempt.model or self._record.model

    def turn(self, outcome: Outcome) -> CliTurn:
        self._count()
        if self._session and self._record.total:
            sums = {key: float(self._record.total.get(key) or 0) for key in _SUMS}
            _cli.Totals(self._attempt.home).remember(self._session, sums)
        stderr = _cli.shown(outcome.stderr.decode("utf-8", "replace"))
        problem = self._failed or self._retrying or stderr
        completed = outcome.passed and not self._failed and bool(self._text)
        exit_kind = ExitKind.COMPLETED if completed else _kind(self._failed or self._retrying)
        if not completed and not self._failed and "nvironment variable" in stderr:
            exit_kind = ExitKind.UNAUTHORISED
        return CliTurn(
            exit=exit_kind,
            text=self._text,
            session=self._session,
            usage=self.usage,
            cost=self.cost,
            model=self._model,
            problem="" if completed else problem,
            retry_after=None if completed else _cli.stated_wait(problem),
            denied=tuple(self._denied),
            forgotten=self._resumed and "no rollout found" in stderr,
        )


_SUMS = ("input_tokens", "output_tokens", "cached_input_tokens")


class _Record:
    """The file in which Codex records a session: its model and usage, before the turn has ended.

    Codex prints the usage only at the end, and not at all if it is killed. `total` is the usage of
    the whole session; it stays empty if the file cannot be read.
    """

    def __init__(self, sessions: Path) -> None:
        self.total: dict[str, Any] = {}
        self.model = ""
        self._sessions = sessions
        self._path: Path | None = None
        self._at = 0

    def read(self, session: str) -> None:
        """Read the lines added to the record since the last call."""
        if self._path is None and re.fullmatch(r"[0-9a-f-]{36}", session):
            self._path = next(self._sessions.rglob(f"rollout-*{session}.jsonl"), None)
        if self._path is None:
            return
        try:
            descriptor = files.open_regular(self._path, os.O_RDONLY)  # the agent's own folder
            with os.fdopen(descriptor, "rb") as file:
                file.seek(self._at)
                added = file.read()
        except (OSError, PlantedFileError):
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            if b'"token_count"' in line or b'"turn_context"' in line:
                self._take(_cli.event(line))

    def _take(self, event: dict[str, Any]) -> None:
        payload = event.get("payload")
        if not isinstance(payload, dict):
            return
        if event.get("type") == "turn_context":
            self.model = str(payload.get("model") or self.model)
        elif payload.get("type") == "token_count":
            info = payload.get("info") or {}
            self.total = info.get("total_token_usage") or self.total


def _kind(message: str) -> ExitKind:
    """Return the exit of a run from its last error message."""
    if match := re.search(r"unexpected status (\d{3})", message):
        return _cli.refusal(int(match[1]))
    kinds = (kind for pattern, kind in _SIGNATURES if pattern.search(message))
    return next(kinds, ExitKind.CRASHED)


def _was_denied(item: dict[str, Any]) -> bool:
    output = str(item.get("aggregated_output", ""))
    blocked = re.search(r"Read-only file system|Operation not permitted|Permission denied", output)
    return item.get("status") == "declined" or bool(item.get("exit_code") and blocked)


def probe(settings: Mapping[str, object]) -> Probe:
    """Return the program, its version and whether its user is signed in."""
    signed_in = _cli.signed_in(LOGIN, *NEEDS, "OPENAI_BASE_URL")
    how = "not signed in: run `codex login`, or set OPENAI_API_KEY"
    return _cli.probe("codex", settings, first=_FIRST, below=_BELOW, signed_in=signed_in, how=how)
