"""Rescue refs: work of an agent or a person goes under one before it is removed.

Files with secrets are left out: in git they keep the content of the start commit.
"""

from __future__ import annotations

from gitmill.git.objects import Commit, Move, write_commit
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.write_lock import WriteLock
from gitmill.workspace import secret_scan
from gitmill.workspace.read_tree import TakenTree, taken_tree


def keep_worktree(mill: Mill, slot: Slot, item_id: str, commit: str) -> str:
    """Put the tree of a worktree under a rescue ref of the item; return the ref.

    `commit` is the one that was checked out. Returns "" when the tree equals that of `commit` or of
    the item's work. Files that cannot be read or are too many or too large are left out.
    """
    with taken_tree(mill, slot, mill.tree_of(commit), lenient=True) as taken:
        return keep_tree(mill, item_id, taken, commit)


def keep_tree(mill: Mill, item_id: str, taken: TakenTree, commit: str) -> str:
    """Put a tree that was read and is based on `commit` under a rescue ref, as `keep_worktree`."""
    backend, base = mill.store.backend, mill.tree_of(commit)
    scrubbed = secret_scan.scrub(mill, base, taken.tree, taken.objects)
    tree = taken.objects.admit(base, scrubbed.tree)
    work = backend.ref(f"{layout.WORK}{item_id}")
    if tree == mill.tree_of(commit) or (work is not None and mill.tree_of(work) == tree):
        return ""
    ident = mill.repository.ident(mill.now())
    omitted = [f"left out: {finding.message}" for finding in scrubbed.findings]
    lines = [f"rescued from a worktree of {item_id}", "", *omitted, *([""] if omitted else [])]
    # The name of a file can be the secret.
    message = mill.store.redactor.text("\n".join([*lines, f"Gitmill-Item: {item_id}", ""]))
    return keep_commit(
        mill, item_id, write_commit(backend, Commit(tree, (commit,), ident, ident, message))
    )


def keep_commit(mill: Mill, item_id: str, commit: str, *, lock: WriteLock | None = None) -> str:
    """Put a commit that no other ref holds under a rescue ref of its item; return the ref.

    `lock` is the write lock if the caller holds it.
    """
    tree, number = mill.tree_of(commit), 1
    while True:
        ref = f"{layout.RESCUE}{item_id}/{number}"
        known = mill.store.backend.ref(ref)
        if known is None:
            mill.store.move(Move(ref, commit, None), lock=lock)
            return ref
        if mill.tree_of(known) == tree:
            return ref
        number += 1
