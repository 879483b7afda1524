"""The history of the state branch: its commits as events, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gitmill.core.trailers import EventRecord, parse_message
from gitmill.git.objects import Backend, read_commit


@dataclass(frozen=True, slots=True)
class Entry:
    """One state commit. `record` is None for a commit made by hand."""

    commit: str
    seconds: int
    author: str
    subject: str
    record: EventRecord | None


def entries(backend: Backend, tip: str, item: str = "") -> Iterator[Entry]:
    """Yield commits from the tip to the root along first parents; only those of `item` if given."""
    at: str | None = tip
    while at is not None:
        commit = read_commit(backend, at)
        subject, record = parse_message(commit.message)
        if not item or (record is not None and record.item == item):
            yield Entry(at, commit.seconds, commit.author_name, subject, record)
        at = commit.parents[0] if commit.parents else None


UNDOES = "Undoes"  # the trailer with the ids of the events that an event undoes


def in_effect(newest_first: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the events still in effect, newest first.

    Neither an undone event nor its undoing is: together they leave everything unchanged.
    """
    undone: set[str] = set()
    for entry in newest_first:
        if entry.record is None or entry.record.id in undone:
            continue
        if ids := entry.record.extra.get(UNDOES):
            undone |= set(ids.split())
        else:
            yield entry
