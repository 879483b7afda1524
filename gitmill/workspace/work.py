"""The work of an item: replayed onto a commit of the target, and the identity of its patch."""

from __future__ import annotations

from gitmill.core.item import Item
from gitmill.core.verdict import Finding
from gitmill.git.patch import patch_identity
from gitmill.git.replay import Conflict, Replayed, replay
from gitmill.mill import Mill


def replayed(mill: Mill, item: Item, onto: str) -> Replayed | Conflict:
    """Replay an item's work onto a commit of the target."""
    if item.base == onto:
        return Replayed(item.work, ((item.work, item.work),))
    scratch = mill.repository.private / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return replay(
        mill.repository.writer, base=item.base, tip=item.work, onto=onto, scratch=scratch,
        committer=mill.repository.ident(mill.now()),
    )  # fmt: skip


def conflict_finding(conflict: Conflict) -> Finding:
    """Return a conflict as a finding for the builder."""
    text = "the work conflicts with what is on the target now\n" + "\n".join(conflict.messages)
    return Finding(text, file=conflict.paths[0] if conflict.paths else "")


def patch_of(mill: Mill, base: str, work: str) -> str:
    """Return the identity of the patch between two commits."""
    patch = mill.patches.get((base, work))
    if patch is None:
        patch = patch_identity(mill.repository.git, base, work)
        mill.patches.put((base, work), patch)
    return patch
