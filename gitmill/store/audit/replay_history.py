"""The replay of the history from its root: every commit is checked, even after a bad one.

After a fault the state is accepted as committed, so that one forged commit is reported once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from gitmill.core.document import Document
from gitmill.core.ids import PATTERN
from gitmill.core.item_reader import read_item
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.errors import BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import Backend, Entry, read_commit
from gitmill.git.trees import Change
from gitmill.store import layout
from gitmill.store.audit.events import FOLDERS, EventAudit
from gitmill.store.audit.records import KEPT
from gitmill.store.audit.report import AuditReport, Violation
from gitmill.store.transaction import root_commit

EVALS = "evals/"
_TRAILER = re.compile(r"^(Gitmill-[A-Za-z-]+): ", re.MULTILINE)
# Files whose hand edits gitmill has to apply or undo. It also applies edits of `control.md`, but
# those take effect immediately, regardless of their author.
_OURS = (*FOLDERS, *KEPT, EVALS)


def is_hand_edit(message: str, record: EventRecord | None) -> bool:
    """Whether a commit is a person's: it has none of gitmill's trailers."""
    return record is None and not _TRAILER.search(message)


def audit(backend: Backend, tip: str, types: StageTypes) -> AuditReport:
    """Check every commit of a state branch, from the root to the tip along first parents.

    `types` are the stage types, which know the evidence of a pass.
    """
    out = AuditReport(tip)
    replay = _Replay(backend, out, types)
    line, missing = _line(backend, tip)
    if missing:
        out.add_unknown(missing, "this state commit and all its ancestors are not in this clone")
    for number, oid in enumerate(line):
        try:
            replay.commit(oid, first=number == 0, whole=not missing)
        except (MissingObjectError, GitFailedError) as error:
            out.add_unknown(oid, f"{error.message}; nothing after it was checked")
            break
    replay.end(line)
    return out


def _line(backend: Backend, tip: str) -> tuple[list[str], str]:
    """Return the available commits, oldest first, and the parent at which a commit is missing."""
    line: list[str] = []
    at = tip
    while at:
        try:
            parents = read_commit(backend, at).parents
        except (MissingObjectError, GitFailedError):
            return line[::-1], at
        line.append(at)
        at = parents[0] if parents else ""
    return line[::-1], ""


class _Replay:
    """Walks the commits: `EventAudit` checks events, this class tracks hand edits."""

    def __init__(self, backend: Backend, out: AuditReport, types: StageTypes) -> None:
        self._backend = backend
        self._out = out
        self._events = EventAudit(backend, out, types)
        self._differ = Differ(backend)
        self._tree = ""
        # by path: the last commit that edited it by hand, and the entry before all hand edits
        self._hand: dict[str, tuple[str, Entry | None]] = {}
        self._last_event = ""  # gitmill's last commit

    def commit(self, oid: str, *, first: bool, whole: bool) -> None:
        """Check the next commit; the `first` of a `whole` history is the root of all clones."""
        commit = read_commit(self._backend, oid)
        changes = {c.path: c for c in self._differ.changes(self._tree, commit.tree)}
        self._tree, self._events.at = commit.tree, oid
        self._out.commits += 1
        record = parse_message(commit.message)[1]
        if first:
            if whole and (commit != root_commit(commit.tree) or changes):
                self._out.fault("root", oid, "this is not the root commit that every clone shares")
            self._events.accept(changes)
        elif is_hand_edit(commit.message, record):
            self._by_hand(oid, changes)
        elif record is None or not _clear(commit.message, record):
            self._out.fault("bad-trailers", oid, "its trailers do not name one event of one item")
            self._events.accept(changes)
        else:
            self._events.event(record, self._without_hand_edits(changes))
            self._last_event = oid

    def _by_hand(self, oid: str, changes: Mapping[str, Change]) -> None:
        for path, change in changes.items():
            if path == layout.FORMAT_FILE or path.startswith(_OURS):
                _, original = self._hand.get(path, ("", change.old))
                self._hand[path] = (oid, original)

    def _without_hand_edits(self, changes: Mapping[str, Change]) -> dict[str, Change]:
        """Return a commit's changes relative to the state before hand edits of those files.

        An event that applies an edit is then checked as if it had made the edit, and one that
        restores a file has not touched it.
        """
        own = dict(changes)
        for path in changes.keys() & self._hand.keys():
            _, original = self._hand.pop(path)
            change = replace(own.pop(path), old=original)
            if change.old != change.new:
                own[path] = change
        return own

    def end(self, line: list[str]) -> None:
        """Report hand edits never applied: a notice if no event followed, otherwise a fault.

        An edit that makes a document unreadable is always a notice: gitmill cannot apply it, and
        leaves the document alone.
        """
        by_commit: dict[str, list[str]] = {}
        for path, (commit, _) in self._hand.items():
            by_commit.setdefault(commit, []).append(path)
        last_event = line.index(self._last_event) if self._last_event else 0
        for commit, paths in by_commit.items():
            pending = line.index(commit) > last_event or all(map(self._is_broken, paths))
            what = f"changed by hand and not applied: {', '.join(sorted(paths)[:4])}"
            violation = Violation("hand-edit", commit, "", what)
            (self._out.notices if pending else self._out.faults).append(violation)

    def _is_broken(self, path: str) -> bool:
        data = trees.read_file(self._backend, self._tree, path)
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
