"""`status` from a stored board: read the tip of the state, print the board stored for it.

The board is a file below `.git/gitmill`, keyed by the state commit; deleting it loses nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitmill import process
from gitmill.cli import output

if TYPE_CHECKING:
    from gitmill.core.board import Board
    from gitmill.core.cooldown_rules import Cooling

KEPT, COOLING = "board.json", "cooling.json"
NOT_ENFORCED = "not-enforced"  # workspace/sandbox.py writes it
NOTHING: Mapping[str, Any] = {}
STATE = "refs/heads/gitmill/state"


def status() -> bool:
    """Print the stored board if it is of the current state; return whether it was."""
    where = ("-C", output.settings.directory, "rev-parse", "--path-format=absolute")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = process.run(("git", *where, "--git-common-dir", STATE), env=env, check=False)
    lines = done.text.splitlines()
    if done.returncode != 0 or len(lines) != 2:
        return False
    try:
        kept = json.loads((Path(lines[0]) / "gitmill" / KEPT).read_text("utf-8"))
        if kept["tip"] != lines[1]:
            return False
        from gitmill.core.board import from_json

        board = from_json(kept["board"])
        cold = _cold(Path(lines[0]) / "gitmill")
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if cold is None:
        return False
    show(board, Path(lines[0]) / "gitmill", cold)
    return True


def _cold(folder: Path) -> list[Cooling] | None:
    """Return the agents that cool down; None if the file alone cannot tell."""
    try:
        text = (folder / COOLING).read_text("utf-8")
    except FileNotFoundError:
        return []
    from gitmill.core.cooldown_rules import parse

    known = [one for one in parse(text).values() if not one.is_over(datetime.now(UTC), one.login)]
    return None if any(one.login for one in known) else known


def keep(folder: Path, tip: str, board: Board) -> None:
    """Store the board of a state commit; without it the next status makes it again."""
    from gitmill.core.board import to_json

    new = folder / f"{KEPT}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"tip": tip, "board": to_json(board)}), "utf-8")
        new.replace(folder / KEPT)
    except OSError:
        return


def show(
    board: Board,
    folder: Path,
    cold: Sequence[Cooling] = (),
    budget: Mapping[str, Any] = NOTHING,
) -> None:
    """Print the board, agents that cool down, the day's cost, and the next command.

    `folder` is gitmill's own in the git directory.
    """
    from gitmill.cli.show import board_json, board_lines

    now = output.past[0].time if output.past else datetime.now(UTC)
    notes = [(f"{one.agent} cools down", one.describe(now)) for one in cold]
    if budget:
        notes.append(("budget today", str(budget["told"])))
    why = "" if output.past else _not_enforced(folder)
    if why:
        notes.append(("sandbox not enforced", why))
    cools = [
        {"agent": one.agent, "exit": one.kind, "why": one.why,
         "until": one.until.isoformat().replace("+00:00", "Z")}
        for one in cold
    ]  # fmt: skip
    told = board_json(board, now) | {
        "cooling": cools, "budget": dict(budget) or None, "not_enforced": why or None,
    }  # fmt: skip
    output.answer(board_lines(board, now, notes), told)
    first = {row.status.value: row.id for row in reversed(board.rows)}
    if "waiting" in first:
        task = first["waiting"]
        output.next_step(f"gitmill task show {task}")
    elif "ready" in first:
        output.next_step("gitmill run")
    elif "approved" in first or "queued" in first:
        output.next_step("gitmill queue land")
    elif "blocked" in first:
        task = first["blocked"]
        output.next_step(f"gitmill task show {task}", f"gitmill task retry {task}")
    else:
        output.next_step('gitmill task new "What to do" --ready')


def _not_enforced(folder: Path) -> str:
    """Return why the last run here had no sandbox; empty if it had one, or none ran yet."""
    try:
        return (folder / NOT_ENFORCED).read_text("utf-8", "replace").strip()
    except OSError:
        return ""
