"""Who works on an item, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Lease:
    """A lease. `claim` is random and is the fencing token: a late worker's claim is not current.

    `extra` has the keys that no field knows.
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
        """Whether the lease may be taken away: its process is certainly dead, or its time is over.

        `alive` is None where that is unknown (another host, boot or pid namespace). A person's
        lease has no process (`pid` 0) and only ends with its time.
        """
        if self.pid and alive is False:
            return True
        return now > self.until and alive is not True
