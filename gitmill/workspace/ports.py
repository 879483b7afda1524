"""A range of free TCP ports for a run that shares the network of this machine with others."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gitmill.git.locks import try_lock

COUNT = 10  # ports in a range
_FIRST, _RANGES = 21000, 900  # below the ports that the kernel gives to clients


@contextmanager
def port_range() -> Iterator[tuple[int, int]]:
    """Hold a range; yield its first port, and the descriptor of its lock, for the run to inherit.

    Yields port 0 if no range is free.
    """
    folder = Path(tempfile.gettempdir()) / f"gitmill-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = -1
    try:
        for first in range(_FIRST, _FIRST + _RANGES * COUNT, COUNT):
            lock = try_lock(folder / f"{first}.lock")
            if lock is None:
                continue
            if _is_free(first):
                held = lock
                yield first, lock
                return
            os.close(lock)
        yield 0, -1
    finally:
        if held >= 0:
            os.close(held)


def _is_free(first: int) -> bool:
    for port in range(first, first + COUNT):
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
