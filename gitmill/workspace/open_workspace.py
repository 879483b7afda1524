"""Open a workspace: a slot of the pool, checked out, set up, and with all that surrounds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gitmill.config import Policy
from gitmill.config.values import Network
from gitmill.errors import (
    GitmillError,
    OverQuotaError,
    SetUpError,
)
from gitmill.git.private_git import Refs
from gitmill.git.trace import TRACE
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import LAYERS, Slot
from gitmill.mill import Mill
from gitmill.shells import of_checks
from gitmill.supervision.bubblewrap import Lent
from gitmill.supervision.local import LocalEngine
from gitmill.workspace import agent_homes, download_caches, sandbox
from gitmill.workspace.blame import agents_fault
from gitmill.workspace.disk_limit import keep_within
from gitmill.workspace.environment import environment
from gitmill.workspace.mount_point import MountPoint, covered, mount_point
from gitmill.workspace.outward import refuse_outward
from gitmill.workspace.populate import check_out, submodules_of
from gitmill.workspace.ports import port_range
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.set_up import set_up
from gitmill.workspace.shared_folders import Sharing, sharing
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.tamper_guard import Guard, identity
from gitmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a workspace: no limits (`full`), a network, the checkout's shared folders.

    Where code can reach the repository, `signed` marks its moves in the reflogs.
    """

    full: bool = False
    network: bool = True
    signed: bool = False
    shares: bool = True


@contextmanager
def open_workspace(
    mill: Mill,
    policy: Policy,
    commit: str,
    *,
    kind: str,
    claim: str,
    holder: str = "",
    variables: Mapping[str, str] | None = None,
    rights: Rights | None = None,
    stop: StopToken,
) -> Iterator[Workspace]:
    """Hold a worktree at a commit, set up by the policy. `kind` is `build` or `clean`.

    Raises `SetUpError` when the set-up fails, `KeyboardInterrupt` once `stop` is requested, and for
    what the code of the attempt did to its folders `SpoiledWorktreeError` or `OverQuotaError`.
    After an exception the tree of a `build` slot goes under a rescue ref; else it counts as
    recorded.
    """
    rights = rights or Rights()
    keep_within(mill, policy.worktree.max_disk)
    slot = mill.pool.acquire(kind, lambda *args: keep_worktree(mill, *args))
    try:
        with stop.interruptible():
            check_out(mill, slot, commit, holder=holder)
        with port_range() as ports, download_caches.in_use(mill) as caches:
            run = _Run(policy, commit, claim, holder, variables or {}, rights, stop, *ports, caches)
            workspace = _workspace(mill, slot, run)
            if policy.worktree.setup:
                workspace = _set_up(mill, slot, run, workspace, kind)
            workspace = workspace.with_interpreter()
            refuse_outward(workspace.at, workspace.env)
            yield workspace
        slot.clear_holder()
    except BaseException as error:
        fault = _agents_fault(mill, error, slot, holder)
        with suppress(GitmillError, OSError):  # recovery tries again and reports it
            slot.rescue(lambda *args: keep_worktree(mill, *args))
        if fault is not None:
            raise fault from error
        raise
    finally:
        with suppress(GitmillError, OSError):  # the next use of the slot resets it too
            slot.reset_entry(commit)
        slot.release()


def shared_identity(mill: Mill, policy: Policy, commit: str) -> str:
    """Return the identity of what a commit's tree would share with the checkout now."""
    return _sharing(mill, policy, commit).identity


def refused_folders(mill: Mill, policy: Policy, commit: str) -> Sequence[tuple[str, str]]:
    """Return what a commit's tree would not share with the checkout now, each with the reason."""
    return _sharing(mill, policy, commit).refused


def _sharing(mill: Mill, policy: Policy, commit: str) -> Sharing:
    checkout = covered(mill, confined=sandbox.is_confined(mill, policy))
    return Sharing() if checkout is None else sharing(mill, policy, mill.tree_of(commit), checkout)


def _set_up(mill: Mill, slot: Slot, run: _Run, workspace: Workspace, kind: str) -> Workspace:
    """Return the workspace after its set-up.

    A set-up that cannot work on a shared folder, because it removes it, say, makes its own.
    """
    try:
        return set_up(mill, workspace.with_interpreter(), run.policy, kind)
    except SetUpError:
        if not workspace.sharing.folders:
            raise
    with run.stop.interruptible():
        slot.prepare(run.commit, holder=run.holder)
    workspace = _workspace(mill, slot, replace(run, rights=replace(run.rights, shares=False)))
    return set_up(mill, workspace.with_interpreter(), run.policy, kind)


def _agents_fault(mill: Mill, error: BaseException, slot: Slot, holder: str) -> GitmillError | None:
    """Return the error to raise instead if the attempt's code caused this one."""
    temporary = [slot.side / name for name in ("tmp", "home", LAYERS)]
    homes = [mill.pool.folder / agent_homes.FOLDER / holder] if holder else []
    fault = agents_fault(error, [slot.path, *temporary, *homes])
    if isinstance(fault, OverQuotaError):
        for folder in temporary:  # room to record the attempt
            remove(folder)
    return fault


@dataclass(frozen=True, slots=True)
class _Run:
    """What a workspace is opened for; see `open_workspace`."""

    policy: Policy
    commit: str
    claim: str
    holder: str
    variables: Mapping[str, str]
    rights: Rights
    stop: StopToken
    port: int
    port_lock: int
    caches_lock: int

    @property
    def locks(self) -> tuple[int, ...]:
        return tuple(lock for lock in (self.port_lock, self.caches_lock) if lock >= 0)


def _workspace(mill: Mill, slot: Slot, run: _Run) -> Workspace:
    """Return the workspace in a prepared slot, before its set-up."""
    findings, home, rights = slot.tmp / "findings.md", slot.side / "home", run.rights
    findings.touch()
    confined = sandbox.is_confined(mill, run.policy)
    at = mount_point(mill, slot, confined=confined and not rights.full)
    tree = mill.tree_of(run.commit)
    network = run.policy.sandbox.network is Network.ON
    submodules = submodules_of(mill, run.commit, network=network)
    shared = sharing(mill, run.policy, tree, at.path) if at.covers and rights.shares else Sharing()
    around = None
    if confined:
        around = sandbox.sandbox_for(mill, slot, at, network=rights.network)
        around = replace(around, lent=(*around.lent, *_shared(mill, slot, at, shared)))
    lent = [p for name in ("writable", "readable") for p in sandbox.lent_by_setting(mill, name)]
    env = environment(run.policy, at, tmp=slot.tmp, confined=confined, lent=lent, port=run.port)
    env |= {**run.variables, "GITMILL_FINDINGS": str(findings)}
    guard = None
    if around is None or rights.full:
        trace = slot.side / "trace"
        trace.write_bytes(b"")
        guard = Guard(mill, run.claim, trace)
        env |= {TRACE: str(trace)} | (identity(run.claim) if rights.signed else {})
    workspace = Workspace(
        mill, run.claim, slot, LocalEngine(claim=run.claim, lock_fds=(slot.lock, *run.locks)),
        env, findings, home, at, around, guard, run.stop, run.commit,
        _refs(mill, run.commit, run.holder), tree, shared, submodules,
        of_checks(run.policy.worktree.shell),
    )  # fmt: skip
    workspace.own_git()
    workspace.lend()
    return workspace.with_home(home)


def _shared(mill: Mill, slot: Slot, at: MountPoint, shared: Sharing) -> Iterator[Lent]:
    """Yield the shared folders as a tree sees them: with a layer of its own, if possible."""
    layers, seen = sandbox.find_sandbox(mill).layers, set[Path]()
    for number, folder in enumerate(shared.folders):
        own = layers and folder.source not in seen  # two overlays must not have one upper layer
        upper = slot.side / LAYERS / f"shared-{number}" if own else None
        yield Lent(folder.source, at.path / folder.path, upper)
        seen.add(folder.source)


def _refs(mill: Mill, commit: str, holder: str) -> Refs:
    """Return the branches that a worktree shows, with the target as it is now."""
    snapshot = mill.snapshot()
    remote = next(iter(mill.repository.remotes), "")
    branch = f"gitmill/{holder or 'checks'}"
    tags = mill.repository.tags_below(commit)
    return Refs(branch, snapshot.control.target, mill.target_tip(snapshot), remote, tags)
