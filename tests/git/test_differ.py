"""Differences of trees, neighbours or not, are those of their whole lists of files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.errors import MissingObjectError
from gitmill.git import trees
from gitmill.git.differ import Differ
from tests.support.seeds import times


class Memory:
    """Objects in a dictionary: trees whose ids share long beginnings and ends."""

    digits = 40

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}
        self.reads = 0

    def write(self, kind: str, data: bytes) -> str:
        for oid, known in self.found.items():
            if known == data:
                return oid
        # spaces, zeros and digits, so that ids look like the beginnings of entries
        oid = (b"40000 a\0" * 3)[: 20 - 2] + len(self.found).to_bytes(2, "big")
        self.found[oid.hex()] = data
        return oid.hex()

    def read(self, oid: str) -> tuple[str, bytes]:
        self.reads += 1
        if oid not in self.found:
            raise MissingObjectError(oid)
        return "tree", self.found[oid]


NAMES = st.sampled_from(
    ["a", "b", "a/a", "a/b", "a/c/d", "b/x", "c", "c.d", "c/e", "40000 a", "é/ü"]
)
HISTORIES = st.lists(
    st.dictionaries(NAMES, st.sampled_from([b"1", b"2", None]), max_size=4), max_size=8
)


def shown(changes):
    return sorted((c.path, *(side and (side.mode, side.oid) for side in (c.old, c.new)))
                  for c in changes)  # fmt: skip


def expected(memory, old, new):
    """Compare the files of both trees by path."""
    before, after = (
        {path: (entry.mode, entry.oid) for path, entry in trees.walk(memory, tree)} if tree else {}
        for tree in (old, new)
    )
    paths = sorted(before.keys() | after.keys())
    sides = [(path, before.get(path), after.get(path)) for path in paths]
    return [side for side in sides if side[1] != side[2]]


@settings(max_examples=times(100))
@given(HISTORIES)
def test_it_finds_the_differences_between_the_lists_of_files(history):
    memory = Memory()
    differ, before = Differ(memory), ""
    for edits in history:
        after = trees.edit(memory, before or None, edits)
        assert shown(differ.changes(before, after)) == expected(memory, before, after)
        assert shown(differ.changes(after, before)) == expected(memory, after, before)
        before = after


def test_a_name_that_ends_like_an_entry_is_a_name():
    memory = Memory()
    first = trees.edit(memory, None, {"a": b"1", "z": b"2"})
    second = trees.edit(memory, first, {"z": None, "x100644 z": b"2"})
    assert shown(Differ(memory).changes(first, second)) == expected(memory, first, second)


def test_a_folder_that_is_known_is_not_read_again():
    memory = Memory()
    first = trees.edit(memory, None, {f"f/{n:03}": b"1" for n in range(100)})
    second = trees.edit(memory, first, {"f/050": b"2"})
    differ = Differ(memory)
    list(differ.changes("", first))
    memory.reads = 0
    assert [change.path for change in differ.changes(first, second)] == ["f/050"]
    assert memory.reads == 2


def test_a_missing_tree_is_reported():
    memory = Memory()
    with pytest.raises(MissingObjectError):
        list(Differ(memory).changes("", "0" * 40))
