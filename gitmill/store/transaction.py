"""The only writer of the state branch: read the tip, decide, write objects, swap the refs.

A lost race is decided again on the new tip, so no update is lost and none is applied to a state
that it was not meant for. The lock in front only saves work; the swap is what is correct.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from gitmill.core.item import Item
from gitmill.core.trailers import EventRecord, format_message
from gitmill.errors import NotInitializedError, RefMovedError, StateMovedError
from gitmill.git import locks, trees
from gitmill.git.objects import Backend, Commit, Entry, Move, read_commit, write_commit
from gitmill.git.repo import Repository
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot

DEADLINE = 30.0  # seconds of lost races before giving up
LOCKED = 2.0  # seconds that a ref may be locked by another git before giving up
_ROOT_IDENT = "gitmill <gitmill@localhost> 0 +0000"
_ROOT_MESSAGE = "gitmill state\n"


@dataclass(frozen=True, slots=True)
class Draft:
    """One state commit to be: its message, the files it sets or removes, refs that move with it."""

    subject: str
    record: EventRecord
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()


Build = Callable[[Snapshot], Draft | None]


class Store:
    """The state branch of one repository, and the other refs of gitmill there."""

    def __init__(self, repository: Repository, now: Callable[[], datetime]) -> None:
        self._repository = repository
        self._now = now
        self._cache: dict[str, Item] = {}

    @property
    def backend(self) -> Backend:
        """The repository's objects, for writing."""
        return self._repository.objects

    def snapshot(self, *, writing: bool = True) -> Snapshot:
        """Return the state now. Raises `NotInitializedError` when there is no state branch."""
        backend = self._repository.objects if writing else self._repository.reader
        tip = backend.ref(layout.STATE)
        if tip is None:
            raise NotInitializedError(
                "this repository has no branch gitmill/state",
                hints=[
                    "start one with `gitmill init`",
                    "or fetch a teammate's with `git fetch origin gitmill/state:gitmill/state`",
                ],
            )
        snapshot = Snapshot(backend, tip, self._cache)
        snapshot.require_format()
        return snapshot

    def create_root(self) -> str:
        """Write the root commit, the same in every clone, and return its id."""
        backend = self.backend
        tree = backend.write("tree", b"")
        return write_commit(backend, Commit(tree, (), _ROOT_IDENT, _ROOT_IDENT, _ROOT_MESSAGE))

    def begin(self) -> bool:
        """Make the state branch unless it is there; whether it was made."""
        if self.backend.ref(layout.STATE) is not None:
            return False
        try:
            self.move(Move(layout.STATE, self.create_root(), None))
        except RefMovedError:
            if self.backend.ref(layout.STATE) is None:
                raise
            return False
        return True

    def commit(self, build: Build, *, new: bool = False) -> Snapshot:
        """Commit what `build` makes of the current state and return the state after it.

        `build` is called again after a lost race; None from it means that there is nothing to do.
        `new` skips the format check, for the commit that writes the format. Who is killed here
        leaves refs without the event that they belong to, never an event without its refs.
        Raises `StateMovedError` when races are lost until the deadline.
        """
        give_up = time.monotonic() + DEADLINE
        wait = 0.002
        while True:
            with locks.held(self._repository.private / "write.lock"):
                before = self._tip() if new else self.snapshot()
                draft = build(before)
                if draft is None:
                    return before
                try:
                    return Snapshot(self.backend, self._write(before, draft), self._cache)
                except RefMovedError as error:
                    self._clear_stale()
                    if time.monotonic() > give_up:
                        raise StateMovedError(
                            "refs moved each time this was being saved; nothing was changed",
                            evidence=[error.message],
                            hints=[
                                "run the same command again",
                                "look for a stale lock: `gitmill recover`",
                            ],
                        ) from error
            time.sleep(random.uniform(0, wait))  # noqa: S311  (jitter)
            wait = min(wait * 2, 0.25)

    def _tip(self) -> Snapshot:
        tip = self.backend.ref(layout.STATE)
        assert tip is not None
        return Snapshot(self.backend, tip, self._cache)

    def _write(self, before: Snapshot, draft: Draft) -> str:
        backend = self.backend
        changes: dict[str, Entry | bytes | None] = dict(draft.files)
        tree = trees.edit(backend, before.tree, changes)
        ident = self._repository.ident(self._now())
        message = format_message(draft.subject, draft.record)
        new = write_commit(backend, Commit(tree, (before.commit,), ident, ident, message))
        set_, removed = _split(draft.moves)
        if not all(layout.is_own(move.ref) for move in set_):
            # A lock that we left on a ref of the user's would be theirs to clear; git outlives us.
            backend = self._repository.reader
        backend.swap([*set_, Move(layout.STATE, new, before.commit)])
        if removed:
            with suppress(RefMovedError):  # it has moved on, or recovery removes it
                self.backend.swap(removed)
        return new

    def move(self, move: Move) -> None:
        """Move a ref of gitmill's without an event.

        Raises `RefMovedError` when it is elsewhere, or locked for too long.
        """
        give_up = time.monotonic() + LOCKED
        while True:
            with locks.held(self._repository.private / "write.lock"):
                try:
                    return self.backend.swap([move])
                except RefMovedError:
                    late = not self._clear_stale() and time.monotonic() > give_up
                    if late or self.backend.ref(move.ref) != move.old:
                        raise
            time.sleep(random.uniform(0, 0.05))  # noqa: S311  (jitter)

    def clear_stale(self) -> list[str]:
        """Move locks aside that killed processes left on refs of gitmill's; return their names."""
        with locks.held(self._repository.private / "write.lock"):
            return self._clear_stale()

    def _clear_stale(self) -> list[str]:
        aside = self._repository.private / "stale"
        return locks.clear_stale(self._repository.common, layout.OWN, aside)

    def parent(self, commit: str) -> str | None:
        """Return the first parent of a state commit."""
        parents = read_commit(self.backend, commit).parents
        return parents[0] if parents else None


def _split(moves: Iterable[Move]) -> tuple[list[Move], list[Move]]:
    """Return the moves to a new value and those that remove a ref."""
    set_, removed = list[Move](), list[Move]()
    for move in moves:
        (removed if move.new is None else set_).append(move)
    return set_, removed
