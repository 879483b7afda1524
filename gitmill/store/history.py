"""The story of the state branch: its commits as events, newest first."""

from __future__ import annotations

from collections.abc import Iterator
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
