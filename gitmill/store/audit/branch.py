"""Audit the events of the whole branch: what each writes, and `control.md` to the byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gitmill.core import control_rules
from gitmill.core.audit.event import Fault
from gitmill.core.document import Document
from gitmill.core.redaction import is_redacted
from gitmill.core.trailers import EventRecord
from gitmill.errors import BadDocumentError
from gitmill.git.objects import Backend, Entry
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.audit.records import CHECKS, FROZEN
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


@dataclass
class BranchAudit:
    """Checks events of the branch in the order of the history; `control` is `control.md` by now."""

    backend: Backend
    control: Control = field(default_factory=lambda: Control("", layout.CONTROL))
    _in_effect: list[tuple[str, Document, Document]] = field(default_factory=list, init=False)

    def faults(self, record: EventRecord, changes: Mapping[str, Change]) -> Iterator[Fault]:
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
            yield from self._upgraded(changes)
        elif layout.CONTROL in BRANCH_EVENTS[record.event]:
            yield from self._steered(record, changes.get(layout.CONTROL))

    def follow(self, change: Change | None) -> None:
        """Note what a commit made of `control.md`."""
        if change is not None:
            self.control = Control(self._text(change.new), layout.CONTROL)

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

    def _text(self, entry: Entry | None) -> str:
        data = self.backend.read(entry.oid)[1] if entry is not None else b""
        return data.decode("utf-8", "surrogateescape")

    def _upgraded(self, changes: Mapping[str, Change]) -> Iterator[Fault]:
        """Require the format of this version, and at most another target."""
        format_ = changes.get(layout.FORMAT_FILE)
        if format_ is not None and self._text(format_.new) != f"{layout.FORMAT}\n":
            yield Fault("wrong-files", f"it does not write the format {layout.FORMAT}")
        change = changes.get(layout.CONTROL)
        if change is None:
            return
        after = Document(self._text(change.new), layout.CONTROL)
        try:
            target = after.value("target")
            first = Document.new({"target": target, "paused": False}, "")
            expected = first if change.old is None else self.control.set("target", target)
        except BadDocumentError:
            yield Fault("document", f"{layout.CONTROL} cannot be read")
            return
        if after.text != expected.text:
            yield Fault("wrong-control", f"{layout.CONTROL} is not as it was with another target")

    def _steered(self, record: EventRecord, change: Change | None) -> Iterator[Fault]:
        """Require exactly the change of a pause, a resume, an undo of one, or of a hand edit."""
        unchanged = change is None and "Hand" in record.extra  # the person had written all of it
        if not unchanged and (change is None or change.new is None):
            yield Fault("wrong-control", f"{record.event} does not write {layout.CONTROL}")
            return
        before = after = self.control
        if change is not None:
            after = Control(self._text(change.new), layout.CONTROL)
        try:
            allowed = list(self._allowed(record, before, after))
        except BadDocumentError:
            yield Fault("document", f"{layout.CONTROL} cannot be read")
            return
        if not allowed:
            yield Fault("wrong-undo", "it does not undo the last pause or resume")
        elif not any(_is(after.text, expected.text) for expected in allowed):
            yield Fault("wrong-control", f"{record.event} writes another {layout.CONTROL}")
        if UNDOES not in record.extra:
            self._in_effect.append((record.id, before, after))

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
        last = next((e for e in self._in_effect if e[0] == record.extra[UNDOES]), None)
        if last is None or last[2].text != before.text:
            return
        self._in_effect.remove(last)
        yield control_rules.written(before, control_rules.undone(*last[1:]), record.by)


def _is(actual: str, expected: str) -> bool:
    return actual == expected or is_redacted(actual, expected)
