"""Drop the transcripts of items that ended long ago, and what takes too much room here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gitmill.attempts import transcripts
from gitmill.flows.disk_lines import disk_lines
from gitmill.git.disk import readable
from gitmill.mill import Mill
from gitmill.plans.policy import policy_now
from gitmill.workspace.disk_limit import bound, excess, make_room, total
from gitmill.workspace.disk_use import Kept, measured


@dataclass(frozen=True, slots=True)
class Dropped:
    """The items whose transcripts were dropped, and what was removed from this machine.

    `kept` is what was there before, the biggest first. `lines` show it in a dry run, else what was
    removed, and whether the rest is above the limit.
    """

    items: list[str]
    limit: int
    kept: list[Kept]
    removed: list[Kept]
    lines: list[str]


def gc(
    mill: Mill, *, days: int, dry_run: bool, report: Callable[[str], None] = lambda _: None
) -> Dropped:
    """Drop transcripts of items that ended more than `days` ago or no longer exist.

    Then slots, homes and caches that are not in use are removed, the oldest first, until the rest
    is within `[worktree] max_disk`. `report` gets a sentence for each work that was saved, and for
    each item whose transcripts an older version had under a ref. Raises
    `BadDocumentError` while an item cannot be read, `BadConfigError`.
    """
    limit = policy_now(mill).worktree.max_disk
    if not dry_run:
        for sentence in transcripts.move_old(mill):
            report(sentence)
    old = transcripts.old(mill, older=days * 86400.0)
    kept = measured(mill)
    if dry_run:
        removed = excess(mill, kept, limit)
        lines = [bound(kept, limit)] if kept else []
        lines += [f"    {line}" for line in disk_lines(kept, mill.now(), removed)]
    else:
        transcripts.prune(mill, old)
        removed = make_room(mill, limit, report)
        lines = [f"removed the {one.kind} {one.name}, {readable(one.size)}" for one in removed]
    if (over := total(kept) - total(removed) - limit) > 0:
        lines.append(
            f"what is in use or still needed takes {readable(over)} more than "
            f"worktree.max_disk, {readable(limit)}"
        )
    return Dropped(old, limit, kept, removed, lines)
