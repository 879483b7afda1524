"""Parts of most commands: open the mill, resolve an id, answer with an item."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitmill.cli import output
from gitmill.hints import Blank, Gitmill, Shell

if TYPE_CHECKING:
    from gitmill.core.item import Item
    from gitmill.mill import Mill


def mill() -> Mill:
    """Open the repository that `-C` or the current folder names, as of `--at` if given."""
    from gitmill.flows.open_mill import open_mill, open_past

    folder = Path(output.settings.directory)
    if not output.settings.at:
        return open_mill(folder, report=output.print_line, writes=not output.settings.reads)
    opened, entry = open_past(folder, output.settings.at)
    time = datetime.fromtimestamp(entry.seconds, UTC)
    output.past[:] = [output.Past(entry.commit, time, entry.subject)]
    return opened


def resolve(opened: Mill, typed: str) -> str:
    """Return the full id of a typed one."""
    return opened.snapshot().resolve(typed).id


def as_json(item: Item) -> dict[str, Any]:
    """Return an item in the form of `--json`."""
    from gitmill.core import item as items

    fields = {key: value for key, value in items.as_json(item).items() if value is not None}
    return fields | {"body": item.document.body.strip()}


def answer_item(item: Item, sentence: str, *commands: Gitmill | Shell) -> None:
    """Answer with an item after a change, and print the next commands."""
    output.answer([], {"item": as_json(item)})
    output.print_line(sentence)
    output.next_step(*commands)


def after(item: Item) -> tuple[Gitmill, ...]:
    """Return the commands that usually come next for an item, by its status."""
    by_status: dict[str, tuple[Gitmill, ...]] = {
        "draft": (Gitmill("task", "ready", item.id),),
        "ready": (Gitmill("run", item.id),),
        "running": (Gitmill("log", item.id),),
        "waiting": (Gitmill("task", "diff", item.id), Gitmill("task", "approve", item.id)),
        "blocked": (Gitmill("task", "show", item.id), Gitmill("task", "retry", item.id)),
        "approved": (Gitmill("queue", "land"),),
        "queued": (Gitmill("queue", "land"),),
        "landing": (Gitmill("queue"),),
    }
    if item.status.value == "waiting" and item.reverted:
        return (Gitmill("task", "reopen", item.id), Gitmill("task", "cancel", item.id))
    if item.status.value == "waiting" and item.is_written:
        return (Gitmill("task", "show", item.id), Gitmill("task", "approve", item.id))
    if item.status.value == "approved" and not item.work:
        return (Gitmill("run", item.id),)
    if item.status.value == "waiting" and not item.work:
        return (Gitmill("task", "answer", item.id, "-m", Blank('"…"')),)
    return by_status.get(item.status.value, (Gitmill("status"),))
