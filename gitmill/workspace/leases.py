"""Leases of this machine: create one, find its process, check whether it has lapsed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gitmill.core.lease import Lease
from gitmill.mill import Mill
from gitmill.supervision.processes import ProcessFacts, is_same_and_alive, this_process


def new_lease(mill: Mill, who: str, seconds: float, *, claim: str, process: bool = True) -> Lease:
    """Return a lease until `seconds` from now, held by this process unless `process` is off."""
    until = (mill.now() + timedelta(seconds=seconds)).replace(microsecond=0)
    lease = Lease(claim, who, until)
    if not process:
        return lease
    own = this_process()
    return replace(
        lease, host=own.host, boot=own.boot, pidns=own.pidns, pid=own.pid, started=own.started
    )


def holder(lease: Lease) -> ProcessFacts:
    """Return the process that holds a lease; its pid is 0 for a person."""
    return ProcessFacts(
        host=lease.host,
        boot=lease.boot,
        pidns=lease.pidns,
        pid=lease.pid,
        started=lease.started,
    )


def has_lapsed(mill: Mill, lease: Lease) -> bool:
    """Whether a lease has lapsed and may be taken over."""
    return lease.lapsed(mill.now(), alive=is_same_and_alive(holder(lease)))
