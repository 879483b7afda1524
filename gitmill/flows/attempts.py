"""Attempts: run logs, transcripts, and events of running ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.flows import show
from gitmill.mill import Mill


def attempts(mill: Mill, typed: str = "", *, limit: int = 0) -> list[Document]:
    """Return the last run logs of one item or of all, oldest first; all when `limit` is 0."""
    snapshot = show.read(mill)
    items = [snapshot.resolve(typed)] if typed else snapshot.items.values()
    logs = [log for item in items for log in snapshot.run_logs(item.id)]
    logs.sort(key=lambda log: (str(log.value("started")), log.path))
    return logs[-limit:] if limit else logs


def logs_of(mill: Mill, typed: str) -> tuple[Item, list[Document]]:
    """Return an item with its run logs, oldest first."""
    snapshot = show.read(mill)
    item = snapshot.resolve(typed)
    return item, list(snapshot.run_logs(item.id))


def transcript(mill: Mill, item_id: str, log: Document) -> tuple[str, str]:
    """Return the transcript of an attempt, empty if none is stored, and its file."""
    from gitmill.attempts import transcripts  # noqa: PLC0415  (lists read no transcript)

    name = log.path.rpartition("/")[2].removesuffix(".md") + ".txt"
    text = transcripts.read(mill, item_id).get(name, "")
    return text, str(transcripts.path_of(mill, item_id, name))


def follow(mill: Mill, item_id: str) -> Iterator[dict[str, Any]]:
    """Yield the events of attempts on this machine as they happen, see `attempts/live_log.py`."""
    from gitmill.attempts import live_log  # noqa: PLC0415  (only with `log -f`)

    return live_log.follow(mill, item_id)
