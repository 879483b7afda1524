"""Agents that cool down on this machine after an outage, stored in `.git/gitmill/cooling.json`.

All processes of this repository share that file. Without the file no agent is cooling down.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from gitmill import files
from gitmill.agents import base as agents
from gitmill.agents.base import ExitKind, Report
from gitmill.core.cooldown_rules import Cooling, next_cooling, parse, render
from gitmill.core.trailers import one_line
from gitmill.errors import AgentMissingError, PlantedFileError
from gitmill.git import locks
from gitmill.mill import Mill
from gitmill.store import secret_search

FILE = "cooling.json"
# The agent has reached its service, whatever the outcome.
_ANSWERED = frozenset({ExitKind.COMPLETED, ExitKind.GARBLED, ExitKind.OVER_BUDGET})


def cooling(mill: Mill) -> dict[str, Cooling]:
    """Return the agents that cool down now, by name."""
    now = mill.now()
    return {
        name: entry
        for name, entry in _read(mill.repository.private / FILE).items()
        if not entry.is_over(now, _login(name) if entry.login else "")
    }


def note_outcome(mill: Mill, agent: str, report: Report) -> None:
    """Start the cool-down of an agent after an outage, and end it after an answer."""
    if report.exit in agents.OUTAGES:
        kind, why = report.exit.value, one_line(secret_search.clean(report.problem), 200)
        now, jitter, login = mill.now(), mill.random(1)[0] / 255, _login(agent)

        def add(known: dict[str, Cooling]) -> None:
            known[agent] = next_cooling(
                known.get(agent), agent=agent, kind=kind, why=why, now=now,
                retry_after=report.retry_after, jitter=jitter, login=login,
            )  # fmt: skip

        _change(mill, add)
    elif report.exit in _ANSWERED:
        clear_cooldown(mill, agent)


def clear_cooldown(mill: Mill, agent: str) -> None:
    """End the cool-down of an agent: it has just answered, or a person has tried it."""
    if agent in _read(mill.repository.private / FILE):
        _change(mill, lambda known: known.pop(agent, None))


def _change(mill: Mill, change: Callable[[dict[str, Cooling]], object]) -> None:
    path = mill.repository.private / FILE
    with locks.held(path.with_suffix(".lock")):
        known = _read(path)
        change(known)
        files.replace(path, render(known).encode(), durable=mill.repository.durable)


def _read(path: Path) -> dict[str, Cooling]:
    try:
        return parse(files.read_regular(path).decode("utf-8", "replace"))
    except (FileNotFoundError, PlantedFileError):
        return {}


def _login(name: str) -> str:
    """Return 8 digits that change when the user signs in again or sets another key."""
    try:
        agent = agents.load(name)
    except AgentMissingError:
        agent = agents.load("command")
    digest = hashlib.sha256()
    for variable in agent.NEEDS:
        digest.update(f"{variable}={os.environ.get(variable, '')}\0".encode(errors="replace"))
    for login in agent.LOGIN:
        try:
            facts = login.own().stat()
        except OSError:
            continue
        digest.update(f"{login.name} {facts.st_mtime_ns} {facts.st_size}\0".encode())
    return digest.hexdigest()[:8]
