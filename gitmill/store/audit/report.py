"""The result of replaying a history."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """An event that records the revert `by` a commit of what an item had `landed`."""

    commit: str
    item: str
    landed: str
    by: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse:
    """The making of a task's work, which is on the commit `onto` and reverses what has `landed`."""

    commit: str
    item: str
    landed: str
    onto: str
    work: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyThere:
    """The end of an item whose work, replayed, changed nothing on the commit `onto`."""

    commit: str
    item: Item
    onto: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRead:
    """An event that read the policy at `oid`, a commit of the `target` as it was named then.

    `item` is the item before it, None for an event of the branch; `plan` the frozen plan that the
    event brought, empty if it brought none.
    """

    commit: str
    event: str
    oid: str
    target: str
    item: Item | None = None
    plan: str = ""


@dataclass
class AuditReport:
    """Faults break a rule, `unknown` findings cannot be checked in this clone, notices are fine."""

    tip: str
    commits: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    works: dict[str, set[str]] = field(default_factory=dict)  # all work commits an item ever had
    landings: list[Landed] = field(default_factory=list)
    reads: list[PolicyRead] = field(default_factory=list)
    titles: dict[str, set[str]] = field(default_factory=dict)  # all titles an item ever had
    reverted: list[Reverted] = field(default_factory=list)
    reverses: list[Reverse] = field(default_factory=list)
    already_there: list[AlreadyThere] = field(default_factory=list)
    faults: list[Violation] = field(default_factory=list)
    unknown: list[Violation] = field(default_factory=list)
    notices: list[Violation] = field(default_factory=list)

    def fault(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add a fault."""
        self.faults.append(Violation(rule, commit, item, what))

    def update(self, item: Item) -> None:
        """Record the current version of an item."""
        self.items[item.id] = item
        self.titles.setdefault(item.id, set()).add(item.title)
        if item.work:
            self.works.setdefault(item.id, set()).add(item.work)

    def add_faults(self, faults: Iterable[Fault], commit: str, item: str = "") -> None:
        """Add the faults of one commit."""
        self.faults += [Violation(fault.rule, commit, item, fault.what) for fault in faults]

    def notice(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add something that is fine and that a person may want to know."""
        self.notices.append(Violation(rule, commit, item, what))

    def leave_out(self, commits: Collection[str]) -> None:
        """Drop faults, notices and landings of these state commits: they were not asked for."""
        self.faults = [fault for fault in self.faults if fault.commit not in commits]
        self.notices = [notice for notice in self.notices if notice.commit not in commits]
        self.landings = [landed for landed in self.landings if landed.commit not in commits]
        self.reads = [read for read in self.reads if read.commit not in commits]
        self.reverses = [made for made in self.reverses if made.commit not in commits]
        self.already_there = [end for end in self.already_there if end.commit not in commits]

    def add_unknown(self, commit: str, what: str, item: str = "") -> None:
        """Add something that cannot be checked in this clone, which does not mean it is fine."""
        self.unknown.append(Violation("cannot-check", commit, item, what))
