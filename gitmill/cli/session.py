"""Parts of most commands: open the mill, resolve an id, answer with an item."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitmill.cli import output

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


def answer_item(item: Item, sentence: str, *commands: str) -> None:
    """Answer with an item after a change, and print the next commands."""
    output.answer([], {"item": as_json(item)})
    output.print_line(sentence)
    output.next_step(*commands)


def after(item: Item) -> tuple[str, ...]:
    """Return the commands that usually come next for an item, by its status."""
    by_status: dict[str, tuple[str, ...]] = {
        "draft": (f"gitmill task ready {item.id}",),
        "ready": (f"gitmill run {item.id}",),
        "running": (f"gitmill log {item.id}",),
        "waiting": (f"gitmill task diff {item.id}", f"gitmill task approve {item.id}"),
        "blocked": (f"gitmill task show {item.id}", f"gitmill task retry {item.id}"),
        "approved": ("gitmill queue land",),
        "queued": ("gitmill queue land",),
        "landing": ("gitmill queue",),
    }
    if item.status.value == "waiting" and item.reverted:
        return (f"gitmill task reopen {item.id}", f"gitmill task cancel {item.id}")
    if item.status.value == "waiting" and not item.work:
        return (f'gitmill task answer {item.id} -m "…"',)
    return by_status.get(item.status.value, ("gitmill status",))
