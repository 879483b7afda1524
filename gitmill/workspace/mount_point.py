"""The path at which commands see the tree under test: in the sandbox, that of the user's checkout.

Absolute paths, editable installs, `.pth` files and links into the checkout lead to the tree then,
and nothing leads to the checkout. A tree has the same path in every attempt, so that an agent can
resume a session, which it finds by its directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gitmill import process
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill

# Below a checkout: shared with a tree, or else not there for it.
_DEPENDENCIES = frozenset({".venv", "venv", "node_modules"})
# Sockets of daemons that open paths themselves, outside of the sandbox.
_DAEMONS = ("docker.sock", "podman.sock", "containerd.sock", "buildkitd.sock", "crio.sock")


@dataclass(frozen=True, slots=True)
class MountPoint:
    """Where commands see a tree, the checkout whose place it can take, and why it does not.

    `others` are further work trees of the repository, which no command may see.
    """

    path: Path
    checkout: Path | None
    others: tuple[Path, ...] = ()
    why: str = ""

    @property
    def covers(self) -> bool:
        """Whether the tree is shown in place of the checkout."""
        return self.path == self.checkout


def mount_point(mill: Mill, slot: Slot | None, *, confined: bool) -> MountPoint:
    """Return where the commands of a worktree see it. `confined`: they run in the sandbox.

    Without a slot, the own path of a worktree is the folder of all of them.
    """
    own = (slot.path if slot else mill.pool.folder).resolve()
    trees = _trees(mill)
    checkout = checkout_of(mill, trees)
    others = tuple(tree for tree in trees if tree != checkout)
    if checkout is None:
        return MountPoint(own, None, others)
    why = why_not(mill, checkout) if confined else "there is no sandbox"
    return MountPoint(own if why else checkout, checkout, others, why)


def covered(mill: Mill, *, confined: bool) -> Path | None:
    """Return the checkout in whose place trees are shown, None if they stand at their own path."""
    checkout = checkout_of(mill, _trees(mill)) if confined else None
    return None if checkout is None or why_not(mill, checkout) else checkout


def _trees(mill: Mill) -> list[Path]:
    pool = mill.pool.folder.resolve()
    trees = (tree.resolve() for tree in mill.repository.work_trees())
    return [tree for tree in trees if not tree.is_relative_to(pool)]


def checkout_of(mill: Mill, trees: Iterable[Path]) -> Path | None:
    """Return the work tree whose dependencies count: a setting's, the one here, or the main one."""
    pool = mill.pool.folder.resolve()
    if named := mill.repository.preferences.get("checkout"):
        return Path(named).expanduser().resolve()
    here = mill.repository.top.resolve() if mill.repository.top else None
    if here is not None and not here.is_relative_to(pool):
        return here
    return next(iter(trees), None)


def why_not(mill: Mill, checkout: Path) -> str:
    """Return why a tree cannot take the place of a checkout, empty if it can."""
    if not checkout.is_dir():
        return f"{checkout} does not exist"
    for what, path in _needed(mill):
        real = Path(os.path.realpath(path))
        if real.is_relative_to(checkout) and not _DEPENDENCIES & set(
            real.relative_to(checkout).parts
        ):
            return f"{what} {path} is inside of {checkout}"
    if socket := next(iter(_daemons(mill)), None):
        return f"what answers at {socket} opens paths outside of the sandbox"
    return ""


def _needed(mill: Mill) -> Iterator[tuple[str, Path]]:
    """Yield what each run needs, and must not lose below a tree."""
    yield "your home", process.home()
    yield "the folder of worktrees", mill.pool.folder


def _daemons(mill: Mill) -> Iterator[Path]:
    """Yield the sockets lent to runs whose daemon resolves paths itself."""
    for setting in ("gitmill.writable", "gitmill.readable"):
        for value in mill.repository.configured(setting):
            path = Path(value).expanduser()
            for each in (path, *(path / name for name in _DAEMONS)):
                if each.name in _DAEMONS and each.exists() and stat.S_ISSOCK(each.stat().st_mode):
                    yield each
