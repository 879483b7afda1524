"""The permanent records of the history, written once: run logs, frozen plans, passed checks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gitmill.core.audit.event import Fault
from gitmill.core.audit.written import is_log, is_record
from gitmill.core.check_record import CheckRecord, read_check_record
from gitmill.core.document import Document
from gitmill.core.plans.plan import FrozenPlan
from gitmill.core.runlog import Log, read_log
from gitmill.errors import BadDocumentError
from gitmill.git import trees
from gitmill.git.objects import Backend
from gitmill.git.trees import Change
from gitmill.store import layout

RUNS, FROZEN, CHECKS = "runs/", "frozen/", "checks/"
KEPT = (RUNS, FROZEN, CHECKS)
_CHANGED = {RUNS: "run-log-changed", FROZEN: "frozen-plan", CHECKS: "pass-changed"}


@dataclass(frozen=True, slots=True)
class NewLog:
    """A run log that a commit adds; `log` is None if it cannot be read."""

    path: str
    oid: str
    log: Log | None


@dataclass
class Records:
    """The records of a history up to one of its commits."""

    backend: Backend
    earlier: str = ""  # the tree of the commit that the replay begins after
    _plans: dict[str, FrozenPlan | None] = field(default_factory=dict, init=False)
    _passes: dict[str, dict[str, CheckRecord]] = field(default_factory=dict, init=False)

    def plan(self, hash12: str) -> FrozenPlan | None:
        """Return a frozen plan by its hash, None if there is no valid one so far."""
        if hash12 not in self._plans:
            data = self._earlier(layout.plan_path(hash12)) if hash12 else None
            self._plans[hash12] = _valid_plan(data) if data is not None else None
        return self._plans[hash12]

    def passes(self, tree: str) -> dict[str, CheckRecord]:
        """Return the checks recorded so far as passed on a tree, by definition."""
        if tree not in self._passes:
            self._passes[tree] = {check.definition: check for check in self._earlier_passes(tree)}
        return self._passes[tree]

    def _earlier(self, path: str) -> bytes | None:
        return trees.read_file(self.backend, self.earlier, path) if self.earlier else None

    def _earlier_passes(self, tree: str) -> Iterator[CheckRecord]:
        folder, _, begin = layout.checks_prefix(tree).rpartition("/")
        found = trees.find(self.backend, self.earlier, folder) if self.earlier else None
        for name, entry in trees.entries(self.backend, found.oid).items() if found else ():
            if name.startswith(begin):
                yield read_check_record(Document.from_bytes(self.backend.read(entry.oid)[1], name))

    def changed(self, changes: Mapping[str, Change]) -> Iterator[Fault]:
        """Yield a fault for each record that a commit rewrites or removes."""
        for change in changes.values():
            kind = next((kind for kind in KEPT if change.path.startswith(kind)), "")
            if kind and change.old is not None:
                action = "rewrote" if change.new else "removed"
                yield Fault(_CHANGED[kind], f"it {action} {change.path}")

    def new_plans(self, changes: Iterable[Change]) -> Iterator[Fault]:
        """Add the frozen plans that a commit adds or rewrites; yield faults for invalid ones."""
        for change in changes:
            if not change.path.startswith(FROZEN) or change.new is None:
                continue
            data = self._read(change)
            hash12 = hashlib.sha256(data).hexdigest()[:12]
            if change.path != layout.plan_path(hash12):
                yield Fault("frozen-plan", f"{change.path} has the hash {hash12}")
                continue
            self._plans[hash12] = _valid_plan(data)
            if self._plans[hash12] is None:
                yield Fault("frozen-plan", f"{change.path} is not a plan that gitmill compiled")

    def new_passes(
        self, changes: Iterable[Change], ran: Callable[[CheckRecord], bool]
    ) -> Iterator[Fault]:
        """Add the passes that a commit adds; yield a fault if `ran` finds no proof of a run."""
        for change in changes:
            if not change.path.startswith(CHECKS) or change.new is None or change.old is not None:
                continue
            try:
                check = read_check_record(Document.from_bytes(self._read(change), change.path))
            except BadDocumentError as error:
                yield Fault("pass-changed", error.message)
                continue
            if not is_record(Document.from_bytes(self._read(change))):
                yield Fault("pass-changed", f"{change.path} is not as gitmill writes it")
            if layout.check_path(check.tree, check.definition) != change.path:
                yield Fault("pass-changed", f"{change.path} is the path of another pass")
                continue
            self.passes(check.tree)[check.definition] = check
            if not ran(check):
                what = (
                    f"no run of {check.name} (`{check.command}`) on {check.tree[:10]} is recorded"
                )
                yield Fault("pass-without-run", what)

    def new_logs(self, changes: Iterable[Change]) -> list[NewLog]:
        """Return the run logs that a commit adds."""
        added = [c for c in changes if c.path.startswith(RUNS) and c.old is None]
        return [NewLog(c.path, c.new.oid, self._log(c)) for c in added if c.new is not None]

    def _log(self, change: Change) -> Log | None:
        try:
            document = Document.from_bytes(self._read(change), change.path)
            return read_log(document) if is_log(document) else None
        except BadDocumentError:
            return None

    def _read(self, change: Change) -> bytes:
        assert change.new is not None
        return self.backend.read(change.new.oid)[1]


def _valid_plan(data: bytes) -> FrozenPlan | None:
    try:
        return FrozenPlan.parse(data.decode())
    except (BadDocumentError, ValueError):
        return None
