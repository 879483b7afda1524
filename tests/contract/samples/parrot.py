"""A small agent: its program prints one JSON object a line, and resumes sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping

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
)  # fmt: skip
from gitmill.process import Command, Outcome

ROLES = ANY_ROLE
PERMISSIONS = frozenset({"read-only", "workspace"})
READS_PROMPT = True
NEEDS = ("PARROT_KEY",)
LOGIN: tuple[Login, ...] = ()
SIGN_IN = ""
KEYS = (".parrot",)
PROGRAMS: tuple[str, ...] = ()
PRICES = {"grey": Price(1.0, 0.1, 2.0)}
EXAMPLE = (
    {"session": "SESSION", "denied": "DENIED"},
    {"usage": {"input": 1000, "output": 50, "cached": 100}, "cost": 0.01},
    {"text": "ANSWER"},
)


class _Reader:
    def __init__(self) -> None:
        self.usage = UNKNOWN_USAGE
        self.cost: float | None = None
        self.seen: dict[str, str] = {}

    def line(self, line: bytes) -> str:
        event = json.loads(line)
        if "usage" in event:
            self.usage, self.cost = Usage(**event["usage"]), event["cost"]
        self.seen |= event
        return ""

    def turn(self, outcome: Outcome) -> CliTurn:
        completed = outcome.passed and "text" in self.seen
        return CliTurn(
            exit=ExitKind.COMPLETED if completed else ExitKind.CRASHED,
            text=self.seen.get("text", ""),
            session=self.seen.get("session", ""),
            usage=self.usage,
            cost=self.cost,
            denied=(self.seen["denied"],) if "denied" in self.seen else (),
        )


def run(attempt: Attempt, execute: Execute) -> Report:
    """Carry out one attempt."""

    def begin(prompt: str, session: str) -> tuple[Command, _Reader]:
        own = attempt.settings.get("command")
        program = tuple(own) if isinstance(own, list | tuple) else ("parrot",)
        resumed = ("--resume", session) if session else ()
        return attempt.command((*program, *resumed), stdin=prompt.encode()), _Reader()

    return converse(attempt, execute, begin)


def probe(settings: Mapping[str, object]) -> Probe:
    """Return that it is never installed."""
    del settings
    return Probe(found=False, detail="there is no parrot on PATH")
