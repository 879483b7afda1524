"""What the replay of a history came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gitmill.core.audit.event import Fault
from gitmill.core.check_record import CheckRecord
from gitmill.core.item import Item


@dataclass(frozen=True, slots=True)
class Violation:
    """Something to tell of a commit: by which rule, of which item, what."""

    rule: str
    commit: str
    item: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A landing as the history has it: the item before and after, what had passed by then."""

    commit: str
    before: Item
    item: Item
    candidate: str
    onto: str
    target: str
    passes: tuple[CheckRecord, ...]


@dataclass
class AuditReport:
    """Faults break a rule; `unknown` is what cannot be checked here; notices are no faults."""

    tip: str
    commits: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    works: dict[str, set[str]] = field(default_factory=dict)  # all that an item's work ever was
    landings: list[Landed] = field(default_factory=list)
    reverted: set[str] = field(default_factory=set)  # landed commits
    faults: list[Violation] = field(default_factory=list)
    unknown: list[Violation] = field(default_factory=list)
    notices: list[Violation] = field(default_factory=list)

    def fault(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add a fault."""
        self.faults.append(Violation(rule, commit, item, what))

    def stands(self, item: Item) -> None:
        """Take an item as it stands now."""
        self.items[item.id] = item
        if item.work:
            self.works.setdefault(item.id, set()).add(item.work)

    def tell(self, faults: Iterable[Fault], commit: str, item: str = "") -> None:
        """Add what the rules found in one commit."""
        self.faults += [Violation(fault.rule, commit, item, fault.what) for fault in faults]

    def cannot(self, commit: str, what: str, item: str = "") -> None:
        """Add what cannot be checked here, which is not the same as fine."""
        self.unknown.append(Violation("cannot-check", commit, item, what))
