"""The result of replaying a history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gitmill.core.audit.event import Fault
from gitmill.core.check_record import CheckRecord
from gitmill.core.item import Item


@dataclass(frozen=True, slots=True)
class Violation:
    """A finding about a commit, with its rule and item."""

    rule: str
    commit: str
    item: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A landing in the history: the item before and after, and the checks passed by then."""

    commit: str
    before: Item
    item: Item
    candidate: str
    onto: str
    target: str
    passes: tuple[CheckRecord, ...]


@dataclass
class AuditReport:
    """Faults break a rule, `unknown` findings cannot be checked in this clone, notices are fine."""

    tip: str
    commits: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    works: dict[str, set[str]] = field(default_factory=dict)  # all work commits an item ever had
    landings: list[Landed] = field(default_factory=list)
    reverted: set[str] = field(default_factory=set)  # landed commits
    faults: list[Violation] = field(default_factory=list)
    unknown: list[Violation] = field(default_factory=list)
    notices: list[Violation] = field(default_factory=list)

    def fault(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add a fault."""
        self.faults.append(Violation(rule, commit, item, what))

    def update(self, item: Item) -> None:
        """Record the current version of an item."""
        self.items[item.id] = item
        if item.work:
            self.works.setdefault(item.id, set()).add(item.work)

    def add_faults(self, faults: Iterable[Fault], commit: str, item: str = "") -> None:
        """Add the faults of one commit."""
        self.faults += [Violation(fault.rule, commit, item, fault.what) for fault in faults]

    def add_unknown(self, commit: str, what: str, item: str = "") -> None:
        """Add something that cannot be checked in this clone, which does not mean it is fine."""
        self.unknown.append(Violation("cannot-check", commit, item, what))
