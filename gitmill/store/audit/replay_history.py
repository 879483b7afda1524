"""The history replayed from its root: every commit is judged, the first bad one ends nothing.

After a fault the history is taken as it stands, so that one forged commit is told once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from gitmill.core.document import Document
from gitmill.core.ids import PATTERN
from gitmill.core.item_reader import read_item
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
# What gitmill has to take up or put back when it was changed by hand. It takes up `control.md` as
# well; but that holds at once, whoever wrote it.
_OURS = (*FOLDERS, *KEPT, EVALS)


def is_hand_edit(message: str, record: EventRecord | None) -> bool:
    """Whether a commit is a person's: no trailer of gitmill is in it."""
    return record is None and not _TRAILER.search(message)


def audit(backend: Backend, tip: str) -> AuditReport:
    """Judge every commit of a state branch, from the root to the tip along first parents."""
    out = AuditReport(tip)
    replay = _Replay(backend, out)
    line, missing = _line(backend, tip)
    if missing:
        out.cannot(missing, "this commit of the state and all below it are not in this clone")
    for number, oid in enumerate(line):
        try:
            replay.commit(oid, first=number == 0, whole=not missing)
        except (MissingObjectError, GitFailedError) as error:
            out.cannot(oid, f"{error.message}; nothing after it was checked")
            break
    replay.end(line)
    return out


def _line(backend: Backend, tip: str) -> tuple[list[str], str]:
    """Return the commits from the oldest that is there, and the one below it that is not."""
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
    """Walks the commits; what events say is judged by `EventAudit`, what hands did is kept here."""

    def __init__(self, backend: Backend, out: AuditReport) -> None:
        self._backend = backend
        self._out = out
        self._turns = EventAudit(backend, out)
        self._differ = Differ(backend)
        self._tree = ""
        self._hand: dict[str, tuple[str, Entry | None]] = {}  # by path: who, and what stood there
        self._since = ""  # the last commit that is gitmill's

    def commit(self, oid: str, *, first: bool, whole: bool) -> None:
        """Judge the next commit; the `first` of a `whole` history is the root of all clones."""
        commit = read_commit(self._backend, oid)
        changes = {c.path: c for c in self._differ.changes(self._tree, commit.tree)}
        self._tree, self._turns.at = commit.tree, oid
        self._out.commits += 1
        record = parse_message(commit.message)[1]
        if first:
            if whole and (commit != root_commit(commit.tree) or changes):
                self._out.fault("root", oid, "this is not the commit that every clone begins with")
            self._turns.take_as_it_is(changes)
        elif is_hand_edit(commit.message, record):
            self._by_hand(oid, changes)
        elif record is None or not _clear(commit.message, record):
            self._out.fault("bad-trailers", oid, "its trailers do not name one event of one item")
            self._turns.take_as_it_is(changes)
        else:
            self._turns.event(record, self._put_back(changes))
            self._since = oid

    def _by_hand(self, oid: str, changes: Mapping[str, Change]) -> None:
        for path, change in changes.items():
            if path == layout.FORMAT_FILE or path.startswith(_OURS):
                _, stood = self._hand.get(path, ("", change.old))
                self._hand[path] = (oid, stood)

    def _put_back(self, changes: Mapping[str, Change]) -> dict[str, Change]:
        """Return a commit's changes against what stood before hands touched it.

        So an event that takes an edit up is judged as if it had made it, and one that puts a file
        back has not touched it.
        """
        left = dict(changes)
        for path in changes.keys() & self._hand.keys():
            _, stood = self._hand.pop(path)
            change = replace(left.pop(path), old=stood)
            if change.old != change.new:
                left[path] = change
        return left

    def end(self, line: list[str]) -> None:
        """Tell what hands changed and nobody took up; before gitmill has gone on, as a notice.

        A document that cannot be read stays as it is, and gitmill goes on around it.
        """
        by_commit: dict[str, list[str]] = {}
        for path, (commit, _) in self._hand.items():
            by_commit.setdefault(commit, []).append(path)
        after = line.index(self._since) if self._since else 0
        for commit, paths in by_commit.items():
            late = line.index(commit) > after or all(map(self._is_broken, paths))
            what = f"changed by hand and not taken up: {', '.join(sorted(paths)[:4])}"
            found = Violation("hand-edit", commit, "", what)
            (self._out.notices if late else self._out.faults).append(found)

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
    """Whether trailers stand once each, and the item is an id."""
    names = _TRAILER.findall(message.rstrip("\n").rpartition("\n\n")[2])
    return len(set(names)) == len(names) and (not record.item or bool(PATTERN.match(record.item)))
