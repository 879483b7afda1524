"""A repository with its state, clock and randomness; every flow takes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gitmill.caches import BoundedCache
from gitmill.errors import UnusableRepositoryError
from gitmill.git.differ import Differ
from gitmill.git.objects import read_commit
from gitmill.git.repo import Repository
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import Store
from gitmill.store.write_lock import WriteLock

if TYPE_CHECKING:
    from gitmill.core.plans.plan import FrozenPlan
    from gitmill.core.verdict import Finding
    from gitmill.git.pool import Pool
    from gitmill.git.trees import Change


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


BeforeWrite = Callable[["Mill", WriteLock], None]


class Mill:
    """A repository with its store, and the only source of time and randomness."""

    def __init__(
        self,
        repository: Repository,
        *,
        clock: Callable[[], datetime] = utc_now,
        random: Callable[[int], bytes] = os.urandom,
        before_write: BeforeWrite = lambda *_: None,
        allowed_secrets: Callable[[Mill], Collection[str]] = lambda _: (),
    ) -> None:
        self.repository = repository
        self.now = clock
        self.random = random
        self.store = Store(
            repository,
            clock,
            lambda lock: before_write(self, lock),
            lambda: allowed_secrets(self),
        )
        # Patch identities by base and commit; commits never change.
        self.patches: BoundedCache[tuple[str, str], str] = BoundedCache(1024)
        # Plans by the tree of `.gitmill`, the mode and the types of stages.
        self.plans: BoundedCache[tuple[str, ...], FrozenPlan] = BoundedCache(64)
        # By claim: the changes that its code made outside its worktree.
        self.tampered: dict[str, list[Finding]] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        before_write: BeforeWrite = lambda *_: None,
        allowed_secrets: Callable[[Mill], Collection[str]] = lambda _: (),
    ) -> Mill:
        """Open the repository that contains a folder. Raises `NotARepositoryError`.

        `before_write` runs before each write on top of a commit that a person made by hand, under
        the write lock, which it gets. `allowed_secrets` returns the digests of values that look
        like secrets and are none; it is called only when something to be written looks like one.
        """
        return cls(
            Repository.open(path), before_write=before_write, allowed_secrets=allowed_secrets
        )

    def new_token(self) -> str:
        """Return a random id for an event or a claim: 16 hexadecimal digits."""
        return self.random(8).hex()

    # -- state

    def snapshot(self) -> Snapshot:
        """Return the current state. Raises `NotInitializedError`."""
        return self.store.snapshot()

    def apply(self, item_id: str, step: Step) -> Snapshot:
        """Commit one event of one item and return the state after it."""
        event_id, now = self.new_token(), self.now()
        return self.store.commit(
            lambda snapshot: draft_step(
                self.store.backend, snapshot, item_id, step, event_id=event_id, now=now
            )
        )

    # -- target

    def target_ref(self, snapshot: Snapshot) -> str:
        """Return the full name of the branch that work lands on."""
        return f"refs/heads/{snapshot.control.target}"

    def target_tip(self, snapshot: Snapshot) -> str:
        """Return the commit at the tip of the target. Raises `UnusableRepositoryError`."""
        ref = self.target_ref(snapshot)
        tip = self.store.backend.ref(ref)
        if tip is None:
            raise UnusableRepositoryError(
                f"the target branch {snapshot.control.target} does not exist",
                hints=[Hint("name another with", Gitmill("init", "--target", Blank("BRANCH")))],
            )
        return tip

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit."""
        return read_commit(self.store.backend, commit).tree

    def changes(self, old: str, new: str) -> list[Change]:
        """Return the changes between two commits, by path."""
        return list(Differ(self.store.backend).changes(self.tree_of(old), self.tree_of(new)))

    # -- people

    @cached_property
    def host(self) -> str:
        """The name of this machine."""
        return os.uname().nodename

    @cached_property
    def user(self) -> str:
        """The user and host, for leases."""
        import getpass  # noqa: PLC0415  (reads need no user name)

        return f"{getpass.getuser()}@{self.host}"

    @property
    def person(self) -> str:
        """Git's identity of the user; a decision in another person's name is given that name."""
        return self.repository.person

    # -- worktrees

    @cached_property
    def pool(self) -> Pool:
        """The worktrees of this repository."""
        from gitmill.git.pool import Pool  # noqa: PLC0415  (reads need none)

        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        root = Path(self.repository.preferences.get("worktreeroot") or f"{home}/gitmill")
        folder = root.expanduser() / self.repository.name
        return Pool(folder, self.repository.common, options=self.repository.writer.options)
