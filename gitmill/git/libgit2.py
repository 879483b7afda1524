"""The backend for processes that live long: pygit2, no process per object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, Option

from gitmill.errors import RefMovedError
from gitmill.failpoints import chokepoint
from gitmill.git.objects import MissingObjectError, Move

_KINDS = {
    "blob": ObjectType.BLOB,
    "tree": ObjectType.TREE,
    "commit": ObjectType.COMMIT,
    "tag": ObjectType.TAG,
}
_NAMES = {int(number): name for name, number in _KINDS.items()}


class Libgit2:
    """Objects and refs through libgit2; one instance per process, not shared across a fork."""

    digits = 40

    def __init__(self, common: Path, *, fsync: bool = True) -> None:
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, fsync)
        self._repo = pygit2.Repository(str(common), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)

    def read(self, oid: str) -> tuple[str, bytes]:
        """Return type and content; raises `MissingObjectError`."""
        try:
            kind, data = self._repo.read(pygit2.Oid(hex=oid))[:2]
        except (KeyError, ValueError) as error:
            raise MissingObjectError(f"there is no object {oid[:12]}") from error
        return _NAMES[int(kind)], data

    def write(self, kind: str, data: bytes) -> str:
        """Store an object and return its id."""
        return str(self._repo.write(_KINDS[kind], data))

    def ref(self, name: str) -> str | None:
        """Return the object that a ref names, None when there is no such ref."""
        try:
            return str(self._repo.references[name].resolve().target)
        except KeyError:
            return None

    def refs(self, prefix: str) -> dict[str, str]:
        """Return all refs that begin with the prefix, sorted by name."""
        names = sorted(name for name in self._repo.references if name.startswith(prefix))
        return {name: oid for name in names if (oid := self.ref(name)) is not None}

    def swap(self, moves: Sequence[Move]) -> None:
        """Lock all refs, compare all, then move all."""
        with chokepoint("swap " + " ".join(move.ref for move in moves)):
            try:
                self._locked_swap(moves)
            except (pygit2.GitError, KeyError, ValueError, OSError) as error:
                # Errors come as generic types: the caller reads again and finds out what moved.
                raise RefMovedError(f"could not move {moves[0].ref}: {error}") from error

    def _locked_swap(self, moves: Sequence[Move]) -> None:
        with self._repo.transaction() as transaction:
            for move in sorted(moves, key=lambda move: move.ref):
                transaction.lock_ref(move.ref)
            for move in moves:
                if (now := self.ref(move.ref)) != move.old:
                    raise RefMovedError(f"{move.ref} is at {now}, not at {move.old}")
            for move in moves:
                if move.new is not None:
                    transaction.set_target(move.ref, move.new, message="gitmill")
                elif move.old is not None:
                    transaction.remove(move.ref)
