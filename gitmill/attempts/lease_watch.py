"""Watch the lease of a running attempt: another process can take it away at any time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.workspace.leases import is_held
from gitmill.workspace.stop_token import InnerToken, requested_once

INTERVAL = 0.5  # seconds between two looks at the state branch
# One of these changes with each move of the state branch: its own file, or those of all refs.
_FILES = (layout.STATE, "packed-refs", "reftable/tables.list")

_Stamp = tuple[tuple[int, int, int] | None, ...]


def lease_watch(
    mill: Mill, item_id: str, claim: str, token: InnerToken
) -> AbstractContextManager[None]:
    """Request a token once an item is no longer under the lease of a claim.

    It costs three `stat` calls each time, and reads the state only after a ref has moved.
    """
    seen: _Stamp | None = None

    def is_lost() -> bool:
        nonlocal seen
        now = tuple(_stamp(mill.repository.common / name) for name in _FILES)
        if now == seen:
            return False
        held = is_held(mill, item_id, claim)
        seen = now  # not if the state could not be read
        return not held

    return requested_once(token, is_lost, every=INTERVAL)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
