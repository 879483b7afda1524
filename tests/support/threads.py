"""Several threads that begin together, and what they must not leave behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PATIENCE = 240.0  # seconds; a thread that takes longer hangs


def together(count: int, work: Callable[[int], None]) -> None:
    """Call `work` in each of `count` threads with its number; raise the first error of any."""
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            gate.wait(PATIENCE)
            work(number)
        except BaseException as error:  # noqa: BLE001  (raised again in the test's own thread)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that the body leaves no descriptor open and no process behind.

    What earlier tests left as garbage may be collected meanwhile.
    """
    before = _handles(), _children()
    yield
    assert _handles() - before[0] == set()
    assert _children() - before[1] == set()


def _handles() -> set[tuple[str, str]]:
    """Return the open descriptors of this process and the files behind them."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return {(str(f.fd), f.path) for f in psutil.Process().open_files()}
    found = set()
    for name in os.listdir(folder):  # noqa: PTH208  (the listing's own descriptor is left out)
        try:
            found.add((name, os.readlink(folder / name)))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return found


def _children() -> set[int]:
    """Return the child processes of this one."""
    return {child.pid for child in psutil.Process().children(recursive=True)}
