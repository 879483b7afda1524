"""A repository with its state, clock and randomness; every flow takes one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gitmill.caches import BoundedCache
from gitmill.errors import UnusableRepositoryError
from gitmill.git.differ import Differ
from gitmill.git.objects import read_commit
from gitmill.git.repo import Repository
from gitmill.hints import Blank, Gitmill, Hint, Shell
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


def state_folder() -> Path:
    """Return the user's folder for the state of programs, as XDG defines it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


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
        """Return the commit at the tip of the target, as the remote has it if it is not local.

        Raises `UnusableRepositoryError`.
        """
        tip = self.store.backend.ref(self.target_ref(snapshot))
        if tip is not None:
            return tip
        from gitmill.git.default_branch import tip_on_remote  # noqa: PLC0415  (rarely needed)

        tip = tip_on_remote(self.repository, snapshot.control.target)
        if tip is None:
            raise self._no_target(snapshot.control.target)
        return tip

    def local_target_tip(self, snapshot: Snapshot) -> str:
        """Return the tip of the target; a branch that only the remote has is created here first.

        The user's HEAD stays as it is. Raises `UnusableRepositoryError`.
        """
        ref = self.target_ref(snapshot)
        if self.store.backend.ref(ref) is None:
            from gitmill.git.default_branch import create_local  # noqa: PLC0415  (rarely needed)

            create_local(self.repository, snapshot.control.target)
        return self.target_tip(snapshot)

    def _no_target(self, target: str) -> UnusableRepositoryError:
        remote = next(iter(self.repository.remotes), "")
        if remote:  # a checkout of CI has few branches, and the board's target is right
            branch = shlex.quote(f"{target}:{target}")
            hint = Hint("fetch it with", Shell(f"git fetch {shlex.quote(remote)} {branch}"))
        else:
            hint = Hint("if it was renamed, name it:", Gitmill("init", "--target", Blank("BRANCH")))
        return UnusableRepositoryError(f"the target branch {target} does not exist", hints=[hint])

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit."""
        return read_commit(self.store.backend, commit).tree

    def changes(self, old: str, new: str) -> list[Change]:
        """Return the changes between two commits, by path."""
        return list(Differ(self.store.backend).changes(self.tree_of(old), self.tree_of(new)))

    @cached_property
    def work_trees(self) -> frozenset[Path]:
        """The user's work trees when this was first asked for: later one can be gone."""
        return frozenset(self.repository.work_trees())

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
        from gitmill.git.pool_name import pool_name  # noqa: PLC0415  (reads need none)

        folder = self._pools / pool_name(self.repository, self._pools)
        return Pool(folder, self.repository.common, options=self.repository.writer.options)

    @property
    def _pools(self) -> Path:
        root = self.repository.preferences.get("worktreeroot") or state_folder() / "gitmill"
        return Path(root).expanduser()

    def keep_pool(self) -> None:
        """Record which folder of worktrees is this repository's, for when it is moved."""
        from gitmill.git.pool_name import keep_name  # noqa: PLC0415  (reads need none)

        with suppress(OSError):  # a full disk must not keep a person from deciding
            keep_name(self.repository, self._pools, self.new_token())
