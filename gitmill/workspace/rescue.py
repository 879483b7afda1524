"""Nothing that an agent or a person wrote is thrown away: it goes under a rescue ref first.

Nothing, but for files that hold secrets: those stay where they are, and in git as they were.
"""

from __future__ import annotations

from gitmill.git.objects import Commit, Move, write_commit
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.workspace import secret_scan


def keep_worktree(mill: Mill, slot: Slot, item_id: str, commit: str) -> str:
    """Put what a worktree holds under a rescue ref of the item; return the ref.

    Nothing is kept, and the answer is empty, when it holds no more than `commit`, which was checked
    out there, or the work of the item.
    """
    base = mill.tree_of(commit)
    tree = slot.take_tree(mill.store.backend, base)
    return keep_tree(mill, item_id, secret_scan.scrub(mill, base, tree), commit)


def keep_tree(mill: Mill, item_id: str, swept: secret_scan.ScrubbedTree, commit: str) -> str:
    """Put a tree that began from `commit` under a rescue ref, as `keep_worktree` does."""
    backend, tree = mill.store.backend, swept.tree
    work = backend.ref(f"{layout.WORK}{item_id}")
    if tree == mill.tree_of(commit) or (work is not None and mill.tree_of(work) == tree):
        return ""
    ident = mill.repository.ident(mill.now())
    left = [f"left out: {finding.message}" for finding in swept.findings]
    lines = [f"rescued from a worktree of {item_id}", "", *left, *([""] if left else [])]
    message = "\n".join([*lines, f"Gitmill-Item: {item_id}", ""])
    return keep_commit(
        mill, item_id, write_commit(backend, Commit(tree, (commit,), ident, ident, message))
    )


def keep_commit(mill: Mill, item_id: str, commit: str) -> str:
    """Put a commit that has no place of its own under a rescue ref of its item; return the ref."""
    tree, number = mill.tree_of(commit), 1
    while True:
        ref = f"{layout.RESCUE}{item_id}/{number}"
        known = mill.store.backend.ref(ref)
        if known is None:
            mill.store.move(Move(ref, commit, None))
            return ref
        if mill.tree_of(known) == tree:
            return ref
        number += 1
