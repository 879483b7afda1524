"""Print `status` from the board stored for the tip of the state branch.

The board is a file below `.git/gitmill`, keyed by the state commit; deleting it loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitmill import files, process
from gitmill.cli import output
from gitmill.errors import PlantedFileError
from gitmill.hints import Blank, Gitmill

if TYPE_CHECKING:
    from gitmill.core.board import Board
    from gitmill.core.cooldown_rules import Cooling

BOARD, COOLING = "board.json", "cooling.json"
NOT_ENFORCED = "not-enforced"  # workspace/sandbox.py writes it
NOTHING: Mapping[str, Any] = {}
STATE = "refs/heads/gitmill/state"


def status() -> bool:
    """Print the stored board if it is of the current state; return whether it was printed."""
    query = ("-C", output.settings.directory, "rev-parse", "--path-format=absolute")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = process.run(("git", *query, "--git-common-dir", STATE), env=env, check=False)
    lines = done.text.splitlines()
    if done.returncode != 0 or len(lines) != 2:
        return False
    try:
        folder = Path(lines[0]) / "gitmill"
        stored = json.loads(files.read_regular(folder / BOARD))
        if stored["tip"] != lines[1]:
            return False
        from gitmill.core.board import from_json

        board = from_json(stored["board"])
        cooling = _cooling(folder)
    except (OSError, PlantedFileError, ValueError, KeyError, TypeError):
        return False
    if cooling is None:
        return False
    show(board, folder, cooling)
    return True


def _cooling(folder: Path) -> list[Cooling] | None:
    """Return the agents that are cooling down; None if the file alone does not show that."""
    try:
        text = files.read_regular(folder / COOLING).decode("utf-8")
    except FileNotFoundError:
        return []
    from gitmill.core.cooldown_rules import parse

    now = datetime.now(UTC)
    cooling = [agent for agent in parse(text).values() if not agent.is_over(now, agent.login)]
    return None if any(agent.login for agent in cooling) else cooling


def store_board(folder: Path, tip: str, board: Board) -> None:
    """Store the board of a state commit; the next status builds it again if this fails."""
    from gitmill.core.board import to_json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / BOARD, json.dumps({"tip": tip, "board": to_json(board)}).encode())
    except OSError:
        return


def show(
    board: Board,
    folder: Path,
    cooling: Sequence[Cooling] = (),
    budget: Mapping[str, Any] = NOTHING,
    red: Mapping[str, str] = NOTHING,
) -> None:
    """Print the board, agents that are cooling down, the day's cost, and the next command.

    `folder` is gitmill's own in the git directory; `red` has a sentence for each check that is red
    on the target.
    """
    from gitmill.cli.show import board_json, board_lines

    now = output.past[0].time if output.past else datetime.now(UTC)
    notes = [(f"{agent.agent} cools down", agent.describe(now)) for agent in cooling]
    if budget:
        notes.append(("budget today", str(budget["told"])))
    notes += [("red target", f"{text}: what needs it waits") for text in red.values()]
    reason = "" if output.past else _not_enforced(folder)
    if reason:
        notes.append(("sandbox not enforced", reason))
    data = board_json(board, now) | {
        "cooling": [_cooling_json(agent) for agent in cooling],
        "budget": dict(budget) or None, "not_enforced": reason or None, "red": list(red),
    }  # fmt: skip
    output.answer(board_lines(board, now, notes), data)
    output.next_step(*_fix_commands(red), *_next_commands(board))


def _fix_commands(red: Mapping[str, str]) -> tuple[Gitmill, ...]:
    """Return the commands that let checks be fixed which are red on the target."""
    return tuple(
        Gitmill("task", "new", Blank('"Fix it"'), "--fixes-check", check, "--ready")
        for check in red
    )


def _cooling_json(agent: Cooling) -> dict[str, Any]:
    until = agent.until.isoformat().replace("+00:00", "Z")
    return {"agent": agent.agent, "exit": agent.kind, "why": agent.why, "until": until}


def _next_commands(board: Board) -> tuple[Gitmill, ...]:
    """Return the commands for the most urgent status on the board."""
    first = {row.status.value: row.id for row in reversed(board.rows)}
    if "waiting" in first:
        return (Gitmill("task", "show", first["waiting"]),)
    if "ready" in first:
        return (Gitmill("run"),)
    if "approved" in first or "queued" in first:
        return (Gitmill("queue", "land"),)
    if "blocked" in first:
        task = first["blocked"]
        return Gitmill("task", "show", task), Gitmill("task", "retry", task)
    return (Gitmill("task", "new", Blank('"What to do"'), "--ready"),)


def _not_enforced(folder: Path) -> str:
    """Return why the last run had no sandbox; empty if it had one, or before the first run."""
    try:
        return files.read_regular(folder / NOT_ENFORCED).decode("utf-8", "replace").strip()
    except (OSError, PlantedFileError):
        return ""
