"""The backend for work on many objects: pygit2, without a process per object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, Option
from pygit2.transaction import ReferenceTransaction

from gitmill.errors import GitFailedError, RefMovedError
from gitmill.failpoints import chokepoint
from gitmill.git.executable import Git
from gitmill.git.objects import Move, missing_object, unreadable_ref
from gitmill.git.per_thread import PerThread
from gitmill.git.plumbing import Plumbing

_KINDS = {
    "blob": ObjectType.BLOB,
    "tree": ObjectType.TREE,
    "commit": ObjectType.COMMIT,
    "tag": ObjectType.TAG,
}
_TRIES = 20
_NAMES = {int(number): name for name, number in _KINDS.items()}


Swap = Callable[[Sequence[Move]], None]


class Libgit2:
    """Objects and refs through libgit2.

    Each thread gets a handle of its own, so threads can share this object; processes that fork
    cannot.
    """

    digits = 40

    def __init__(self, common: Path, *, fsync: bool = True, swap: Swap | None = None) -> None:
        """`swap` moves refs with git itself, for the moves that libgit2 must not make."""
        self._git_swap = swap or Plumbing(Git(common)).swap
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, fsync)
        # git opened the repository, so it trusts its owner, by settings that libgit2 cannot see
        pygit2.option(Option.SET_OWNER_VALIDATION, False)
        self._repos = PerThread(lambda: _open(common), pygit2.Repository.free)
        self._repos.get()  # a repository that libgit2 refuses is an error here

    def read(self, oid: str) -> tuple[str, bytes]:
        """Return type and content; raise `MissingObjectError`."""
        try:
            kind, data = self._repos.get().read(pygit2.Oid(hex=oid))[:2]
        except (KeyError, ValueError) as error:
            raise missing_object(oid) from error
        except pygit2.GitError as error:
            raise missing_object(oid, str(error)) from error
        return _NAMES[int(kind)], data

    def write(self, kind: str, data: bytes) -> str:
        """Store an object and return its id."""
        for _ in range(_TRIES):
            # `git gc` removes empty folders, even one that was created a moment ago for this write.
            with suppress(OSError, pygit2.GitError):
                return str(self._repos.get().write(_KINDS[kind], data))
        try:
            return str(self._repos.get().write(_KINDS[kind], data))
        except (pygit2.GitError, OSError) as error:
            raise GitFailedError(f"a {kind} could not be stored: {error}") from error

    def ref(self, name: str) -> str | None:
        """Return the object a ref points at, None if there is no such ref."""
        try:
            return str(self._repos.get().references[name].resolve().target)
        except (KeyError, ValueError):
            return None
        except pygit2.GitError as error:
            raise unreadable_ref(name) from error

    def refs(self, prefix: str) -> dict[str, str]:
        """Return all refs that begin with the prefix, sorted by name."""
        names = sorted(name for name in self._repos.get().references if name.startswith(prefix))
        return {name: oid for name in names if (oid := self.ref(name)) is not None}

    def swap(self, moves: Sequence[Move]) -> None:
        """Lock all refs, compare all, then move them one by one in this order.

        With a removal among them git makes the moves: libgit2 removes a packed ref by rewriting
        packed-refs as read before it locked that file. Entries that a `git pack-refs` wrote in
        between would be lost, including moves of the user's own branches.
        """
        if any(move.new is None and move.old is not None for move in moves):
            self._git_swap(moves)
            return
        try:
            self._locked_swap(moves)
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            # pygit2 raises generic types: the caller reads the refs again to see which one moved.
            raise RefMovedError(f"could not move {moves[0].ref}: {error}") from error

    def _locked_swap(self, moves: Sequence[Move]) -> None:
        # One transaction with all refs would move them in an unspecified order.
        locked: list[tuple[Move, str, ReferenceTransaction]] = []
        with ExitStack() as stack:
            for move in moves:
                transaction = self._repos.get().transaction()
                stack.callback(transaction.__exit__, RefMovedError, None, None)
                name = self._real_name(move.ref)
                transaction.lock_ref(name)
                locked.append((move, name, transaction))
            for move in moves:
                if (now := self.ref(move.ref)) != move.old:
                    raise RefMovedError(f"{move.ref} is at {now}, not at {move.old}")
            for move, name, transaction in locked:
                with chokepoint(f"move {move.ref}"):
                    if move.new is not None:
                        transaction.set_target(name, move.new, message="gitmill")
                    transaction.commit()

    def _real_name(self, name: str) -> str:
        """Follow a symbolic ref, as git does: a branch can be an alias of another branch."""
        try:
            return str(self._repos.get().references[name].resolve().name)
        except (KeyError, ValueError):
            return name


def _open(common: Path) -> pygit2.Repository:
    return pygit2.Repository(str(common), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
