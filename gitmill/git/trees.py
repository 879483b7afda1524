"""Trees, read by path and edited along the changed paths, never through an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gitmill.git.objects import FILE, GITLINK, TREE, Entry, Objects, encode_tree, parse_tree


def entries(backend: Objects, tree: str) -> dict[str, Entry]:
    """Return the entries of one tree by name."""
    return {entry.name: entry for entry in parse_tree(backend.read(tree)[1], backend.digits)}


def find(backend: Objects, tree: str, path: str) -> Entry | None:
    """Return the entry at a path, None if there is none."""
    entry = Entry("", TREE, tree)
    for name in path.split("/"):
        if entry.mode != TREE:
            return None
        child = entries(backend, entry.oid).get(name)
        if child is None:
            return None
        entry = child
    return entry


def read_file(backend: Objects, tree: str, path: str) -> bytes | None:
    """Return a file's content, None if there is no file at the path."""
    entry = find(backend, tree, path)
    if entry is None or entry.mode in (TREE, GITLINK):
        return None
    return backend.read(entry.oid)[1]


def walk(backend: Objects, tree: str, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield the path and entry of every file, link and submodule below a tree."""
    for entry in entries(backend, tree).values():
        path = f"{prefix}{entry.name}"
        if entry.mode == TREE:
            yield from walk(backend, entry.oid, f"{path}/")
        else:
            yield path, entry


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees; None where there is no file."""

    path: str
    old: Entry | None
    new: Entry | None


def edit(backend: Objects, tree: str | None, changes: Mapping[str, Entry | bytes | None]) -> str:
    """Return a tree with some paths set to a file of these bytes or to an entry, or removed (None).

    Only the folders on those paths are rewritten; a folder that becomes empty disappears.
    """
    return _edit(backend, tree, changes) or backend.write("tree", b"")


def _edit(
    backend: Objects, tree: str | None, changes: Mapping[str, Entry | bytes | None]
) -> str | None:
    edited = entries(backend, tree) if tree else {}
    below: dict[str, dict[str, Entry | bytes | None]] = {}
    for path, change in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = change
        elif change is None:
            edited.pop(name, None)
        elif isinstance(change, Entry):
            edited[name] = Entry(name, change.mode, change.oid)
        else:
            edited[name] = Entry(name, FILE, backend.write("blob", change))
    for name, inner in below.items():
        folder = edited.get(name)
        old = folder.oid if folder and folder.mode == TREE else None
        new = _edit(backend, old, inner)
        if new is not None:
            edited[name] = Entry(name, TREE, new)
        elif old is not None:  # otherwise a file has replaced the folder
            del edited[name]
    return backend.write("tree", encode_tree(edited.values())) if edited else None
