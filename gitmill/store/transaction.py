"""The only writer of the state branch: read the tip, decide, write objects, swap the refs.

After a lost race it decides again on the new tip, so no update is lost and none is applied to a
state that it was not meant for. The lock only saves work; correctness rests on the swap.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from gitmill.caches import BoundedCache
from gitmill.core.trailers import EventRecord, format_message
from gitmill.errors import (
    GitFailedError,
    MissingObjectError,
    NotInitializedError,
    RefMovedError,
    StateMovedError,
)
from gitmill.git import locks, trees
from gitmill.git.objects import Backend, Commit, Entry, Move, read_commit, write_commit
from gitmill.git.repo import Repository
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.store import foreign_commits, layout, write_lock
from gitmill.store.journal import Journal, Position
from gitmill.store.snapshot import ItemCache, Snapshot
from gitmill.store.write_lock import WriteLock

if TYPE_CHECKING:
    from gitmill.store.redactor import Redactor

DEADLINE = 30.0  # seconds of lost races before giving up
LOCKED = 2.0  # seconds to wait for a ref locked by another git
_ROOT_IDENT = "gitmill <gitmill@localhost> 0 +0000"
_ROOT_MESSAGE = "gitmill state\n"


@dataclass(frozen=True, slots=True)
class StateCommit:
    """A state commit to write: its message, the files it sets or removes, refs that move along.

    `evidence` is the path of the file whose blob becomes the event's evidence.
    """

    subject: str
    record: EventRecord
    files: Mapping[str, Entry | bytes | None] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    evidence: str = ""


Build = Callable[[Snapshot], StateCommit | None]


def root_commit(empty_tree: str) -> Commit:
    """Return the root commit of the state branch, the same in every clone."""
    return Commit(empty_tree, (), _ROOT_IDENT, _ROOT_IDENT, _ROOT_MESSAGE)


class Store:
    """The state branch of one repository, and gitmill's other refs there."""

    def __init__(
        self,
        repository: Repository,
        now: Callable[[], datetime],
        apply_hand_edits: Callable[[WriteLock], None] = lambda _: None,
        allowed_secrets: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._repository = repository
        self._now = now
        self._cache: ItemCache = BoundedCache(4096)
        self.journal = Journal(repository.private)
        self._past = ""
        # Called under the write lock, so that no commit is written above an unapplied hand edit.
        self._apply_hand_edits = apply_hand_edits
        self._allowed_secrets = allowed_secrets

    @property
    def backend(self) -> Backend:
        """The repository's objects, for writing."""
        return self._repository.objects

    @cached_property
    def redactor(self) -> Redactor:
        """Keeps secrets out of what this store writes, and out of its notes."""
        from gitmill.store.redactor import Redactor  # noqa: PLC0415  (reads redact nothing)

        return Redactor(self._allowed_secrets)

    def snapshot(self, *, writing: bool = True) -> Snapshot:
        """Return the current state. Raises `NotInitializedError` if there is no state branch."""
        backend = self._repository.objects if writing else self._repository.reader
        tip = self._past or backend.ref(layout.STATE)
        if tip is None:
            raise NotInitializedError(
                "this repository has no branch gitmill/state",
                hints=[
                    Hint("start one with", Gitmill("init")),
                    Hint(
                        "or fetch a teammate's with",
                        Shell("git fetch origin gitmill/state:gitmill/state"),
                    ),
                ],
            )
        snapshot = Snapshot(backend, tip, self._cache)
        snapshot.require_format()
        return snapshot

    def at_commit(self, commit: str) -> None:
        """Make this store read-only, fixed at one of the state's commits."""
        self._past = commit

    def at(self, commit: str) -> Snapshot:
        """Return the state at one of its commits."""
        return Snapshot(self.backend, commit, self._cache)

    def create_root(self) -> str:
        """Write the root commit, the same in every clone, and return its id."""
        return write_commit(self.backend, root_commit(self.backend.write("tree", b"")))

    def is_begun(self) -> bool:
        """Whether there is a state branch."""
        return self.backend.ref(layout.STATE) is not None

    def begin(self) -> bool:
        """Create the state branch unless it exists; return whether it was created."""
        if self.is_begun():
            return False
        try:
            self.move(Move(layout.STATE, self.create_root(), None))
        except RefMovedError:
            if self.backend.ref(layout.STATE) is None:
                raise
            return False
        return True

    def commit(
        self, build: Build, *more: Build, new: bool = False, lock: WriteLock | None = None
    ) -> Snapshot:
        """Commit the result of `build` on the current state and return the state after it.

        `build` is called again after a lost race; it returns None if there is nothing to do. Each
        of `more` builds a commit on the state after the previous one: the branch moves over all of
        them in one swap or stays. No ref may move twice, in all of them together. `new` skips the
        format check, for the commit that writes the format. `lock` is for what applies hand edits,
        under the write lock: no others are applied first. A process killed here can leave refs
        without their event, never an event without its refs. Raises `StateMovedError` if races are
        lost until the deadline, `StorageError` if the disk is full.
        """
        assert not self._past, "the past does not change"
        give_up = time.monotonic() + DEADLINE
        wait = 0.002
        while True:
            with write_lock.take_or_use(self._repository.private, lock) as held:
                before = self._tip() if new else self.snapshot()
                if not new and lock is None:
                    before = self._after_hand_edits(before, held)
                before.require_rules()
                after, moves = self._draft(before, (build, *more))
                try:
                    if after is not before:
                        self._publish(after.commit, before.commit, moves)
                except RefMovedError as error:
                    if self.backend.ref(layout.STATE) == after.commit:
                        return after  # the state did move; a later ref failed
                    # A full disk looks like a lost race, and trying again would only take time.
                    from gitmill.git import disk  # noqa: PLC0415  (only after a failure)

                    disk.require_room([self._repository.common])
                    self._clear_stale()
                    if time.monotonic() > give_up:
                        raise _state_moved(error) from error
                else:
                    return after
            time.sleep(_jitter(wait))
            wait = min(wait * 2, 0.25)

    def _draft(self, before: Snapshot, builds: Iterable[Build]) -> tuple[Snapshot, list[Move]]:
        """Write the commits of `builds` without publishing them; return the state and ref moves."""
        after, moves = before, list[Move]()
        for build in builds:
            if draft := build(after):
                after = Snapshot(self.backend, self._write(after, draft), self._cache)
                moves += draft.moves
        return after, moves

    def _after_hand_edits(self, before: Snapshot, lock: WriteLock) -> Snapshot:
        """Return the state with hand edits applied, except to documents that cannot be read."""
        while foreign_commits.is_by_hand(self.backend, before.commit):
            self._apply_hand_edits(lock)
            seen, before = before, self.snapshot()
            if before.commit == seen.commit:
                break
        return before

    def _tip(self) -> Snapshot:
        tip = self.backend.ref(layout.STATE)
        assert tip is not None
        return Snapshot(self.backend, tip, self._cache)

    def _write(self, before: Snapshot, draft: StateCommit) -> str:
        """Write the objects of a commit, with every secret redacted first."""
        backend, ident = self.backend, self._repository.ident(self._now())
        version = max(before.rules, draft.record.version)
        event = replace(draft.record, rules=str(version) if version > 1 else "")
        subject, record = self.redactor.message(draft.subject, event, ident)
        files = self.redactor.files(draft.files, before.read)
        if draft.evidence:
            run = files[draft.evidence]
            assert isinstance(run, bytes)
            record = replace(record, evidence=backend.write("blob", run))
        tree = trees.edit(backend, before.tree, files)
        message = format_message(subject, record)
        return write_commit(backend, Commit(tree, (before.commit,), ident, ident, message))

    def _publish(self, new: str, old: str, moves: Iterable[Move]) -> None:
        backend = self.backend
        set_, removed = _split(moves)
        moves = [*set_, Move(layout.STATE, new, old)]
        _require_once([*moves, *removed])
        self.journal.write([move for move in (*moves, *removed) if layout.is_own(move.ref)])
        if not all(layout.is_own(move.ref) for move in set_):
            # libgit2, if killed, leaves locks on the user's refs; a git process survives our death.
            backend = self._repository.reader
        backend.swap(moves)
        if removed:
            with suppress(RefMovedError):  # the ref has moved on, or recovery removes it
                self.backend.swap(removed)

    def move(self, move: Move, *, lock: WriteLock | None = None) -> None:
        """Move one of gitmill's refs without an event; `lock` if the caller holds the write lock.

        Raises `RefMovedError` if the ref is not at the old value, or stays locked for too long.
        """
        give_up = time.monotonic() + LOCKED
        while True:
            with write_lock.take_or_use(self._repository.private, lock):
                self.journal.write([move])
                try:
                    return self.backend.swap([move])
                except RefMovedError:
                    if self.backend.ref(move.ref) == move.new:
                        return None  # the ref did move
                    late = not self._clear_stale() and time.monotonic() > give_up
                    if late or self.backend.ref(move.ref) != move.old:
                        raise
            time.sleep(_jitter(0.05))

    def remove(self, refs: Mapping[str, str]) -> None:
        """Remove refs of gitmill with their reflogs, each from its present value, all or none.

        Raises `RefMovedError` if one of them has moved.
        """
        assert all(layout.is_own(ref) for ref in refs), "the user's refs are not gitmill's"
        moves = [Move(ref, None, oid) for ref, oid in refs.items()]
        with self.refs_lock():
            self.journal.write(moves)
            # through git itself: libgit2 may not be able to open the repository
            self._repository.reader.swap(moves)

    def refs_lock(self) -> AbstractContextManager[WriteLock]:
        """Keep all others from moving gitmill's refs, so refs and journal agree.

        Raises `RuntimeError` if this thread holds the write lock already.
        """
        return write_lock.take(self._repository.private)

    def restore_refs(
        self,
        seen: Mapping[str, str],
        since: Position,
        accept: Callable[[Move], bool],
        lock: WriteLock,
    ) -> list[Move]:
        """Restore gitmill's refs that another program has moved since they were `seen`.

        A move to the present value stays if `accept` returns true for it. The journal alone proves
        nothing for the state branch, see `_follows`. Return the moves made.
        """
        lock.require()
        journalled, refs = self.journal.since(since), self.backend.refs("refs/")
        states, before = journalled.get(layout.STATE, []), seen.get(layout.STATE)
        believed = {before}
        for oid in states:
            if self._follows(oid, believed):
                believed.add(oid)
        journalled[layout.STATE] = [oid for oid in states if oid in believed]
        now = {ref: oid for ref, oid in refs.items() if layout.is_own(ref)}
        moves: list[Move] = []
        for ref in sorted({*seen, *now}):
            own_values = [seen.get(ref), *journalled.get(ref, [])]
            if now.get(ref) in own_values or accept(Move(ref, now.get(ref), seen.get(ref))):
                continue
            moves.append(Move(ref, own_values[-1], now.get(ref)))
        for move in moves:
            self.backend.swap([move])
        return moves

    def _follows(self, oid: str | None, believed: Collection[str | None]) -> bool:
        """Whether a journalled value of the state branch is an event above a `believed` value.

        Other code can write the journal too, but gitmill writes nothing else there.
        """
        at = oid
        try:
            if (
                at is not None
                and at not in believed
                and foreign_commits.is_by_hand(self.backend, at)
            ):
                return False
            while at is not None and at not in believed:
                at = self.parent(at)
        except (MissingObjectError, GitFailedError):
            return False
        return at in believed

    def clear_stale(self) -> list[str]:
        """Move aside the locks that killed processes left on gitmill's refs; return their names."""
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


def _state_moved(error: RefMovedError) -> StateMovedError:
    return StateMovedError(
        "refs moved each time this was being saved; nothing was changed",
        evidence=[error.message, *error.evidence],
        hints=[Hint("run the same command again"), Hint("clear stale locks:", Gitmill("recover"))],
    )


def _require_once(moves: Iterable[Move]) -> None:
    """Assert that no ref moves twice: its second move would not find the old value it names."""
    twice = {ref: times for ref, times in Counter(m.ref for m in moves).items() if times > 1}
    assert not twice, f"no ref moves twice in a transaction: {', '.join(twice)}"


def _split(moves: Iterable[Move]) -> tuple[list[Move], list[Move]]:
    """Return the moves to a new value and the moves that remove a ref."""
    set_, removed = list[Move](), list[Move]()
    for move in moves:
        (removed if move.new is None else set_).append(move)
    return set_, removed
