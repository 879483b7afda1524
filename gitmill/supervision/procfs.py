"""What /proc says about processes, and ending those it names. Linux only.

The supervisor imports this at every start, so it imports next to nothing itself.
"""

# pathlib would cost every command more than all of this module does:
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LINUX = sys.platform == "linux"
_SIGKILL = 9  # the module `signal` builds enumerations: 4 ms of CPU for four small numbers


def usable() -> bool:
    """Tell whether /proc counts processes as the kernel does for us.

    Under a PID namespace without its own /proc the numbers are another namespace's: killing by
    them would hit strangers.
    """
    try:
        return LINUX and os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def stat(pid: int) -> tuple[str, int, int, int] | None:
    """Return state, parent, process group and start time (ticks since boot); None if it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses of its own.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[19])


def children(parent: int) -> dict[int, int]:
    """Return the children of `parent`, zombies too, with their process groups."""
    found = {}
    for pid in _pids():
        facts = stat(pid)
        if facts is not None and facts[1] == parent:
            found[pid] = facts[2]
    return found


def end_children() -> None:
    """SIGKILL the caller's children once, each with its group.

    A subreaper that does this, and collects the dead, until it has no child has no descendant
    left. Nobody else can be hit: the numbers of a child and of its group are not used again before
    it has been waited for, and a group holds offspring only, since a session of our making does. A
    group dies as one, so that a program that forks faster than /proc can be read is caught.
    """
    if not usable():
        return
    mine = os.getpgrp()
    for pid, group in children(os.getpid()).items():
        # killpg(0) would mean our own group; 0 is how /proc shows a group of an outer namespace.
        _kill(-group if group > 1 and group != mine else pid)


def bearing(entry: bytes, *, until: float) -> Iterator[int]:
    """Yield the other processes whose environment holds `entry` (`NAME=value`) and may be read.

    Goes on until /proc lists nothing new, or to the (monotonic) time `until`: of a program that
    forks and exits all the time, each process may be gone when it is looked at, but then the next
    one is there. The newest come first.
    """
    wanted = b"\0" + entry + b"\0"
    seen = {os.getpid()}
    while (new := _pids() - seen) and time.monotonic() < until:
        seen |= new
        for pid in sorted(new, reverse=True):
            try:
                environment = _read(f"/proc/{pid}/environ")
            except OSError:
                continue
            if entry in environment and wanted in b"\0" + environment + b"\0":
                yield pid


def end_bearing(entry: bytes, *, clean: int = 1, limit: float = 5.0) -> int:
    """SIGKILL what `bearing` finds until `clean` scans in a row find none; return how many ended.

    Gives up after `limit` seconds: what sits in the kernel dies as soon as it leaves it.
    """
    if not usable():
        return 0
    ended = set()
    until = time.monotonic() + limit
    scans = 0
    while scans < clean and time.monotonic() < until:
        scans += 1
        for pid in bearing(entry, until=until):
            scans = 0
            if _kill(pid):
                ended.add(pid)
        if scans < clean:
            time.sleep(0.003)
    return len(ended)


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, _SIGKILL)
    except OSError:
        return False
    return True


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
