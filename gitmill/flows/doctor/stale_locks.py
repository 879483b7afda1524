"""Stale locks in the repository: of git and of gitmill."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from gitmill.flows.doctor.diagnosis import Diagnoses, ok, warning
from gitmill.git import locks
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.store import layout

_OLD = 5.0  # seconds; git holds a lock for milliseconds


def git_locks(mill: Mill) -> Diagnoses:
    """Diagnose stale locks of git; only their owner may remove them."""
    stale = list(_foreign_locks(mill.repository.common))
    for path, age in stale:
        yield warning(
            f"{path} is {_span(age)} old: git cannot write what it locks",
            Hint(
                "check whether git is still running:",
                Shell("ps -C git -f"),
                "; if not, move the file away",
            ),
        )
    if not stale:
        yield ok("no stale lock of git")


def _foreign_locks(common: Path) -> Iterator[tuple[str, float]]:
    paths = [*common.glob("*.lock"), *(common / "refs").rglob("*.lock"),
              *common.glob("worktrees/*/*.lock"), *common.glob("objects/*.lock")]  # fmt: skip
    for path in paths:
        name = str(path.relative_to(common))
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue
        own = layout.is_own(name.removesuffix(".lock")) or name == locks.PACKED
        if age >= _OLD and not own:
            yield name, age


def own_locks(mill: Mill) -> Diagnoses:
    """Diagnose stale locks on gitmill's own refs and on the packed refs."""
    stale = [str(lock) for lock in locks.stale(mill.repository.common, layout.OWN)]

    def fix() -> str:
        return f"set aside {', '.join(mill.store.clear_stale()) or 'nothing'}"

    if stale:
        yield warning(
            f"left by a killed process: {', '.join(stale)}", Hint(Gitmill("recover")), fix=fix
        )
    else:
        yield ok("no stale lock of gitmill")


def _span(age: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if age >= 2 * size:
            return f"{int(age // size)} {unit}"
    return f"{int(age)} seconds"
