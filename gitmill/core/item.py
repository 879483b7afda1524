"""Items as values; `docs/formats.md` explains the fields, `item_reader.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from gitmill.core.document import Document
from gitmill.core.ids import Kind, derived_id
from gitmill.core.lease import Lease
from gitmill.core.lifecycle import FINAL, Status


class Risk(StrEnum):
    """The harm that a change can do; a gate may ask a person because of it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True)
class Reviewed:
    """An approval by a reviewer or a person.

    It names the work by its commit and patch identity, or the document by its hash.
    """

    commit: str
    patch: str
    by: str
    run: int = 0
    stage: str = ""
    document: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Landing:
    """A landing in progress: the candidate, and the tip that the target must have before it."""

    candidate: str
    onto: str
    target: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RedTarget:
    """A check that is red on the target without any work, and the commit of the target."""

    check: str
    commit: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One item, read from its document. A change makes a new document and a new item.

    Commits are object ids, empty for none. `extra` has the unknown keys.
    """

    id: str
    kind: Kind
    title: str
    status: Status
    event: str
    created: datetime
    since: datetime
    by: str = ""
    stage: str = ""
    priority: int = 2
    risk: Risk = Risk.MEDIUM
    after: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    script: str = ""
    fixes_check: str = ""
    parent: str = ""
    source: str = ""
    plan: str = ""
    frozen: str = ""
    lease: Lease | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    attempt: int = 0
    budget_after: int = 0
    builder: str = ""
    base: str = ""
    work: str = ""
    reviewed: tuple[Reviewed, ...] = ()
    feedback: str = ""
    returned: str = ""
    bare: bool = False
    red_target: RedTarget | None = None
    landing: Landing | None = None
    landed: str = ""
    reverted: str = ""
    disputed: str = ""
    checked: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    answer: str = ""
    cancel_requested: bool = False
    document: Document = field(default=Document(""), repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def commands(self) -> tuple[str, ...]:
        """The command criteria, without their `$`."""
        return tuple(c[1:].strip() for c in self.criteria if is_command(c))

    @property
    def prose(self) -> tuple[str, ...]:
        """The criteria in prose, which only a reviewer can decide."""
        return tuple(c for c in self.criteria if not is_command(c))

    @property
    def is_written(self) -> bool:
        """Whether its text is a document that its loop produced."""
        return bool(self.builder) and not self.work

    @property
    def is_final(self) -> bool:
        """Whether its status is final."""
        return self.status in FINAL

    def stands_red(self, tip: str) -> bool:
        """Whether it waits for the target to move: a check that it needs is red at this tip."""
        return self.red_target is not None and self.red_target.commit == tip

    def count(self, counter: str) -> int:
        """Return a counter, 0 if it is not set."""
        return self.counters.get(counter, 0)


def is_command(criterion: str) -> bool:
    """Whether a criterion is a command, `$ command`, that must exit 0."""
    return criterion.startswith("$") and bool(criterion[1:].strip())


def is_revert_task(item: Item) -> bool:
    """Whether an item is the one task that reverts a certain landing."""
    return item.source.startswith(f"{REVERT}:") and item.id == derived_id(Kind.TASK, item.source)


def frozen_hash(criteria: Sequence[str], script: str, paths: Sequence[str]) -> str:
    """Return the hash stored at a claim, so that the task cannot change under its builder."""
    import hashlib  # noqa: PLC0415  (reads hash nothing, and it costs 3 ms)

    text = json.dumps([list(criteria), script, list(paths)], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


REVERT = "revert"  # begins the source of a task that reverts a landing, and names its run log
# Counters of aborted landings: those that the item is to blame for, and those that it lost to a
# target that moved meanwhile.
ABORTS, MOVED = "aborts", "moved"
# Patterns of a title and of an object id, which can be empty.
LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,300}"
OID = r"([0-9a-f]{40}([0-9a-f]{24})?)?"
# The known keys of an item's document.
KEYS = frozenset(known.name for known in fields(Item)) - {"document", "extra"}


def as_json(value: Any) -> Any:
    """Return an item, or a part of one, as JSON values, without its document."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(inner) for inner in value]
    if isinstance(value, Item | Lease | Reviewed | Landing | RedTarget):
        hidden = {"extra"} | ({"document"} if isinstance(value, Item) else set())
        if isinstance(value, Reviewed) and not value.document:
            hidden.add("document")
        names = [part.name for part in fields(value) if part.name not in hidden]
        return {name: as_json(getattr(value, name)) for name in names} | as_json(value.extra)
    return value
