"""What a replay knows at one commit of the history: all that it needs to go on from there.

It is plain data, so that `fsck` can store it; items and documents are blob ids, read on demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.git.objects import Backend, Entry
from gitmill.store import layout


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event in effect: its commit, and the blobs of its document around it, empty for none."""

    commit: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class HandEdit:
    """The last commit that edited a file by hand, and the entry before all hand edits of it."""

    commit: str
    original: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A landing: its state commit, its item, the candidate, what it landed on, reviewed patches."""

    commit: str
    item_id: str
    candidate: str
    onto: str
    target: str
    patches: frozenset[str]


@dataclass
class Replayed:
    """The state of a replay after one commit, with the `tree` of that commit."""

    tree: str = ""
    commits: int = 0
    rules: int = 1
    newest: int = 0  # the latest time of an event, in seconds since 1970
    last_event: str = ""  # the commit of the last event
    items: dict[str, str] = field(default_factory=dict)  # by id: the blob of its document
    unfinished: set[str] = field(default_factory=set)  # items whose status is not final
    claimed: dict[str, str] = field(default_factory=dict)  # by id: the blob as of its claim
    works: dict[str, set[str]] = field(default_factory=dict)  # all work commits an item ever had
    titles: dict[str, set[str]] = field(default_factory=dict)  # all titles an item ever had
    event_ids: set[str] = field(default_factory=set)
    claims: set[str] = field(default_factory=set)
    in_effect: dict[str, list[PastEvent]] = field(default_factory=dict)  # by item
    control: str = ""  # the blob of `control.md`, empty if there is none
    steered: list[PastEvent] = field(default_factory=list)  # pauses and resumes in effect
    by_hand: dict[str, HandEdit] = field(default_factory=dict)  # by path: not applied yet
    people: set[str] = field(default_factory=set)  # all commits of people
    landed: list[Landed] = field(default_factory=list)
    reverted: set[str] = field(default_factory=set)  # landed commits
    targets: dict[str, str] = field(default_factory=dict)  # by ref: where it was first read


class Items(Mapping[str, Item]):
    """The items of a history, each read from its blob when it is first asked for."""

    def __init__(self, backend: Backend, replayed: Replayed) -> None:
        self._backend = backend
        self._replayed = replayed
        self._read: dict[str, Item] = {}

    def __getitem__(self, name: str) -> Item:
        item = self._read.get(name)
        if item is None:
            item = self._read[name] = self.at(name, self._replayed.items[name])
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(self._replayed.items)

    def __len__(self) -> int:
        return len(self._replayed.items)

    def at(self, name: str, blob: str) -> Item:
        """Return an item as one of its blobs has it. Raises `BadDocumentError`."""
        data = self._backend.read(blob)[1]
        return read_item(Document.from_bytes(data, layout.item_path(name)))

    def unfinished(self) -> Iterator[Item]:
        """Yield the items whose status is not final: only they have leases and candidates."""
        for name in self._replayed.unfinished:
            yield self[name]

    def put(self, item: Item, blob: str) -> None:
        """Record the current version of an item."""
        replayed = self._replayed
        self._read[item.id] = item
        replayed.items[item.id] = blob
        replayed.titles.setdefault(item.id, set()).add(item.title)
        if item.work:
            replayed.works.setdefault(item.id, set()).add(item.work)
        (replayed.unfinished.discard if item.is_final else replayed.unfinished.add)(item.id)
