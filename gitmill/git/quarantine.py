"""Objects outside of the repository: what git has read from an agent's files, until it is admitted.

git writes loose objects into a folder, as in gitformat-loose; trees made from them stay in memory.
A file that is not admitted, because it holds a secret, was never in the repository.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import GITLINK, Backend, Entry, object_id
from gitmill.git.worktree_entries import remove


class Quarantine:
    """The objects of a repository and of a folder beside it; new ones are in memory."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        remove(folder)
        self.folder = folder
        self.objects = folder / "objects"
        self.objects.mkdir(parents=True)
        self.digits = backend.digits
        self._backend = backend
        self._made: dict[str, tuple[str, bytes]] = {}

    def read(self, oid: str) -> tuple[str, bytes]:
        """Return type and content; raise `MissingObjectError`."""
        return self._made.get(oid) or self._loose(oid) or self._backend.read(oid)

    def write(self, kind: str, data: bytes) -> str:
        """Keep an object in memory and return its id."""
        oid = object_id(kind, data, self.digits)
        self._made[oid] = kind, data
        return oid

    def admit(self, base: str, tree: str) -> str:
        """Write a tree that differs from `base`, and its new files, to the repository."""
        changed: dict[str, Entry | bytes | None] = {}
        for change in Differ(self).changes(base, tree):
            changed[change.path] = new = change.new
            if new is not None and new.mode != GITLINK and (found := self._outside(new.oid)):
                self._backend.write(*found)
        return trees.edit(self._backend, base, changed) if changed else base

    def close(self) -> None:
        """Forget what was not admitted."""
        self._made.clear()
        remove(self.folder)

    def _outside(self, oid: str) -> tuple[str, bytes] | None:
        return self._made.get(oid) or self._loose(oid)

    def _loose(self, oid: str) -> tuple[str, bytes] | None:
        try:
            data = (self.objects / oid[:2] / oid[2:]).read_bytes()
        except FileNotFoundError:
            return None
        head, _, body = zlib.decompress(data).partition(b"\0")
        return head.split(b" ")[0].decode(), body
