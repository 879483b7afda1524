"""Drop the transcripts of items that ended long ago."""

from __future__ import annotations

from gitmill.attempts import transcripts
from gitmill.mill import Mill


def gc(mill: Mill, *, days: int, dry_run: bool) -> list[str]:
    """Drop transcripts of items that ended more than `days` ago or no longer exist.

    Returns the ids of those items. Raises `BadDocumentError` while an item cannot be read.
    """
    old = transcripts.old(mill, older=days * 86400.0)
    if not dry_run:
        transcripts.prune(mill, old)
    return list(old)
