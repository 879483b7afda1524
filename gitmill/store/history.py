"""The story of the state branch: its commits as events, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gitmill.core.trailers import EventRecord, parse_message
from gitmill.git.objects import Backend, read_commit


@dataclass(frozen=True, slots=True)
class Entry:
    """One state commit. `record` is None for a commit that a person made by hand."""

    commit: str
    seconds: int
    author: str
    subject: str
    record: EventRecord | None


def entries(backend: Backend, tip: str, item: str = "") -> Iterator[Entry]:
    """Yield commits from the tip to the root along first parents, those of one item if named."""
    at: str | None = tip
    while at is not None:
        commit = read_commit(backend, at)
        subject, record = parse_message(commit.message)
        if not item or (record is not None and record.item == item):
            yield Entry(at, commit.seconds, commit.author_name, subject, record)
        at = commit.parents[0] if commit.parents else None


UNDOES = "Undoes"  # the trailer with the ids of the events that an event takes back


def standing(told: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the events that still count, newest first, of events in that order.

    What was undone does not, and the undoing does not either: after it everything is as it was
    before both.
    """
    gone: set[str] = set()
    for entry in told:
        if entry.record is None or entry.record.id in gone:
            continue
        if undone := entry.record.extra.get(UNDOES):
            gone |= set(undone.split())
        else:
            yield entry
