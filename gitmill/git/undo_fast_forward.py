"""Undo a fast-forward of the user's checkout that ended half-way.

git writes the files first, then the index, then the branch. Before a fast-forward the files that it
will replace are kept, as hard links where the disk allows it: undoing then needs neither room
nor filters. What the user has written since is theirs and stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import GitFailedError, GitmillError, MissingObjectError
from gitmill.git import trees
from gitmill.git.checkout import LOCKED, RETRY, git_at, own_changes
from gitmill.git.objects import GITLINK, TREE, Backend, Entry
from gitmill.git.repo import Checkout
from gitmill.git.trees import Change
from gitmill.git.worktree_entries import remove
from gitmill.process import TimeoutExpired

_PATIENCE = 1.0  # seconds to wait for the index, which the user's git may hold
_FILTER = 60.0  # seconds for one filter of one file
_FILES, _NEW_FOLDERS = "files", "new-folders"  # in the folder of what was kept


@dataclass(frozen=True, slots=True)
class Undone:
    """The paths that were undone, and those that could not be."""

    paths: tuple[str, ...]
    left: tuple[str, ...]


def keep_originals(folder: Path, checkout: Checkout, changed: Iterable[Change]) -> None:
    """Keep the files of a checkout that a fast-forward will replace. Raises `OSError`."""
    remove(folder)
    (folder / _FILES).mkdir(parents=True)
    new_folders: set[str] = set()
    for change in changed:
        for parent in _parents(change.path):
            if not os.path.lexists(checkout.path / parent):
                new_folders.add(parent)
        path, kept = checkout.path / change.path, folder / _FILES / change.path
        if change.old is not None and (path.is_symlink() or path.is_file()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            _link(path, kept)
    names = "\0".join(sorted(new_folders))
    (folder / _NEW_FOLDERS).write_bytes(names.encode(errors="surrogateescape"))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk, a file of another user, or one that must not change
        shutil.copy2(source, target, follow_symlinks=False)


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:n]) for n in range(1, len(parts)))


def undo_fast_forward(
    checkout: Checkout, backend: Backend, changed: Sequence[Change], originals: Path | None = None
) -> Undone:
    """Bring index and files of the changed paths back to HEAD, where they are as after the change.

    `originals` is the folder in which the files were kept, None if none were. Call this only for a
    fast-forward that had begun, and whose git has ended: then the user had changed none of these
    paths. Raises `GitFailedError` when the index cannot be read or written.
    """
    move = _Move(checkout, backend, changed, originals)
    paths = set(move.undo_index())
    # removals first: a folder that replaced a file is torn only once its files are gone
    for removes in (True, False):
        for change in move.torn():
            if (move.at_head(change.path) is None) == removes:
                paths.add(change.path)
                with suppress(OSError, GitmillError):  # named below
                    move.restore(change)
    move.remove_new_folders()
    left = {change.path for change in move.torn()} | set(move.staged())
    names = [change.path for change in changed]
    return Undone(
        tuple(name for name in names if name in paths - left),
        tuple(name for name in names if name in left),
    )


def is_staged(checkout: Checkout, backend: Backend, changed: Sequence[Change]) -> bool:
    """Whether a whole change is staged that is not in HEAD, as a move leaves it that lost HEAD."""
    return bool(_Move(checkout, backend, changed, None).staged())


class _Move:
    """A fast-forward to undo, with the tree of HEAD, which the user may have moved since."""

    def __init__(
        self,
        checkout: Checkout,
        backend: Backend,
        changed: Sequence[Change],
        originals: Path | None,
    ) -> None:
        self._git, self._top = git_at(checkout), checkout.path
        self._backend, self._changed = backend, changed
        complete = originals is not None and (originals / _NEW_FOLDERS).exists()
        self._originals = originals if complete else None
        self._head = self._git.out("rev-parse", "HEAD^{tree}")

    def at_head(self, path: str) -> Entry | None:
        return _file(self._backend, self._head, path)

    def staged(self) -> dict[str, Entry | None]:
        """Return the paths that the move has staged, with their entries in HEAD.

        git writes an index whole: with one path as before, none was staged by the move.
        """
        index, found = self._index(), dict[str, Entry | None]()
        for change in self._changed:
            entry, own = index.get(change.path), self.at_head(change.path)
            if _same(entry, change.old):
                return {}
            if _same(entry, change.new) and not _same(own, change.new):
                found[change.path] = own
        return found

    def undo_index(self) -> dict[str, Entry | None]:
        staged = self.staged()
        if staged:
            index = self._patiently("write-tree")
            goal = trees.edit(self._backend, index, staged)
            # -i: the index alone, whatever the files are; flags of entries stay as they are
            self._patiently("-c", "submodule.recurse=false", "read-tree", "-i", "-m", index, goal)
        return staged

    def _index(self) -> dict[str, Entry]:
        """Return the staged files, read without the lock of the index."""
        found: dict[str, Entry] = {}
        for line in filter(None, self._git.run("ls-files", "--stage", "-z").text.split("\0")):
            fields, _, path = line.partition("\t")
            mode, oid, _ = fields.split(" ")
            found[path] = Entry(path.rpartition("/")[2], mode, oid)
        return found

    def _patiently(self, *argv: str) -> str:
        """Run git, which needs the index to itself, and return its output."""
        give_up = time.monotonic() + _PATIENCE
        while True:
            done = self._git.run(*argv, check=False)
            if done.returncode == 0:
                return done.text.strip()
            if time.monotonic() > give_up or LOCKED not in done.error:
                raise GitFailedError(
                    "git cannot write the index", evidence=done.error.splitlines()[:3]
                )
            time.sleep(RETRY)

    def torn(self) -> list[Change]:
        """Return the paths whose files are as the move can have left them, and not as in HEAD."""
        index = self._index()
        paths = {change.path for change in self._changed}
        dirty = None
        if self._originals is None:
            dirty = set(own_changes(self._git, self._top, paths))
        return [
            change
            for change in self._changed
            if dirty is None or change.path in dirty
            if GITLINK not in {entry.mode for entry in (change.old, change.new) if entry}
            if _same(index.get(change.path), self.at_head(change.path))
            if self._is_torn(change)
        ]

    def _kept(self, change: Change) -> Path | None:
        if self._originals is None:
            return None
        kept = self._originals / _FILES / change.path
        return kept if kept.is_symlink() or kept.is_file() else None

    def _is_torn(self, change: Change) -> bool:
        path, kept, own = self._top / change.path, self._kept(change), self.at_head(change.path)
        if not os.path.lexists(path):
            # without the file that HEAD has; a sparse checkout had none before either
            return own is not None and (kept is not None or self._originals is None)
        if not (path.is_symlink() or path.is_file()):
            return own is not None and change.new is None and _holds_only_folders(path)
        if kept is not None and _equal(path, kept) and _same(own, change.old):
            return False
        return change.new is not None and not _same(own, change.new) and self._is_new(change)

    def _is_new(self, change: Change) -> bool:
        """Whether a file holds the new content or its beginning, as stored or as written."""
        assert change.new is not None
        path = self._top / change.path
        try:
            new = self._backend.read(change.new.oid)[1]
        except MissingObjectError:
            return False
        if path.is_symlink():
            return os.fsencode(path.readlink()) == new
        data = path.read_bytes()
        if new.startswith(data):
            return True
        option = f"--path={change.path}"
        stored = self._filtered("hash-object", option, "--stdin", stdin=data)
        if stored is not None and stored.strip().decode() == change.new.oid:
            return True
        # a filter might not clean what it has smudged, and half of its output is no input
        written = self._filtered("cat-file", "--filters", option, change.new.oid)
        return written is not None and written.startswith(data)

    def _filtered(self, *argv: str, stdin: bytes = b"") -> bytes | None:
        """Return the output of a git command that runs a filter, None if it fails or hangs."""
        try:
            done = self._git.run(*argv, stdin=stdin, check=False, timeout=_FILTER)
        except TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None

    def restore(self, change: Change) -> None:
        path, kept, own = self._top / change.path, self._kept(change), self.at_head(change.path)
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            _remove_folders(path)
        if own is None:
            return
        if kept is None or not _same(own, change.old):
            name = f"{change.path}\0".encode(errors="surrogateescape")
            self._git.run("checkout-index", "-f", "-z", "--stdin", stdin=name)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _link(kept, path)

    def remove_new_folders(self) -> None:
        """Remove the empty folders that the move has made."""
        if self._originals is None:
            return
        names = (self._originals / _NEW_FOLDERS).read_bytes().decode(errors="surrogateescape")
        for name in sorted(filter(None, names.split("\0")), reverse=True):
            with suppress(OSError):  # the user's files are there, or the move had not come so far
                (self._top / name).rmdir()


def _file(backend: Backend, tree: str, path: str) -> Entry | None:
    entry = trees.find(backend, tree, path)
    return None if entry is None or entry.mode == TREE else entry


def _same(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.mode, one.oid) == (other.mode, other.oid)


def _equal(path: Path, kept: Path) -> bool:
    one, other = path.lstat(), kept.lstat()
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    if path.is_symlink() or kept.is_symlink() or one.st_mode != other.st_mode:
        return path.is_symlink() and kept.is_symlink() and path.readlink() == kept.readlink()
    return one.st_size == other.st_size and path.read_bytes() == kept.read_bytes()


def _holds_only_folders(path: Path) -> bool:
    return not any(files for _, _, files in os.walk(path))


def _remove_folders(path: Path) -> None:
    for parent, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):  # holds a link to a folder, or a file just created
            Path(parent).rmdir()
