"""Leases of this machine: create one, find its process, check whether it has lapsed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from gitmill.core.lease import Lease
from gitmill.mill import Mill
from gitmill.store.events import timestamp
from gitmill.supervision.processes import ProcessFacts, is_same_and_alive, this_process


def new_lease(
    mill: Mill, who: str, seconds: float, *, claim: str, process: bool = True
) -> dict[str, Any]:
    """Return a lease in the form of the document, held by this process unless `process` is off."""
    until = timestamp(mill.now() + timedelta(seconds=seconds))
    lease: dict[str, Any] = {"claim": claim, "who": who, "until": until}
    if process:
        facts = asdict(this_process())
        lease |= {key: facts[key] for key in ("host", "boot", "pidns", "pid", "started")}
    return lease


def holder(lease: Lease) -> ProcessFacts:
    """Return the process that holds a lease; its pid is 0 for a person."""
    return ProcessFacts(
        host=lease.host,
        boot=lease.boot,
        pidns=lease.pidns,
        pid=lease.pid,
        started=lease.started,
    )


def is_held(mill: Mill, item_id: str, claim: str) -> bool:
    """Whether an item is under the lease of this claim."""
    item = mill.snapshot().items.get(item_id)
    return item is not None and item.lease is not None and item.lease.claim == claim


def has_lapsed(mill: Mill, lease: Lease) -> bool:
    """Whether a lease has lapsed and may be taken over."""
    return lease.lapsed(mill.now(), alive=is_same_and_alive(holder(lease)))
