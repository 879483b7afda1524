"""The result of replaying a history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gitmill.core.audit.event import Fault
from gitmill.core.check_record import CheckRecord
from gitmill.core.item import Item
from gitmill.store.audit.replayed import Items, Landed, Replayed


@dataclass(frozen=True, slots=True)
class Violation:
    """A finding about a commit, with its rule and item."""

    rule: str
    commit: str
    item: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLanding:
    """A landing to verify: the item before and after it, and the checks passed by then."""

    landed: Landed
    before: Item
    item: Item
    passes: tuple[CheckRecord, ...]

    @property
    def commit(self) -> str:
        """The state commit of the landing."""
        return self.landed.commit

    @property
    def candidate(self) -> str:
        """The landed commit."""
        return self.landed.candidate

    @property
    def onto(self) -> str:
        """The target's tip before it."""
        return self.landed.onto


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
    """The end of an item whose work, replayed, changed nothing on the target's commit `onto`.

    `onto` is empty if the event names none.
    """

    commit: str
    item: Item
    onto: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Work that a run log records, and the patch that it says the work is."""

    commit: str
    item: str
    base: str
    work: str
    patch: str


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
    """Faults break a rule, `unknown` findings cannot be checked in this clone, notices are fine.

    `landed` and `targets` are those of the whole history, as `replayed` has them, until some are
    left out; the other lists have what is still to verify against the rest of the repository.
    """

    tip: str
    replayed: Replayed
    items: Items
    landed: list[Landed] = field(init=False)
    targets: Mapping[str, str] = field(init=False)
    landings: list[NewLanding] = field(default_factory=list)
    reads: list[PolicyRead] = field(default_factory=list)
    reverts: list[Reverted] = field(default_factory=list)
    reverses: list[Reverse] = field(default_factory=list)
    already_there: list[AlreadyThere] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    faults: list[Violation] = field(default_factory=list)
    unknown: list[Violation] = field(default_factory=list)
    notices: list[Violation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.landed, self.targets = self.replayed.landed, self.replayed.targets

    @property
    def commits(self) -> int:
        """The number of state commits up to the last one that could be read."""
        return self.replayed.commits

    def fault(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add a fault."""
        self.faults.append(Violation(rule, commit, item, what))

    def add_faults(self, faults: Iterable[Fault], commit: str, item: str = "") -> None:
        """Add the faults of one commit."""
        self.faults += [Violation(fault.rule, commit, item, fault.what) for fault in faults]

    def notice(self, rule: str, commit: str, what: str, item: str = "") -> None:
        """Add something that is fine and that a person may want to know."""
        self.notices.append(Violation(rule, commit, item, what))

    def leave_out(self, commits: Collection[str]) -> None:
        """Drop what concerns these state commits: they were not asked for."""
        self.faults = [fault for fault in self.faults if fault.commit not in commits]
        self.notices = [notice for notice in self.notices if notice.commit not in commits]
        self.landings = [new for new in self.landings if new.landed.commit not in commits]
        self.landed = [landed for landed in self.landed if landed.commit not in commits]
        self.reads = [read for read in self.reads if read.commit not in commits]
        self.reverts = [end for end in self.reverts if end.commit not in commits]
        self.reverses = [made for made in self.reverses if made.commit not in commits]
        self.already_there = [end for end in self.already_there if end.commit not in commits]
        self.made = [made for made in self.made if made.commit not in commits]
        self.targets = {read.target: read.oid for read in reversed(self.reads)}

    def add_unknown(self, commit: str, what: str, item: str = "") -> None:
        """Add something that cannot be checked in this clone, which does not mean it is fine."""
        self.unknown.append(Violation("cannot-check", commit, item, what))
