"""Audit the events of the whole branch: what each writes, and `control.md` to the byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gitmill.core import control_rules
from gitmill.core.audit.event import Fault
from gitmill.core.document import Document
from gitmill.core.redaction import is_redacted
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git.objects import Backend
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.audit.records import CHECKS, FROZEN
from gitmill.store.audit.replayed import PastEvent, Replayed
from gitmill.store.audit.reversal import blob, record_of
from gitmill.store.history import UNDOES
from gitmill.store.snapshot import Control

# Events of the branch and the files they write. The board is drawn for people and proves nothing.
BRANCH_EVENTS: Mapping[str, tuple[str, ...]] = {
    "board": (layout.BOARD,),
    control_rules.PAUSED: (layout.CONTROL, layout.BOARD),
    control_rules.RESUMED: (layout.CONTROL, layout.BOARD),
    "compiled": (FROZEN,),
    "checked": (CHECKS,),
    "put-back": (),  # a restored file counts as never touched
    "upgraded": (layout.FORMAT_FILE, layout.CONTROL, layout.BOARD),
}


class BranchAudit:
    """Checks events of the branch in the order of the history; `control` is `control.md` by now."""

    def __init__(self, backend: Backend, replayed: Replayed) -> None:
        self._backend = backend
        self._replayed = replayed
        self.control = self._control(replayed.control)

    def faults(
        self, commit: str, record: EventRecord, changes: Mapping[str, Change]
    ) -> Iterator[Fault]:
        """Yield the faults of one event of the branch, except files that it may not write."""
        if record.event not in BRANCH_EVENTS:
            yield Fault("unknown-event", f"there is no event {record.event} of the branch")
            return
        if record.event == "put-back" and "Hand" not in record.extra:
            yield Fault("hand-edit", "it restores what no person has changed")
        if record.event == "compiled":
            new = [path for path, change in changes.items() if change.old is None]
            if new != [layout.plan_path(record.plan)]:
                yield Fault(
                    "frozen-plan", f"it does not write the plan {record.plan or 'it names'}"
                )
        if record.event == "upgraded":
            yield from self._upgraded(record, changes)
        elif layout.CONTROL in BRANCH_EVENTS[record.event]:
            yield from self._steered(commit, record, changes.get(layout.CONTROL))

    def follow(self, change: Change | None) -> None:
        """Note what a commit made of `control.md`."""
        if change is not None:
            self._replayed.control = blob(change, "new")
            self.control = self._control(self._replayed.control)

    def flags(self) -> tuple[bool, bool]:
        """Whether work and whether the queue is paused; a file that cannot be read stops both."""
        try:
            return self.control.paused, self.control.queue_paused
        except BadDocumentError:
            return True, True

    def target(self) -> str:
        """Return the full name of the target, empty while it cannot be read."""
        try:
            return f"refs/heads/{self.control.target}"
        except BadDocumentError:
            return ""

    def _text(self, oid: str) -> str:
        data = self._backend.read(oid)[1] if oid else b""
        return data.decode("utf-8", "surrogateescape")

    def _control(self, oid: str) -> Control:
        return Control(self._text(oid), layout.CONTROL)

    def _upgraded(self, record: EventRecord, changes: Mapping[str, Change]) -> Iterator[Fault]:
        """Require the format of this version, and at most another target."""
        format_ = changes.get(layout.FORMAT_FILE)
        named = (layout.FORMAT,) if format_ is not None else (layout.FORMAT, "")
        if record.version >= 2 and record.to not in named:
            yield Fault("disagrees", f"it names the format {record.to or 'not at all'}")
        if format_ is not None and self._text(blob(format_, "new")) != f"{layout.FORMAT}\n":
            yield Fault("wrong-files", f"it does not write the format {layout.FORMAT}")
        change = changes.get(layout.CONTROL)
        if change is None:
            return
        after = self._control(blob(change, "new"))
        try:
            target = after.value("target")
            first = Document.new({"target": target, "paused": False}, "")
            expected = first if change.old is None else self.control.set("target", target)
        except BadDocumentError:
            yield Fault("document", f"{layout.CONTROL} cannot be read")
            return
        if after.text != expected.text:
            yield Fault("wrong-control", f"{layout.CONTROL} is not as it was with another target")

    def _steered(self, commit: str, record: EventRecord, change: Change | None) -> Iterator[Fault]:
        """Require exactly the change of a pause, a resume, an undo of one, or of a hand edit."""
        unchanged = change is None and "Hand" in record.extra  # the person had written all of it
        if not unchanged and (change is None or change.new is None):
            yield Fault("wrong-control", f"{record.event} does not write {layout.CONTROL}")
            return
        left = blob(change, "new") if change is not None else self._replayed.control
        after = self._control(left)
        try:
            allowed = list(self._allowed(record, self.control, after))
        except BadDocumentError:
            yield Fault("document", f"{layout.CONTROL} cannot be read")
            return
        if not allowed:
            yield Fault("wrong-undo", "it does not undo the last pause or resume")
        elif not any(_is(after.text, expected.text) for expected in allowed):
            yield Fault("wrong-control", f"{record.event} writes another {layout.CONTROL}")
        if UNDOES not in record.extra:
            self._replayed.steered.append(PastEvent(commit, self._replayed.control, left))

    def _allowed(self, record: EventRecord, before: Control, after: Control) -> Iterator[Document]:
        """Yield each document that the event may lead to."""
        if "Hand" in record.extra:
            stops = after.paused or after.queue_paused
            if stops or record.event == control_rules.RESUMED:
                yield before.update({"by": record.by})
                # With a secret gitmill writes all of it again, without the secret.
                redacted = {key: after.value(key) for key in before.fields}
                yield Document.new(redacted | {"by": record.by}, after.body)
            return
        if UNDOES in record.extra:
            yield from self._undone(record, before)
            return
        if record.event == control_rules.PAUSED:
            fields = [
                control_rules.paused(after.reason), control_rules.queue_paused(after.queue_reason)
            ]  # fmt: skip
        else:
            fields = [control_rules.resumed(), control_rules.queue_resumed()]
        for each in fields:
            yield control_rules.written(before, each, record.by)

    def _undone(self, record: EventRecord, before: Control) -> Iterator[Document]:
        steered = self._replayed.steered
        by_id = {record_of(self._backend, event.commit).id: event for event in steered}
        last = by_id.get(record.extra[UNDOES])
        if last is None or last.after != self._replayed.control:
            return
        steered.remove(last)
        fields = control_rules.undone(self._control(last.before), self._control(last.after))
        yield control_rules.written(before, fields, record.by)


def _is(actual: str, expected: str) -> bool:
    return actual == expected or is_redacted(actual, expected)
