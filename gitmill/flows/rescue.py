"""Nothing that an agent or a person wrote is thrown away: it goes under a rescue ref first."""

from __future__ import annotations

from gitmill.git.objects import Commit, Move, write_commit
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill, layout


def keep_worktree(mill: Mill, slot: Slot, item_id: str, commit: str) -> None:
    """Put what a worktree holds under a rescue ref of the item, unless it is known already.

    `commit` is what was checked out there.
    """
    backend = mill.store.backend
    base = mill.tree_of(commit)
    tree = slot.take_tree(backend, base)
    (slot.side / "holder").unlink(missing_ok=True)
    work = backend.ref(f"{layout.WORK}{item_id}")
    if tree == base or (work is not None and mill.tree_of(work) == tree):
        return
    ident = mill.repository.ident(mill.now())
    message = f"rescued from a worktree of {item_id}\n\nGitmill-Item: {item_id}\n"
    keep_commit(
        mill, item_id, write_commit(backend, Commit(tree, (commit,), ident, ident, message))
    )


def keep_commit(mill: Mill, item_id: str, commit: str) -> str:
    """Put a commit that lost its place under the next rescue ref of an item; return the ref."""
    backend = mill.store.backend
    taken = backend.refs(f"{layout.RESCUE}{item_id}/")
    tree = mill.tree_of(commit)
    for ref, known in taken.items():
        if known == commit or mill.tree_of(known) == tree:
            return ref
    numbers = [int(name.rpartition("/")[2]) for name in taken]
    ref = f"{layout.RESCUE}{item_id}/{max(numbers, default=0) + 1}"
    backend.swap([Move(ref, commit, None)])
    return ref
