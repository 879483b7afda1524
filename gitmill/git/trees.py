"""Trees, edited along the paths that change and never through an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gitmill.git.objects import FILE, TREE, Backend, Entry, encode_tree, parse_tree


def entries(backend: Backend, tree: str) -> dict[str, Entry]:
    """Return the entries of one tree by name."""
    return {entry.name: entry for entry in parse_tree(backend.read(tree)[1], backend.digits)}


def find(backend: Backend, tree: str, path: str) -> Entry | None:
    """Return what stands at a path, None when nothing does."""
    entry = Entry("", TREE, tree)
    for name in path.split("/"):
        if entry.mode != TREE:
            return None
        child = entries(backend, entry.oid).get(name)
        if child is None:
            return None
        entry = child
    return entry


def read_file(backend: Backend, tree: str, path: str) -> bytes | None:
    """Return a file's content, None when there is no file at the path."""
    entry = find(backend, tree, path)
    return None if entry is None or entry.mode == TREE else backend.read(entry.oid)[1]


def walk(backend: Backend, tree: str, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield path and entry of everything below a tree that is not a folder."""
    for entry in entries(backend, tree).values():
        path = f"{prefix}{entry.name}"
        if entry.mode == TREE:
            yield from walk(backend, entry.oid, f"{path}/")
        else:
            yield path, entry


def edit(backend: Backend, tree: str | None, changes: Mapping[str, Entry | bytes | None]) -> str:
    """Return a tree with some paths changed: bytes become a file, None removes, entries are linked.

    Only the folders on those paths are written again; a folder left empty disappears.
    """
    return _edit(backend, tree, changes) or backend.write("tree", b"")


def _edit(
    backend: Backend, tree: str | None, changes: Mapping[str, Entry | bytes | None]
) -> str | None:
    found = entries(backend, tree) if tree else {}
    below: dict[str, dict[str, Entry | bytes | None]] = {}
    for path, change in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = change
        elif change is None:
            found.pop(name, None)
        elif isinstance(change, Entry):
            found[name] = Entry(name, change.mode, change.oid)
        else:
            found[name] = Entry(name, FILE, backend.write("blob", change))
    for name, inner in below.items():
        folder = found.get(name)
        old = folder.oid if folder and folder.mode == TREE else None
        new = _edit(backend, old, inner)
        if new is None:
            found.pop(name, None)
        else:
            found[name] = Entry(name, TREE, new)
    return backend.write("tree", encode_tree(found.values())) if found else None
