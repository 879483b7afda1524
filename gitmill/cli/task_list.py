"""The list of tasks. It needs no typer, whose import takes longer than the list itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gitmill.cli import output, session
from gitmill.core.lifecycle import FINAL, Status
from gitmill.errors import GitmillError, UsageError
from gitmill.flows import show
from gitmill.hints import Blank, Gitmill, Hint

if TYPE_CHECKING:
    from gitmill.core.item import Item
    from gitmill.store.snapshot import Snapshot


def print_tasks(statuses: Sequence[str] = (), *, everything: bool = False) -> None:
    """Print the tasks with one of the statuses; without any, the open ones or `everything`.

    Raises `UsageError` for an unknown status.
    """
    _require_statuses(statuses)
    snapshot = show.read(session.mill())
    items = _chosen(snapshot, statuses, everything=everything)
    rows = [
        f"{item.id}  {output.word(item.status.value, 9)}  {item.stage:<8}  {item.title}"
        for item in items
    ]
    output.answer(rows, lambda: {"items": [session.as_json(item) for item in items]})
    _warn_broken(snapshot.broken)
    if not items:
        output.print_line("no tasks")
        output.next_step(Gitmill("task", "new", Blank('"What to do"'), "--ready"))


def _require_statuses(names: Sequence[str]) -> None:
    known = [status.value for status in Status]
    for name in names:
        if name not in known:
            hint = Hint(f"known: {', '.join(known)}")
            raise UsageError(f"there is no status {name}", hints=[hint])


def _chosen(snapshot: Snapshot, statuses: Sequence[str], *, everything: bool) -> list[Item]:
    """Return the items to list, by priority."""
    items = sorted(snapshot.items.values(), key=lambda i: (i.priority, i.created, i.id))
    if statuses:
        return [item for item in items if item.status.value in statuses]
    return [item for item in items if everything or item.status not in FINAL]


def _warn_broken(broken: Mapping[str, GitmillError]) -> None:
    for error in broken.values():
        output.print_line(f"warning: {error.message}; skipped until it is fixed")
