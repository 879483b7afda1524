"""Processes in /proc: their facts, and ending them. Linux only.

The supervisor imports this at every start, so it imports as little as possible.
"""

# pathlib would cost every command more than this whole module:
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
    """Return whether the numbers in /proc are those of this process's PID namespace.

    In a PID namespace without its own /proc, the numbers are those of another namespace: using them
    would kill unrelated processes.
    """
    try:
        return LINUX and os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def stat(pid: int) -> tuple[str, int, int, int] | None:
    """Return state, parent, process group and start (ticks since boot); None if it has ended."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name in parentheses can itself hold spaces and parentheses.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[19])


def children(parent: int) -> dict[int, int]:
    """Return the children of `parent`, including zombies, with their process groups."""
    groups = {}
    for pid in _pids():
        facts = stat(pid)
        if facts is not None and facts[1] == parent:
            groups[pid] = facts[2]
    return groups


def end_children() -> None:
    """SIGKILL the caller's children once, each with its process group.

    A subreaper that repeats this and collects the dead until it has no child has no descendant
    left. No other process can be hit: the numbers of a child and of its group are not reused before
    the child has been waited for, and a group holds only descendants, because the command runs in a
    session of its own. A group dies as one, which catches a program that forks faster than /proc
    can be read.
    """
    if not usable():
        return
    mine = os.getpgrp()
    for pid, group in children(os.getpid()).items():
        # killpg(0) would mean our own group; /proc shows a group outside the namespace as 0.
        _kill(-group if group > 1 and group != mine else pid)


def end_descendants(root: int, *, limit: float = 5.0) -> None:
    """SIGKILL all descendants of a process that adopts orphans, until a scan finds none alive.

    Gives up after `limit` seconds. The process itself keeps running: those it adopted belong to it.
    """
    until = time.monotonic() + limit
    while usable() and time.monotonic() < until:
        facts = {pid: found for pid in _pids() if (found := stat(pid)) is not None}
        below = {root}
        while more := {pid for pid, found in facts.items() if found[1] in below} - below:
            below |= more
        living = [pid for pid in below - {root} if facts[pid][0] not in "ZX"]
        if not living:
            return
        for pid in living:
            _kill(pid)
        time.sleep(0.003)


def with_entry(entry: bytes, *, until: float) -> Iterator[int]:
    """Yield the other processes whose readable environment has `entry` (`NAME=value`).

    Continue until /proc lists no new process, or until the (monotonic) time `until`: each process
    of a program that keeps forking and exiting can have ended when it is read, but then its
    successor exists. The newest come first.
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


def end_with_entry(entry: bytes, *, clean: int = 1, limit: float = 5.0) -> int:
    """SIGKILL the processes of `with_entry` until `clean` scans in a row find none; count them.

    Gives up after `limit` seconds: a process inside a system call dies as soon as it leaves it.
    """
    if not usable():
        return 0
    ended = set()
    until = time.monotonic() + limit
    scans = 0
    while scans < clean and time.monotonic() < until:
        scans += 1
        for pid in with_entry(entry, until=until):
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
