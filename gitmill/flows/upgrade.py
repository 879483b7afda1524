"""Let the state branch follow the newest version of the rules from here on."""

from __future__ import annotations

from gitmill.core.lifecycle import RULES
from gitmill.core.trailers import EventRecord
from gitmill.errors import NothingToDoError
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit


def upgrade(mill: Mill) -> tuple[int, int]:
    """Record `upgraded`; return the version of the rules before and after it.

    A gitmill that does not know the new version no longer writes the branch. Raises
    `NothingToDoError` when the branch follows the newest version already.
    """
    event_id, before = mill.new_token(), mill.snapshot().rules

    def build(snapshot: Snapshot) -> StateCommit:
        if snapshot.rules >= RULES:
            raise NothingToDoError(f"the state branch follows version {RULES} of the rules already")
        record = EventRecord(event="upgraded", id=event_id, by=mill.person, rules=str(RULES))
        return StateCommit(f"upgraded to version {RULES} of the rules", record)

    mill.store.commit(build)
    return before, RULES
