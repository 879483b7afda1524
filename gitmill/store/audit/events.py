"""Audit events in order: the files each writes, its records, and the item it leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from gitmill.core.audit.actors import name_faults
from gitmill.core.audit.event import AuditedEvent, Fault, Undone, trailer_faults
from gitmill.core.audit.outcome import faults_of
from gitmill.core.audit.timing import late
from gitmill.core.check_record import CheckRecord
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import REVERT, Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import RULES, STARTS, WORKING, Event
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.runlog import Log
from gitmill.core.start_rules import held_back
from gitmill.core.trailers import EventRecord, one_line
from gitmill.errors import BadDocumentError
from gitmill.git.objects import GITLINK, TREE, Backend, Entry, read_commit
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.audit.branch import BRANCH_EVENTS, BranchAudit
from gitmill.store.audit.ends import EndsAudit
from gitmill.store.audit.records import CHECKS, FROZEN, NewLog, Records
from gitmill.store.audit.report import AuditReport, PolicyRead
from gitmill.store.audit.reversal import Past, blob
from gitmill.store.history import UNDOES

INBOX = "inbox/"
# Events that read the policy of the target's tip.
READS_POLICY = frozenset({"compiled", *STARTS})
OID_PATTERN = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# Events whose commit may create child items.
PARENTS = frozenset({Event.EXPANDED, Event.FINISHED, Event.SPLIT, Event.RETURNED, Event.ADVANCED})
FOLDERS = tuple(f"{kind.folder}/" for kind in Kind)


class EventAudit:
    """Checks events in the order of the history.

    `at` is the commit of the next event, `seconds` its time since 1970.
    """

    def __init__(self, backend: Backend, out: AuditReport, types: StageTypes) -> None:
        self._backend = backend
        self._out = out
        self._replayed = out.replayed
        self._items = out.items
        self._types = types
        self._records = Records(backend, out.replayed.tree)
        self._past = Past(backend, out.items, out.replayed.in_effect)
        self._branch = BranchAudit(backend, out.replayed)
        self._ends = EndsAudit(backend, out, self._records)
        self._over: Mapping[str, Entry | None] = {}
        self._as_claimed: dict[str, Item] = {}
        self.at, self.seconds = "", 0

    def _fault(self, rule: str, what: str, item: str = "") -> None:
        self._out.fault(rule, self.at, what, item)

    def follow(self, changes: Mapping[str, Change]) -> None:
        """Note what a commit, checked before, made of the files that steer all clones."""
        self._branch.follow(changes.get(layout.CONTROL))

    def accept(self, changes: Mapping[str, Change]) -> None:
        """Apply the changes of a commit without checking who may write them."""
        self._out.add_faults(self._records.new_plans(changes.values()), self.at)
        self._out.add_faults(self._records.new_passes(changes.values(), lambda _: True), self.at)
        for path, change in changes.items():
            if path.startswith(FOLDERS):
                self._accept(path, change.new)

    def _accept(self, path: str, entry: Entry | None) -> Item | None:
        """Return the item in a file after recording it as its current version."""
        item = self._read(path, entry)
        if item is not None and entry is not None:
            self._items.put(item, entry.oid)
        return item

    def event(
        self, record: EventRecord, changes: dict[str, Change], over: Mapping[str, Entry | None]
    ) -> None:
        """Check the commit of one event; `over` has what people had made of files by hand."""
        self._over = over
        if record.id in self._replayed.event_ids:
            self._fault("duplicate-event", f"event {record.id} happened before", record.item)
        self._replayed.event_ids.add(record.id)
        self._check_rules(record)
        self._out.add_faults(self._records.changed(changes), self.at, record.item)
        self._out.add_faults(self._records.new_plans(changes.values()), self.at, record.item)
        if record.item:
            self._of_item(record, changes)
        else:
            self._of_branch(record, changes)

    def _check_rules(self, record: EventRecord) -> None:
        """Check the version of the rules, and that an event that read the policy says where."""
        rules = self._replayed.rules
        if not rules <= record.version <= RULES:
            named = f"it follows version {record.rules or '1'} of the rules"
            self._fault("rules", f"{named}, after {rules} of {RULES}", record.item)
        self._replayed.rules = max(rules, min(record.version, RULES))
        if record.version < 2:
            return
        reads = record.event in READS_POLICY and UNDOES not in record.extra
        onto = record.extra.get("Onto", record.target) if reads else record.target
        if reads != bool(OID_PATTERN.fullmatch(record.target)) or onto != record.target:
            shown = record.target[:10] or "no commit"
            self._fault("wrong-target", f"{record.event} names {shown} as its target", record.item)

    def _of_branch(self, record: EventRecord, changes: Mapping[str, Change]) -> None:
        self._out.add_faults([*trailer_faults(record), *name_faults(record)], self.at)
        self._out.add_faults(self._branch.faults(self.at, record, changes), self.at)
        self._note_read(record, None, None)
        trees = self._candidate_trees(record.by) if record.event == "checked" else frozenset[str]()
        faults = self._records.new_passes(changes.values(), lambda record: record.tree in trees)
        self._out.add_faults(faults, self.at)
        self._refuse_others(changes, BRANCH_EVENTS.get(record.event, ()), record)

    def _candidate_trees(self, who: str) -> frozenset[str]:
        """Return the trees of the candidates that one user of a machine is landing now."""
        landings = [
            item.landing
            for item in self._items.unfinished()
            if item.landing is not None
            and item.lease is not None
            and one_line(item.lease.who) == who
        ]
        return frozenset(read_commit(self._backend, each.candidate).tree for each in landings)

    def _of_item(self, record: EventRecord, changes: dict[str, Change]) -> None:
        path = layout.item_path(record.item)
        change = changes.pop(path, None)
        after = self._read(path, change.new) if change is not None else None
        undone = self._past.event(self.at, record, change)
        logs = self._records.new_logs(changes.values())
        if after is not None:
            self._transition(record, after, logs, changes, undone)
            self._update(record, after, blob(change, "new"))
        elif change is None or change.new is None:
            self._fault("disagrees", f"it does not write {path}", record.item)
        allowed = (f"{layout.runs_folder(record.item)}/", FROZEN, CHECKS, layout.BOARD, INBOX)
        self._refuse_others(changes, allowed, record)

    def _transition(
        self,
        record: EventRecord,
        after: Item,
        logs: list[NewLog],
        changes: Mapping[str, Change],
        undone: Undone | None,
    ) -> None:
        name, before = record.item, self._items.get(record.item)
        run = logs[0].log if len(logs) == 1 else None
        self._note_read(record, before, after)
        if logs and run is None:
            self._fault("evidence", f"{logs[-1].path} is not its only readable run log", name)
        elif run is not None:
            stage = REVERT if "Reverts" in record.extra else run.stage
            if logs[0].path != layout.run_path(name, run.number, stage):
                self._fault("evidence", f"{logs[0].path} is not the path of its run log", name)
        audited = AuditedEvent(
            record=record, before=before, after=after, run=run,
            run_oid=logs[0].oid if logs else "", run_path=logs[0].path if logs else "",
            claimed=self._claimed(name), undone=undone,
            plan=self._records.plan(_plan_of(record, before, after)),
            over=self._typed(layout.item_path(name)),
            at=datetime.fromtimestamp(self.seconds, UTC),
            held_back=self._held_back(before, record),
        )  # fmt: skip
        changed = before is None or before.plan != after.plan
        if changed and after.plan and self._records.plan(after.plan) is None:
            self._fault("frozen-plan", f"there is no frozen plan {after.plan}", name)
        passes = self._records.new_passes(changes.values(), lambda check: _passed_in(run, check))
        faults = [*faults_of(audited, self._types), *passes]
        self._out.add_faults(faults, self.at, name)
        self._out.add_faults(self._unrecorded_passes(run), self.at, name)
        self._out.add_faults(self._reused_claim(audited), self.at, name)
        if why := late(audited):
            self._out.notice("clock", self.at, why, name)
        self._out.add_faults(
            self._ends.faults(audited, self.at, self._branch.target()), self.at, name
        )

    def _claimed(self, name: str) -> Item | None:
        """Return an item as of its claim, None unless an attempt or a landing is under way."""
        oid = self._replayed.claimed.get(name)
        if oid and name not in self._as_claimed:
            self._as_claimed[name] = self._items.at(name, oid)
        return self._as_claimed[name] if oid else None

    def _held_back(self, before: Item | None, record: EventRecord) -> str:
        """Return what kept an attempt or a landing from starting at this event."""
        if before is None or record.event not in STARTS:
            return ""
        paused, queue_paused = self._branch.flags()
        return held_back(
            self._items, before, Event(record.event), paused=paused, queue_paused=queue_paused
        )

    def _note_read(self, record: EventRecord, before: Item | None, after: Item | None) -> None:
        """Note an event that read the policy, to be verified once the history is replayed."""
        if record.event not in READS_POLICY or UNDOES in record.extra or record.version < 2:
            return
        brought = after.plan if after is not None else record.plan
        if before is not None and before.plan == brought:
            brought = ""
        read = PolicyRead(
            commit=self.at, event=record.event, oid=record.target, target=self._branch.target(),
            item=before, plan=brought,
        )  # fmt: skip
        self._out.reads.append(read)
        self._replayed.targets.setdefault(read.target, read.oid)

    def _typed(self, path: str) -> Document | None:
        """Return the document of an item as a person edited it by hand, None if nobody did."""
        entry = self._over.get(path)
        return Document.from_bytes(self._backend.read(entry.oid)[1], path) if entry else None

    def _unrecorded_passes(self, run: Log | None) -> Iterator[Fault]:
        if run is None or not run.tree:
            return
        known = self._records.passes(run.tree)
        for command, definition in run.passed:
            if definition not in known or known[definition].command != command:
                yield Fault("missing-check", f"no pass of `{command}` is recorded for its tree")

    def _reused_claim(self, audited: AuditedEvent) -> Iterator[Fault]:
        if audited.event in STARTS:
            if audited.record.claim in self._replayed.claims:
                yield Fault("wrong-claim", f"claim {audited.record.claim} was used before")
            self._replayed.claims.add(audited.record.claim)

    def _update(self, record: EventRecord, item: Item, oid: str) -> None:
        """Record the item after the event."""
        self._items.put(item, oid)
        if record.event == Event.CLAIMED.value:
            self._replayed.claimed[item.id] = oid
            self._as_claimed[item.id] = item
        elif item.status not in WORKING:
            self._replayed.claimed.pop(item.id, None)

    def _refuse_others(
        self, changes: Mapping[str, Change], allowed: tuple[str, ...], record: EventRecord
    ) -> None:
        """Report changed files that the event may not write; accept the items in them."""
        for path, change in changes.items():
            if path.startswith(allowed):
                continue
            item = self._accept(path, change.new) if path.startswith(FOLDERS) else None
            child = item is not None and change.old is None and item.parent == record.item
            if not (child and record.event in PARENTS):
                self._fault("wrong-files", f"{record.event} does not write {path}", record.item)

    def _read(self, path: str, entry: Entry | None) -> Item | None:
        """Return the item in a file; add a fault and return None if it is not one."""
        if entry is None:
            return None
        data = b"" if entry.mode in (GITLINK, TREE) else self._backend.read(entry.oid)[1]
        document = Document.from_bytes(data, path)
        try:
            item = read_item(document)
            if layout.item_path(item.id) == path:
                return item
            self._fault("document", f"{path}: its id is {item.id}", item.id)
        except BadDocumentError as error:
            self._fault("document", error.message, path.rpartition("/")[2].removesuffix(".md"))
        return None


def _plan_of(record: EventRecord, before: Item | None, after: Item) -> str:
    """Return the plan that an event follows: a claim may bring one, all else has the item's."""
    if before is None or not before.plan or record.event == Event.CLAIMED.value:
        return after.plan or (before.plan if before else "")
    return before.plan


def _passed_in(run: Log | None, check: CheckRecord) -> bool:
    """Whether a run log records the pass of a check on its tree."""
    if run is None or run.tree != check.tree:
        return False
    return (check.command, check.definition) in run.passed
