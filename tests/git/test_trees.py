"""Trees: each edit produces the same tree as git's own index."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import (
    FILE,
    GITLINK,
    SYMLINK,
    TREE,
    Entry,
    MissingObjectError,
    encode_tree,
    raw,
)
from tests.support.seeds import times

SAME = frozenset({"100644", "100755", "120000"})
# Names that git sorts in its own way: a folder `a` stands behind `a.b` and before `a0`.
NAMES = ["a", "a.b", "a-", "a0", "ab", "A", "z", "ö", "a\udcff", "a\nb", "-", "a b"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
modes = st.sampled_from([FILE, FILE, FILE, "100755", SYMLINK, GITLINK])


def write_index(repo, files):
    """Return the tree that git makes of paths with modes and ids."""
    index = repo.git_dir / "other-index"
    index.unlink(missing_ok=True)
    lines = b"".join(f"{mode} {oid}\t".encode() + raw(path) + b"\0" for path, (mode, oid) in files)
    os.environ["GIT_INDEX_FILE"] = str(index)
    try:
        repo.git("update-index", "-z", "--index-info", stdin=lines)
        return repo.git("write-tree", "--missing-ok")
    finally:
        del os.environ["GIT_INDEX_FILE"]


def put(files, path, entry):
    """Set a path as a file system does: what cannot stand beside it goes."""
    for other in list(files):
        if other == path or other.startswith(f"{path}/") or path.startswith(f"{other}/"):
            del files[other]
    if entry is not None:
        files[path] = entry


def tidy(changes):
    """Return changes of which no path that is set lies below another one that is set."""
    kept = {}
    for path, entry in changes.items():
        put(kept, path, entry)
    return kept


@pytest.fixture
def oids(repo, kind):
    blob = repo.git("rev-parse", "HEAD:a.txt")
    return dict.fromkeys(SAME, blob) | {GITLINK: "12" * (kind.digits // 2)}


@settings(max_examples=times(8))
@given(data=st.data())
def test_random_edits_give_the_trees_of_git(repo, backend, oids, data):
    start = tidy(data.draw(st.dictionaries(paths, modes, max_size=8)))
    files = {path: (mode, oids[mode]) for path, mode in start.items()}
    tree = trees.edit(backend, None, {p: Entry("", m, oids[m]) for p, m in start.items()})
    assert tree == write_index(repo, files.items())
    for _ in range(2):
        new = tidy(data.draw(st.dictionaries(paths, modes, max_size=4)))
        known = st.sampled_from(sorted(files)) if files else paths
        gone = data.draw(st.lists(known | paths, max_size=4, unique=True))
        changes = {path: None for path in gone if path not in new}
        changes |= {path: Entry("", mode, oids[mode]) for path, mode in new.items()}
        changes = dict(data.draw(st.permutations(sorted(changes.items(), key=lambda c: c[0]))))
        before = dict(files)
        for path in [path for path, entry in changes.items() if entry is None]:
            put_away(files, path)
        for path, mode in new.items():
            put(files, path, (mode, oids[mode]))
        edited = trees.edit(backend, tree, changes)
        assert edited == write_index(repo, files.items())
        assert {path: (e.mode, e.oid) for path, e in trees.walk(backend, edited)} == files
        assert differences(backend, tree, edited) == {
            path: (before.get(path), files.get(path))
            for path in before.keys() | files.keys()
            if before.get(path) != files.get(path)
        }
        tree = edited


def put_away(files, path):
    """Remove a path and all below it."""
    for other in list(files):
        if other == path or other.startswith(f"{path}/"):
            del files[other]


def differences(backend, old, new):
    pair = lambda entry: entry and (entry.mode, entry.oid)  # noqa: E731  (it is short)
    return {c.path: (pair(c.old), pair(c.new)) for c in Differ(backend).changes(old, new)}


def test_the_lists_of_an_agents_changes_swap_files_and_folders(repo, backend):
    """What `git diff-index` reports for a swap: the removal and the addition, in any order."""
    write = lambda data: Entry("", FILE, backend.write("blob", data))  # noqa: E731
    tree = trees.edit(backend, None, {"a/b": b"1", "a/c/d": b"2", "x": b"3", "keep": b"4"})
    to_file = {"a/b": None, "a/c/d": None, "a": write(b"5")}
    for changes in (to_file, dict(reversed(to_file.items()))):
        edited = trees.edit(backend, tree, changes)
        assert [path for path, _ in trees.walk(backend, edited)] == ["a", "keep", "x"]
        assert trees.read_file(backend, edited, "a") == b"5"
    to_folder = {"x": None, "x/y/z": write(b"6")}
    for changes in (to_folder, dict(reversed(to_folder.items()))):
        edited = trees.edit(backend, tree, changes)
        assert [path for path, _ in trees.walk(backend, edited)] == [
            "a/b",
            "a/c/d",
            "keep",
            "x/y/z",
        ]


def test_bytes_become_files_and_empty_folders_disappear(repo, backend):
    tree = trees.edit(backend, repo.tree(), {"d/e/f": b"f\n", "d/g": b"g\n"})
    assert repo.git("ls-tree", "-r", "--format=%(objectmode) %(path)", tree) == (
        "100644 a.txt\n100644 d/e/f\n100644 d/g"
    )
    assert repo.git("cat-file", "blob", f"{tree}:d/e/f") == "f"
    fewer = trees.edit(backend, tree, {"d/e/f": None, "d/no": None, "no/such/file": None})
    assert repo.git("ls-tree", "-r", "-t", "--name-only", fewer) == "a.txt\nd\nd/g"
    assert trees.edit(backend, fewer, {"d/g": None}) == repo.tree()
    assert trees.edit(backend, repo.tree(), {"a.txt": None}) == repo.git("mktree", stdin=b"")
    assert trees.edit(backend, None, {}) == repo.git("mktree", stdin=b"")
    assert trees.edit(backend, tree, {}) == tree


def test_a_whole_folder_can_be_linked_or_removed(repo, backend):
    tree = trees.edit(backend, None, {"d/e": b"1", "d/f/g": b"2"})
    folder = trees.find(backend, tree, "d")
    both = trees.edit(backend, tree, {"copy/of": folder, "copy/of/e": b"3"})
    assert {path: backend.read(e.oid)[1] for path, e in trees.walk(backend, both)} == {
        "copy/of/e": b"3", "copy/of/f/g": b"2", "d/e": b"1", "d/f/g": b"2",
    }  # fmt: skip
    assert trees.edit(backend, both, {"copy": None}) == tree


def test_only_the_folders_on_the_path_are_rewritten(repo, backend):
    tree = trees.edit(backend, None, {f"{n}/{m}": b"x" for n in range(9) for m in range(9)})
    before = int(repo.git("count-objects").split()[0])
    trees.edit(backend, tree, {"3/4": b"y"})
    assert int(repo.git("count-objects").split()[0]) == before + 3  # a file, its folder, the root


def test_looking_things_up(repo, backend, kind):
    link = Entry("", GITLINK, "12" * (kind.digits // 2))
    tree = trees.edit(backend, None, {"d/e": b"1", "d/s": Entry("", SYMLINK, repo.git("rev-parse", "HEAD:a.txt")), "m": link})  # fmt: skip
    assert trees.read_file(backend, tree, "d/e") == b"1"
    assert trees.read_file(backend, tree, "d/s") == b"a\n"
    for path in ("d", "m", "d/e/f", "no", "d/no", "m/x", ""):
        assert trees.read_file(backend, tree, path) is None
    assert trees.find(backend, tree, "d").mode == TREE
    assert trees.find(backend, tree, "m") == Entry("m", GITLINK, link.oid)
    assert list(trees.entries(backend, tree)) == ["d", "m"]
    with pytest.raises(MissingObjectError):
        trees.entries(backend, "34" * (kind.digits // 2))


def test_git_finds_nothing_wrong_with_our_trees(repo, backend):
    tree = trees.edit(backend, None, {f"{name}/{other}": b"x" for name in NAMES for other in NAMES})
    repo.git("update-ref", "refs/heads/ours", repo.git("commit-tree", tree, "-m", "x"))
    assert repo.git("fsck", "--strict", "--no-dangling") == ""
    listed = repo.git("ls-tree", "-r", "-z", "--name-only", tree).split("\0")[:-1]
    assert listed == [path for path, _ in trees.walk(backend, tree)]
    flat = [Entry(name, FILE, "12" * 20) for name in NAMES]
    assert encode_tree(flat) == encode_tree(reversed(flat))
