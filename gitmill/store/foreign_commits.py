"""Commits that people made on the state branch with plain git since gitmill's last commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.core.trailers import parse_message
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import Backend, Commit, Entry, read_commit
from gitmill.store import layout

_RECORDS = ("runs/", "checks/", "frozen/", "evals/")


@dataclass(frozen=True, slots=True)
class HandEdit:
    """One path changed by hand: its entry in gitmill's last commit and now, and who changed it."""

    path: str
    old: Entry | None
    new: Entry | None
    person: str
    commit: str


def is_gitmill_file(path: str) -> bool:
    """Whether only gitmill writes a file, so that a hand edit of it is undone."""
    return path == layout.FORMAT_FILE or path.startswith(_RECORDS)


def is_by_hand(backend: Backend, commit: str) -> bool:
    """Whether a commit of the state branch is a person's: not the root, and without an event."""
    parsed = read_commit(backend, commit)
    return bool(parsed.parents) and parse_message(parsed.message)[1] is None


def hand_edits(backend: Backend, tip: str) -> tuple[str, list[HandEdit]]:
    """Return gitmill's last commit at or below a tip, and the hand edits above it, by path.

    A merge commit, such as that of a pull request, counts as its difference to the first parent.
    """
    line: list[tuple[str, Commit]] = []
    at = tip
    while is_by_hand(backend, at):
        line.append((at, read_commit(backend, at)))
        at = line[-1][1].parents[0]
    if not line:
        return at, []
    edits: dict[str, HandEdit] = {}
    differ = Differ(backend)
    tree = read_commit(backend, at).tree
    for oid, commit in reversed(line):
        for change in differ.changes(tree, commit.tree):
            old = edits[change.path].old if change.path in edits else change.old
            person = commit.author.rsplit(" ", 2)[0]
            edits[change.path] = HandEdit(change.path, old, change.new, person, oid)
        tree = commit.tree
    return at, [edit for _, edit in sorted(edits.items()) if edit.old != edit.new]


def gitmill_versions(backend: Backend, commit: str, path: str) -> Iterator[bytes]:
    """Yield the contents of a file as gitmill committed them, newest first."""
    at, seen = commit, ""
    while at:
        parsed = read_commit(backend, at)
        entry = trees.find(backend, parsed.tree, path)
        if entry is not None and entry.oid != seen and not is_by_hand(backend, at):
            seen = entry.oid
            yield backend.read(entry.oid)[1]
        at = parsed.parents[0] if parsed.parents else ""
