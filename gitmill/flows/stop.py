"""Stop all work on this machine: agents end, leases are released."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from gitmill.core.item import Item
from gitmill.core.lifecycle import WORKING
from gitmill.flows.recover import recover
from gitmill.mill import Mill
from gitmill.supervision.processes import ProcessFacts, is_same_and_alive
from gitmill.workspace.leases import holder
from gitmill.workspace.signals import workers

PATIENCE = 20.0  # seconds for a process to release its lease before it is killed


def stop(mill: Mill) -> list[Item]:
    """End every worker of this repository on this machine; return the items they held.

    A worker that does not end in time is killed, and recovery releases its item.
    """
    held = {item: facts for item, facts in _leases(mill) if is_same_and_alive(facts)}
    processes = workers(mill) | set(held.values())
    _signal(processes, signal.SIGTERM)
    _wait(processes, PATIENCE)
    _signal(processes, signal.SIGKILL)
    _wait(processes, 1.0)
    recover(mill)
    snapshot = mill.snapshot()
    return [snapshot.item(item_id) for item_id in held]


def _leases(mill: Mill) -> Iterable[tuple[str, ProcessFacts]]:
    for item in mill.snapshot().items.values():
        if item.status in WORKING and item.lease is not None and item.lease.pid != os.getpid():
            yield item.id, holder(item.lease)


def _wait(processes: Iterable[ProcessFacts], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(is_same_and_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(processes: Iterable[ProcessFacts], number: int) -> None:
    for facts in processes:
        # By now the pid can belong to another process.
        if is_same_and_alive(facts):
            with suppress(ProcessLookupError):
                os.kill(facts.pid, number)
