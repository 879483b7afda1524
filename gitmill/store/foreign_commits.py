"""What people committed to the state branch with plain git since gitmill's last commit there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.core.trailers import parse_message
from gitmill.git import trees
from gitmill.git.objects import Backend, Commit, Entry, read_commit
from gitmill.store import layout

_RECORDS = ("runs/", "checks/", "frozen/", "evals/")


@dataclass(frozen=True, slots=True)
class HandEdit:
    """One path as it stood in gitmill's last commit and as it stands, and who changed it last."""

    path: str
    old: Entry | None
    new: Entry | None
    person: str
    commit: str


def is_ours(path: str) -> bool:
    """Whether only gitmill writes a file, so that a change by hand is put back."""
    return path == layout.FORMAT_FILE or path.startswith(_RECORDS)


def is_by_hand(backend: Backend, commit: str) -> bool:
    """Whether a commit of the state branch is a person's: it has no event, and is not the root."""
    found = read_commit(backend, commit)
    return bool(found.parents) and parse_message(found.message)[1] is None


def edits(backend: Backend, tip: str) -> tuple[str, list[HandEdit]]:
    """Return gitmill's last commit at or below a tip, and what hands changed above it, by path.

    A merge commit, as a pull request makes it, counts as its difference to its first parent.
    """
    line: list[tuple[str, Commit]] = []
    at = tip
    while is_by_hand(backend, at):
        line.append((at, read_commit(backend, at)))
        at = line[-1][1].parents[0]
    if not line:
        return at, []
    found: dict[str, HandEdit] = {}
    before = read_commit(backend, at).tree
    tree = before
    for oid, commit in reversed(line):
        for change in trees.changes(backend, tree, commit.tree):
            old = found[change.path].old if change.path in found else change.old
            person = commit.author.rsplit(" ", 2)[0]
            found[change.path] = HandEdit(change.path, old, change.new, person, oid)
        tree = commit.tree
    return at, [edit for _, edit in sorted(found.items()) if edit.old != edit.new]


def versions(backend: Backend, commit: str, path: str) -> Iterator[bytes]:
    """Yield the contents that gitmill has left a file with, from a commit down."""
    at, seen = commit, ""
    while at:
        found = read_commit(backend, at)
        entry = trees.find(backend, found.tree, path)
        if entry is not None and entry.oid != seen and not is_by_hand(backend, at):
            seen = entry.oid
            yield backend.read(entry.oid)[1]
        at = found.parents[0] if found.parents else ""
