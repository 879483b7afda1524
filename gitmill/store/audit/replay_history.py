"""The replay of the history from its root: every commit is checked, even after a bad one.

After a fault the state is accepted as committed, so that one forged commit is reported once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gitmill.core.audit.event import LATE
from gitmill.core.document import Document
from gitmill.core.ids import PATTERN
from gitmill.core.item_reader import read_item
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.errors import BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import FILE, Backend, Entry, read_commit
from gitmill.git.trees import Change
from gitmill.store import foreign_commits, layout
from gitmill.store.audit.events import EventAudit
from gitmill.store.audit.replayed import HandEdit, Items, Replayed
from gitmill.store.audit.report import AuditReport, Violation
from gitmill.store.transaction import root_commit

_TRAILER = re.compile(r"^(Gitmill-[A-Za-z-]+): ", re.MULTILINE)


def is_hand_edit(message: str, record: EventRecord | None) -> bool:
    """Whether a commit is a person's: it has none of gitmill's trailers."""
    return record is None and not _TRAILER.search(message)


@dataclass(frozen=True, slots=True)
class Line:
    """The commits of a state branch along first parents, oldest first.

    `missing` is the commit at which they end in this clone, empty if the root is there.
    """

    tip: str
    commits: tuple[str, ...]
    missing: str = ""


def audit(
    backend: Backend, line: Line, types: StageTypes, replayed: Replayed | None = None
) -> AuditReport:
    """Check every commit of a state branch up to its tip that comes after what was `replayed`.

    `types` are the stage types, which know the evidence of a pass.
    """
    replayed = replayed or Replayed()
    out = AuditReport(line.tip, replayed, Items(backend, replayed))
    replay = _Replay(backend, out, types)
    if line.missing:
        what = "this state commit and all its ancestors are not in this clone"
        out.add_unknown(line.missing, what)
    for oid in line.commits[replayed.commits :]:
        try:
            replay.commit(oid, whole=not line.missing)
        except (MissingObjectError, GitFailedError) as error:
            out.add_unknown(oid, f"{error.message}; nothing after it was checked")
            break
    replay.end(line.commits)
    return out


def line_of(backend: Backend, tip: str) -> Line:
    """Return the commits of a state branch as far as this clone has them."""
    line: list[str] = []
    at = tip
    while at:
        try:
            parents = read_commit(backend, at).parents
        except (MissingObjectError, GitFailedError):
            return Line(tip, tuple(line[::-1]), at)
        line.append(at)
        at = parents[0] if parents else ""
    return Line(tip, tuple(line[::-1]))


class _Replay:
    """Walks the commits: `EventAudit` checks events, this class tracks hand edits."""

    def __init__(self, backend: Backend, out: AuditReport, types: StageTypes) -> None:
        self._backend = backend
        self._out = out
        self._events = EventAudit(backend, out, types)
        self._differ = Differ(backend)
        self._at = out.replayed

    def commit(self, oid: str, *, whole: bool) -> None:
        """Check the next commit; the first of a `whole` history is the root of all clones."""
        commit = read_commit(self._backend, oid)
        changes = {c.path: c for c in self._differ.changes(self._at.tree, commit.tree)}
        self._at.tree = commit.tree
        self._events.at, self._events.seconds = oid, commit.seconds
        self._at.commits += 1
        record = parse_message(commit.message)[1]
        if self._at.commits == 1:
            if whole and (commit != root_commit(commit.tree) or changes):
                self._out.fault("root", oid, "this is not the root commit that every clone shares")
            self._events.accept(changes)
        elif is_hand_edit(commit.message, record):
            self._by_hand(oid, changes)
        elif record is None or not _clear(commit.message, record):
            self._out.fault("bad-trailers", oid, "its trailers do not name one event of one item")
            self._events.accept(changes)
        else:
            self._note_time(oid, commit.seconds)
            self._refuse_modes(oid, changes)
            own, over = self._without_hand_edits(changes)
            hand = record.extra.get("Hand")
            if hand is not None and hand not in self._at.people:
                self._out.fault("hand-edit", oid, "it applies no commit of a person", record.item)
            self._events.event(record, own, over)
            self._at.last_event = oid
        self._events.follow(changes)

    def _by_hand(self, oid: str, changes: Mapping[str, Change]) -> None:
        """Note the files whose edits gitmill has to apply or undo; it leaves others alone.

        It also applies edits of `control.md`, but those take effect immediately.
        """
        self._at.people.add(oid)
        for path, change in changes.items():
            if layout.item_of(path) or foreign_commits.is_gitmill_file(path):
                edit = self._at.by_hand.pop(path, HandEdit(oid, change.old))
                if change.new != edit.original:  # else a person has undone the edit
                    self._at.by_hand[path] = HandEdit(oid, edit.original)

    def _note_time(self, oid: str, seconds: int) -> None:
        """Note an event whose clock is behind that of an earlier one; the order stays as it is."""
        newest = self._at.newest
        if seconds < newest - LATE.total_seconds():
            what = f"its clock was {newest - seconds} s behind that of an earlier event"
            self._out.notice("clock", oid, what)
        self._at.newest = max(newest, seconds)

    def _refuse_modes(self, oid: str, changes: Mapping[str, Change]) -> None:
        """Report what an event wrote and is no plain file."""
        for path, change in changes.items():
            if change.new is not None and change.new.mode != FILE:
                self._out.fault("wrong-files", oid, f"{path} has the mode {change.new.mode}")

    def _without_hand_edits(
        self, changes: Mapping[str, Change]
    ) -> tuple[dict[str, Change], dict[str, Entry | None]]:
        """Return a commit's changes relative to the state before hand edits of those files.

        Also returns those files as the edits had left them.

        An event that applies an edit is then checked as if it had made the edit, and one that
        restores a file has not touched it.
        """
        own, over = dict(changes), dict[str, Entry | None]()
        for path in changes.keys() & self._at.by_hand.keys():
            edit = self._at.by_hand.pop(path)
            over[path] = changes[path].old
            change = replace(own.pop(path), old=edit.original)
            if change.old != change.new:
                own[path] = change
        return own, over

    def end(self, line: Sequence[str]) -> None:
        """Report hand edits never applied: a notice if no event followed, otherwise a fault.

        An edit that makes a document unreadable is always a notice: gitmill cannot apply it, and
        leaves the document alone.
        """
        by_commit: dict[str, list[str]] = {}
        for path, edit in self._at.by_hand.items():
            by_commit.setdefault(edit.commit, []).append(path)
        last_event = line.index(self._at.last_event) if self._at.last_event else 0
        for commit, paths in by_commit.items():
            pending = line.index(commit) > last_event or all(map(self._is_broken, paths))
            what = f"changed by hand and not applied: {', '.join(sorted(paths)[:4])}"
            violation = Violation("hand-edit", commit, "", what)
            (self._out.notices if pending else self._out.faults).append(violation)

    def _is_broken(self, path: str) -> bool:
        data = trees.read_file(self._backend, self._at.tree, path)
        if not layout.item_of(path) or data is None:
            return False
        try:
            read_item(Document.from_bytes(data, path))
        except BadDocumentError:
            return True
        return False


def _clear(message: str, record: EventRecord) -> bool:
    """Whether no trailer is repeated, and the item is an id."""
    names = _TRAILER.findall(message.rstrip("\n").rpartition("\n\n")[2])
    return len(set(names)) == len(names) and (not record.item or bool(PATTERN.match(record.item)))
