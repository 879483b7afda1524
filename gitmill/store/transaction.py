"""The only writer of the state branch: read the tip, decide, write objects, swap the refs.

A lost race is decided again on the new tip, so no update is lost and none is applied to a state
that it was not meant for. The lock in front only saves work; the swap is what is correct.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from gitmill.core.item import Item
from gitmill.core.trailers import EventRecord, format_message
from gitmill.errors import NotInitializedError, RefMovedError, StateMovedError
from gitmill.git import locks, trees
from gitmill.git.objects import Backend, Commit, Entry, Move, read_commit, write_commit
from gitmill.git.repo import Repository
from gitmill.store import foreign_commits, layout
from gitmill.store.journal import Journal, Position
from gitmill.store.snapshot import Snapshot

DEADLINE = 30.0  # seconds of lost races before giving up
LOCKED = 2.0  # seconds that a ref may be locked by another git before giving up
_ROOT_IDENT = "gitmill <gitmill@localhost> 0 +0000"
_ROOT_MESSAGE = "gitmill state\n"


@dataclass(frozen=True, slots=True)
class StateCommit:
    """One state commit to be: its message, the files it sets or removes, refs that move with it."""

    subject: str
    record: EventRecord
    files: Mapping[str, Entry | bytes | None] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()


Build = Callable[[Snapshot], StateCommit | None]


def root_commit(empty_tree: str) -> Commit:
    """Return the commit that the state begins with in every clone."""
    return Commit(empty_tree, (), _ROOT_IDENT, _ROOT_IDENT, _ROOT_MESSAGE)


class Store:
    """The state branch of one repository, and the other refs of gitmill there."""

    def __init__(
        self,
        repository: Repository,
        now: Callable[[], datetime],
        apply_hand_edits: Callable[[], None] = lambda: None,
    ) -> None:
        self._repository = repository
        self._now = now
        self._cache: dict[str, Item] = {}
        self.journal = Journal(repository.private)
        self._held = False
        self._past = ""
        # Called under the write lock: only there is it sure that nothing is written above a hand
        # edit that is not applied yet.
        self._apply_hand_edits = apply_hand_edits
        self._applying = False

    @property
    def backend(self) -> Backend:
        """The repository's objects, for writing."""
        return self._repository.objects

    def snapshot(self, *, writing: bool = True) -> Snapshot:
        """Return the state now. Raises `NotInitializedError` when there is no state branch."""
        backend = self._repository.objects if writing else self._repository.reader
        tip = self._past or backend.ref(layout.STATE)
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

    def at_commit(self, commit: str) -> None:
        """From now on be about the state as it was at one of its commits; nothing is written."""
        self._past = commit

    def at(self, commit: str) -> Snapshot:
        """Return the state as it was at one of its commits."""
        return Snapshot(self.backend, commit, self._cache)

    def create_root(self) -> str:
        """Write the root commit, the same in every clone, and return its id."""
        return write_commit(self.backend, root_commit(self.backend.write("tree", b"")))

    def is_begun(self) -> bool:
        """Whether there is a state branch."""
        return self.backend.ref(layout.STATE) is not None

    def begin(self) -> bool:
        """Make the state branch unless it is there; whether it was made."""
        if self.is_begun():
            return False
        try:
            self.move(Move(layout.STATE, self.create_root(), None))
        except RefMovedError:
            if self.backend.ref(layout.STATE) is None:
                raise
            return False
        return True

    def commit(self, build: Build, *more: Build, new: bool = False) -> Snapshot:
        """Commit what `build` makes of the current state and return the state after it.

        `build` is called again after a lost race; None from it means that there is nothing to do.
        `more` are commits on top of it, each made of the state that the one before leads to: the
        branch moves over all of them at once or stays. They must not move the same ref twice.
        `new` skips the format check, for the commit that writes the format. Who is killed here
        leaves refs without the event that they belong to, never an event without its refs.
        Raises `StateMovedError` when races are lost until the deadline.
        """
        assert not self._past, "the past does not change"
        give_up = time.monotonic() + DEADLINE
        wait = 0.002
        while True:
            with self.refs_lock():
                before = self._tip() if new else self._after_hand_edits()
                at, moves = before, list[Move]()
                for make in (build, *more):
                    if draft := make(at):
                        at = Snapshot(self.backend, self._object(at, draft), self._cache)
                        moves += draft.moves
                try:
                    if at is not before:
                        self._publish(at.commit, before.commit, moves)
                except RefMovedError as error:
                    if self.backend.ref(layout.STATE) == at.commit:
                        return at  # it had moved after all, and what failed came behind that
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
                else:
                    return at
            time.sleep(_jitter(wait))
            wait = min(wait * 2, 0.25)

    def _after_hand_edits(self) -> Snapshot:
        """Return the state with hand edits applied; only documents that cannot be read remain."""
        before = self.snapshot()
        while not self._applying and foreign_commits.is_by_hand(self.backend, before.commit):
            self._applying = True  # it commits too
            try:
                self._apply_hand_edits()
            finally:
                self._applying = False
            seen, before = before, self.snapshot()
            if before.commit == seen.commit:
                break
        return before

    def _tip(self) -> Snapshot:
        tip = self.backend.ref(layout.STATE)
        assert tip is not None
        return Snapshot(self.backend, tip, self._cache)

    def _object(self, before: Snapshot, draft: StateCommit) -> str:
        backend = self.backend
        changes: dict[str, Entry | bytes | None] = dict(draft.files)
        tree = trees.edit(backend, before.tree, changes)
        ident = self._repository.ident(self._now())
        message = format_message(draft.subject, draft.record)
        return write_commit(backend, Commit(tree, (before.commit,), ident, ident, message))

    def _publish(self, new: str, old: str, moves: Iterable[Move]) -> None:
        backend = self.backend
        set_, removed = _split(moves)
        moves = [*set_, Move(layout.STATE, new, old)]
        self.journal.write([move for move in (*moves, *removed) if layout.is_own(move.ref)])
        if not all(layout.is_own(move.ref) for move in set_):
            # A lock that we left on a ref of the user's would be theirs to clear; git outlives us.
            backend = self._repository.reader
        backend.swap(moves)
        if removed:
            with suppress(RefMovedError):  # it has moved on, or recovery removes it
                self.backend.swap(removed)

    def move(self, move: Move) -> None:
        """Move a ref of gitmill's without an event.

        Raises `RefMovedError` when it is elsewhere, or locked for too long.
        """
        give_up = time.monotonic() + LOCKED
        while True:
            with self.refs_lock():
                self.journal.write([move])
                try:
                    return self.backend.swap([move])
                except RefMovedError:
                    if self.backend.ref(move.ref) == move.new:
                        return None  # it had moved after all
                    late = not self._clear_stale() and time.monotonic() > give_up
                    if late or self.backend.ref(move.ref) != move.old:
                        raise
            time.sleep(_jitter(0.05))

    @contextmanager
    def refs_lock(self) -> Iterator[None]:
        """Hold off everybody who moves refs of gitmill's: refs and journal agree meanwhile."""
        if self._held:
            yield
            return
        with locks.held(self._repository.private / "write.lock"):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def put_back(
        self, seen: Mapping[str, str], since: Position, theirs: Callable[[Move], bool]
    ) -> list[Move]:
        """Put refs of gitmill's back that somebody else has moved since they were `seen`.

        `theirs` says of a move to a ref's present value whether it is to be left. Returns the
        moves that were made. The caller sees to it that all holds `refs_lock`.
        """
        journalled, refs = self.journal.since(since), self.backend.refs("refs/")
        now = {ref: oid for ref, oid in refs.items() if layout.is_own(ref)}
        moves: list[Move] = []
        for ref in sorted({*seen, *now}):
            given = [seen.get(ref), *journalled.get(ref, [])]
            if now.get(ref) in given or theirs(Move(ref, now.get(ref), seen.get(ref))):
                continue
            moves.append(Move(ref, given[-1], now.get(ref)))
        for move in moves:
            self.backend.swap([move])
        return moves

    def clear_stale(self) -> list[str]:
        """Move locks aside that killed processes left on refs of gitmill's; return their names."""
        with self.refs_lock():
            return self._clear_stale()

    def _clear_stale(self) -> list[str]:
        aside = self._repository.private / "stale"
        return locks.clear_stale(self._repository.common, layout.OWN, aside)

    def parent(self, commit: str) -> str | None:
        """Return the first parent of a state commit."""
        parents = read_commit(self.backend, commit).parents
        return parents[0] if parents else None


def _jitter(most: float) -> float:
    """Return a random span of seconds, so that two writers do not meet again."""
    import random  # noqa: PLC0415  (only after a lost race)

    return random.uniform(0, most)  # noqa: S311  (no secret)


def _split(moves: Iterable[Move]) -> tuple[list[Move], list[Move]]:
    """Return the moves to a new value and those that remove a ref."""
    set_, removed = list[Move](), list[Move]()
    for move in moves:
        (removed if move.new is None else set_).append(move)
    return set_, removed
