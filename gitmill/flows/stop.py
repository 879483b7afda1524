"""Stop the work of this machine now: agents end, leases are given back."""

from __future__ import annotations

import os
import signal
import time

from gitmill.core.item import Item
from gitmill.core.lifecycle import WORKING
from gitmill.flows.recover import recover
from gitmill.mill import Mill

PATIENCE = 20.0  # seconds for a process to give its lease back before it is killed


def stop(mill: Mill) -> list[Item]:
    """End every process of this machine that holds a lease; return the items it was working on.

    What does not end in time is killed, and recovery gives its lease back.
    """
    held = _held(mill)
    pids = {item.lease.pid for item in held if item.lease}
    _signal(pids, signal.SIGTERM)
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up and _held(mill, pids):
        time.sleep(0.05)
    left = {item.lease.pid for item in _held(mill, pids) if item.lease}
    if left:
        _signal(left, signal.SIGKILL)
        time.sleep(0.2)
        recover(mill)
    return held


def _held(mill: Mill, pids: set[int] | None = None) -> list[Item]:
    """Return the items whose lease a living process of this machine has."""
    return [
        item
        for item in mill.snapshot().items.values()
        if item.status in WORKING and item.lease is not None and item.lease.pid
        and item.lease.host == mill.host and not mill.lapsed(item.lease)
        if pids is None or item.lease.pid in pids
    ]  # fmt: skip


def _signal(pids: set[int], number: int) -> None:
    for pid in pids - {os.getpid()}:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
