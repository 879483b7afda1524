"""Watch the lease of a running attempt: another process can take it away at any time."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from gitmill.errors import GitmillError
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.workspace.leases import is_held
from gitmill.workspace.stop_token import InnerToken

INTERVAL = 0.5  # seconds between two looks at the state branch
# One of these changes with each move of the state branch: its own file, or those of all refs.
_FILES = (layout.STATE, "packed-refs", "reftable/tables.list")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class LeaseWatch:
    """Requests a token once an item is no longer under the lease of a claim.

    It costs three `stat` calls each time, and reads the state only after a ref has moved.
    """

    def __init__(self, mill: Mill, item_id: str, claim: str, token: InnerToken) -> None:
        self._mill, self._item, self._claim, self._token = mill, item_id, claim, token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"lease of {item_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: _Stamp | None = None
        while not self._over.wait(INTERVAL):
            now = tuple(_stamp(self._mill.repository.common / name) for name in _FILES)
            if now == seen:
                continue
            # A state that cannot be read now proves nothing: only another holder's state does.
            with suppress(GitmillError, OSError):
                if not is_held(self._mill, self._item, self._claim):
                    self._token.request()
                    return
                seen = now


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
