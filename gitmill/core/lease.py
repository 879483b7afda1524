"""Who works on an item, and until when."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Lease(BaseModel):
    """A lease. `claim` is random and is the fencing token: a late worker's claim is not current."""

    model_config = ConfigDict(frozen=True, extra="allow")

    claim: str
    who: str
    until: AwareDatetime
    host: str = ""
    boot: str = ""
    pidns: str = ""
    pid: int = 0
    started: str = ""

    def lapsed(self, now: datetime, *, alive: bool | None) -> bool:
        """Whether the lease may be taken away: its process is certainly dead, or its time is over.

        `alive` is None where that cannot be told (another host, boot or pid namespace). A person's
        lease has no process (`pid` 0) and only ends with its time.
        """
        if self.pid and alive is False:
            return True
        return now > self.until and alive is not True
