"""Differences between two trees, or between many successive ones as in a history.

Neighbours in a history differ in an entry or two. The common beginning and end of two trees are
compared as bytes and only the part between is parsed: a folder of a thousand entries costs as much
as one of ten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gitmill.git.objects import TREE, Entry, Objects, text
from gitmill.git.trees import Change

_CACHED = 4096  # trees


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree's bytes and the offsets of its entries."""

    data: bytes
    starts: list[int]

    def entry_at(self, offset: int) -> int:
        """Return the number of the entry that a byte belongs to."""
        return max(0, bisect_right(self.starts, offset) - 1)


_EMPTY = _Tree(b"", [])


class Differ:
    """Compares trees; caches the trees it has read last."""

    def __init__(self, backend: Objects) -> None:
        self._backend = backend
        self._width = backend.digits // 2
        self._trees: dict[str, _Tree] = {}
        self._read = lru_cache(_CACHED)(lambda oid: self._backend.read(oid)[1])

    def changes(self, old: str, new: str, prefix: str = "") -> Iterator[Change]:
        """Yield the paths that differ between two trees; an empty id is the empty tree.

        Equal folders are not read.
        """
        if old == new:
            return
        old_entries, new_entries = self._middles(old, new)
        before = {entry.name: entry for entry in old_entries}
        after = {entry.name: entry for entry in new_entries}
        for name in sorted(before.keys() | after.keys()):
            sides = before.get(name), after.get(name)
            if sides[0] == sides[1]:
                continue
            path = prefix + name
            folders = [side.oid if side and side.mode == TREE else "" for side in sides]
            if any(folders):
                yield from self.changes(folders[0], folders[1], f"{path}/")
            files = [side if side and side.mode != TREE else None for side in sides]
            if any(files):
                yield Change(path, files[0], files[1])

    def _middles(self, old: str, new: str) -> tuple[list[Entry], list[Entry]]:
        """Return each tree's entries between the common beginning and the common end."""
        a = self._tree(old)
        data = self._read(new) if new else b""
        first = a.entry_at(_common_length(a.data, data))
        begin = a.starts[first] if a.starts else 0
        room = min(len(a.data), len(data)) - begin
        end = len(a.data) - _common_length(a.data[::-1], data[::-1], room)
        last = bisect_left(a.starts, end)
        tail = len(a.data) - (a.starts[last] if last < len(a.starts) else len(a.data))
        new_entries, starts = self._parse(data, begin, len(data) - tail)
        if starts and starts[-1] != len(data) - tail:  # equal bytes, but inside of an entry
            last = len(a.starts)
            new_entries, starts = self._parse(data, begin, len(data))
        shift = len(data) - len(a.data)
        rest = a.starts[last:] if not shift else [start + shift for start in a.starts[last:]]
        self._store(new, _Tree(data, a.starts[:first] + starts[:-1] + rest))
        stop = a.starts[last] if last < len(a.starts) else len(a.data)
        return self._parse(a.data, begin, stop)[0], new_entries

    def _tree(self, oid: str) -> _Tree:
        if not oid:
            return _EMPTY
        if oid not in self._trees:
            data = self._read(oid)
            self._store(oid, _Tree(data, self._parse(data, 0, len(data))[1][:-1]))
        return self._trees[oid]

    def _store(self, oid: str, tree: _Tree) -> None:
        if oid:
            self._trees[oid] = tree
            if len(self._trees) > _CACHED:
                del self._trees[next(iter(self._trees))]

    def _parse(self, data: bytes, at: int, stop: int) -> tuple[list[Entry], list[int]]:
        """Return the entries between two offsets, and the offset of each entry and of the end."""
        entries, starts = list[Entry](), [at]
        while at < stop:
            space = data.index(b" ", at)
            end = data.index(b"\0", space)
            oid = data[end + 1 : end + 1 + self._width].hex()
            mode = data[at:space].decode().lstrip("0")
            entries.append(Entry(text(data[space + 1 : end]), mode, oid))
            at = end + 1 + self._width
            starts.append(at)
        return entries, starts


def _common_length(a: bytes, b: bytes, limit: int | None = None) -> int:
    """Return the length of the common beginning of two byte strings, at most `limit`."""
    low, high = 0, min(len(a), len(b)) if limit is None else limit
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
