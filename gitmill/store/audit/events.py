"""One event after the other: its files, its records, its document, and how the item stands then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gitmill.core.audit.event import AuditedEvent, Fault, check_event
from gitmill.core.audit.outcome import check_outcome
from gitmill.core.check_record import CheckRecord
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.item_reader import read_item
from gitmill.core.lifecycle import WORKING, Event
from gitmill.core.runlog import Log
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git.objects import GITLINK, TREE, Backend, Entry, read_commit
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.audit.records import CHECKS, FROZEN, NewLog, Records
from gitmill.store.audit.report import AuditReport, Landed
from gitmill.store.audit.reversal import Past

INBOX = "inbox/"
# Events of the branch and where they write.
BRANCH_EVENTS: Mapping[str, tuple[str, ...]] = {
    "board": (layout.BOARD,),
    "paused": (layout.CONTROL, layout.BOARD),
    "resumed": (layout.CONTROL, layout.BOARD),
    "compiled": (FROZEN,),
    "checked": (CHECKS,),
    "put-back": (),  # what is put back counts as never touched
    "upgraded": (layout.FORMAT_FILE, layout.CONTROL, layout.BOARD),
}
# Events whose commit may make the items that come from theirs.
PARENTS = frozenset({Event.EXPANDED, Event.FINISHED, Event.SPLIT, Event.RETURNED, Event.ADVANCED})
FOLDERS = tuple(f"{kind.folder}/" for kind in Kind)


class EventAudit:
    """Judges events in the order of the history. What it is given next is the commit `at`."""

    def __init__(self, backend: Backend, out: AuditReport) -> None:
        self._backend = backend
        self._out = out
        self._records = Records(backend)
        self._events: set[str] = set()
        self._claims: set[str] = set()
        self._claimed: dict[str, Item] = {}  # as they were when the lease was taken
        self._past = Past(backend)
        self.at = ""

    def _fault(self, rule: str, what: str, item: str = "") -> None:
        self._out.fault(rule, self.at, what, item)

    def take_as_it_is(self, changes: Mapping[str, Change]) -> None:
        """Take up what a commit holds without judging who wrote it."""
        self._out.tell(self._records.new_plans(changes.values()), self.at)
        self._out.tell(self._records.new_passes(changes.values(), lambda _: True), self.at)
        for path, change in changes.items():
            if path.startswith(FOLDERS):
                item = self._read(path, change.new)
                if item is not None:
                    self._out.stands(item)

    def event(self, record: EventRecord, changes: dict[str, Change]) -> None:
        """Judge the commit of one event."""
        if record.id in self._events:
            self._fault("duplicate-event", f"event {record.id} has happened before", record.item)
        self._events.add(record.id)
        self._out.tell(self._records.changed(changes), self.at, record.item)
        self._out.tell(self._records.new_plans(changes.values()), self.at, record.item)
        if record.item:
            self._of_item(record, changes)
        else:
            self._of_branch(record, changes)

    def _of_branch(self, record: EventRecord, changes: Mapping[str, Change]) -> None:
        allowed = BRANCH_EVENTS.get(record.event)
        if allowed is None:
            self._fault("unknown-event", f"there is no event {record.event} of the branch")
        trees = self._candidates() if record.event == "checked" else frozenset[str]()
        found = self._records.new_passes(changes.values(), lambda one: one.tree in trees)
        self._out.tell(found, self.at)
        self._refuse_others(changes, allowed or (), record)

    def _candidates(self) -> frozenset[str]:
        """Return the trees of what is being landed now."""
        landing = [item.landing for item in self._out.items.values() if item.landing is not None]
        return frozenset(read_commit(self._backend, one.candidate).tree for one in landing)

    def _of_item(self, record: EventRecord, changes: dict[str, Change]) -> None:
        path = layout.item_path(record.item)
        change = changes.pop(path, None)
        after = self._read(path, change.new) if change is not None else None
        undone = self._past.event(record, change.old if change is not None else None)
        logs = self._records.new_logs(changes.values())
        if after is not None:
            self._turn(record, after, logs, changes, undone)
        elif change is None or change.new is None:
            self._fault("disagrees", f"it does not write {path}", record.item)
        allowed = (f"{layout.runs_folder(record.item)}/", FROZEN, CHECKS, layout.BOARD, INBOX)
        self._refuse_others(changes, allowed, record)

    def _turn(
        self,
        record: EventRecord,
        after: Item,
        logs: list[NewLog],
        changes: Mapping[str, Change],
        undone: Item | None,
    ) -> None:
        name, before = record.item, self._out.items.get(record.item)
        run = logs[0].log if len(logs) == 1 else None
        if logs and run is None:
            self._fault("evidence", f"{logs[-1].path} is not its one readable run log", name)
        turn = AuditedEvent(
            record=record, before=before, after=after, run=run,
            run_oid=logs[0].oid if logs else "",
            claimed=self._claimed.get(name), undone=undone,
            plan=self._records.plans.get(after.plan or (before.plan if before else "")),
        )  # fmt: skip
        if after.plan and turn.plan is None and (before is None or before.plan != after.plan):
            self._fault("frozen-plan", f"there is no frozen plan {after.plan}", name)
        passes = self._records.new_passes(changes.values(), lambda one: _ran(run, one))
        self._out.tell([*check_event(turn), *check_outcome(turn), *passes], self.at, name)
        self._out.tell(self._unrecorded(run), self.at, name)
        self._out.tell(self._claim_again(turn), self.at, name)
        self._landing(turn)
        self._stand(turn)

    def _unrecorded(self, run: Log | None) -> Iterator[Fault]:
        if run is None or not run.tree:
            return
        known = self._records.passes.get(run.tree, {})
        for command, definition in run.passed:
            if definition not in known or known[definition].command != command:
                yield Fault("missing-check", f"no pass of `{command}` is recorded on its tree")

    def _claim_again(self, turn: AuditedEvent) -> Iterator[Fault]:
        if turn.event in (Event.CLAIMED, Event.LAND_STARTED):
            if turn.record.claim in self._claims:
                yield Fault("wrong-claim", f"claim {turn.record.claim} was used before")
            self._claims.add(turn.record.claim)

    def _landing(self, turn: AuditedEvent) -> None:
        """Hold what a landing says of its candidate together, and keep what has landed."""
        extra, landing = turn.record.extra, turn.after.landing
        if turn.event is Event.REVERTED and turn.before is not None:
            self._out.reverted.add(turn.before.landed)
        if turn.event is Event.LANDED and turn.before is not None:
            landing = turn.before.landing
        elif turn.event is not Event.LAND_STARTED:
            return
        told = extra.get("Candidate", ""), extra.get("Onto", "")
        meant = (landing.candidate, landing.onto) if landing else ("", "")
        if told != meant:
            what = f"it names the candidate {told[0][:10]}, to land was {meant[0][:10] or 'none'}"
            self._fault("wrong-candidate", what, turn.after.id)
        if turn.event is Event.LANDED and turn.before is not None:
            self._landed(turn, turn.before, meant[1], landing.target if landing else "")

    def _landed(self, turn: AuditedEvent, before: Item, onto: str, target: str) -> None:
        item = turn.after
        if before.landing is not None and item.landed != before.landing.candidate:
            what = f"landed is {item.landed[:10]}, tested was {before.landing.candidate[:10]}"
            self._fault("wrong-candidate", what, item.id)
        for other in self._out.landings:
            if other.item.landed == item.landed:
                what = f"{item.landed[:10]} had landed before, as {other.item.id}"
                self._fault("landed-twice", what, item.id)
        tree = read_commit(self._backend, item.landed).tree
        landed = Landed(
            commit=self.at, before=before, item=item, candidate=item.landed, onto=onto,
            target=target, passes=self._records.passed(tree),
        )  # fmt: skip
        self._out.landings.append(landed)

    def _stand(self, turn: AuditedEvent) -> None:
        """Take the item as it stands now."""
        item = turn.after
        self._out.stands(item)
        if turn.event is Event.CLAIMED:
            self._claimed[item.id] = item
        elif item.status not in WORKING:
            self._claimed.pop(item.id, None)

    def _refuse_others(
        self, changes: Mapping[str, Change], allowed: tuple[str, ...], record: EventRecord
    ) -> None:
        """Refuse changes of files that the event does not write; take items as they stand."""
        for path, change in changes.items():
            if path.startswith(allowed):
                continue
            item = self._read(path, change.new) if path.startswith(FOLDERS) else None
            child = item is not None and change.old is None and item.parent == record.item
            if not (child and record.event in PARENTS):
                self._fault("wrong-files", f"{record.event} does not write {path}", record.item)
            if item is not None:
                self._out.stands(item)

    def _read(self, path: str, entry: Entry | None) -> Item | None:
        """Return an item's document, None (and a fault) when it is not one."""
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


def _ran(run: Log | None, one: CheckRecord) -> bool:
    """Whether a run log says that a check passed on that tree."""
    return run is not None and run.tree == one.tree and (one.command, one.definition) in run.passed
