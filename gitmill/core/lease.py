"""The lease of an item: its worker, and the end of its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

GRACE = 120.0  # seconds that a worker's lease outlives the limits of its stages
BY_HAND = 7 * 24 * 3600.0  # seconds; without a process only time can end a person's lease


@dataclass(frozen=True)
class Lease:
    """A lease. Its random `claim` is the fencing token: a late worker's claim is not current.

    `extra` has the unknown keys.
    """

    claim: str
    who: str
    until: datetime
    host: str = ""
    boot: str = ""
    pidns: str = ""
    pid: int = 0
    started: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def lapsed(self, now: datetime, *, alive: bool | None) -> bool:
        """Whether another worker may take the item: the process is dead, or the time is over.

        `alive` is None if unknown (another host, boot or pid namespace); a process that is alive
        keeps its lease. A person's lease has no process (`pid` 0) and ends only with its time.
        """
        if self.pid and alive is False:
            return True
        return now > self.until and alive is not True
