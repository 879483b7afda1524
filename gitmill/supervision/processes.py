"""Facts on processes, for leases and recovery: which one is this, is it alive, what did it leave.

On Linux /proc answers; psutil, which costs 35 ms to import, is for other systems only.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.supervision import procfs

# The environment of everything that works under a claim carries this variable.
CLAIM = "GITMILL_CLAIM"


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What tells one process from all others, before and after it, here and elsewhere."""

    host: str
    boot: str
    pidns: str
    pid: int
    started: str


def this_process() -> ProcessFacts:
    """Return the facts on the calling process; they stay the same as long as it lives."""
    pid = os.getpid()
    return ProcessFacts(os.uname().nodename, _boot(), _pidns(), pid, _started(pid) or "")


def is_same_and_alive(facts: ProcessFacts) -> bool | None:
    """Tell whether exactly that process lives; None where that cannot be known from here.

    False is certain: same host, boot and pid namespace, and the pid is free, a zombie's, or
    belongs to a process that started at another time.
    """
    here = (os.uname().nodename, _boot(), _pidns())
    if facts.pid <= 0 or not facts.started or (facts.host, facts.boot, facts.pidns) != here:
        return None
    started = _started(facts.pid)
    return None if started is None else started == facts.started


def end_marked(marker: str) -> int:
    """SIGKILL everything that works under the claim `marker`, but for this process; count it.

    Returns when nothing is left that could be found, after five seconds at the latest.
    """
    return end_bearing(CLAIM, marker)


def end_bearing(variable: str, value: str) -> int:
    """SIGKILL every other process whose environment has `variable` at `value`; count them."""
    if not procfs.LINUX:
        return _end_bearing_portably(variable, value)
    # A process shows no environment while it turns into another program: look twice.
    return procfs.end_bearing(f"{variable}={value}".encode(), clean=2)


@dataclass(frozen=True, slots=True)
class Marked:
    """A process that works under a claim: which one, and the folder of ours that it was given."""

    pid: int
    name: str
    claim: str
    folder: str


def marked() -> list[Marked]:
    """Return the processes that work under some claim, as far as they may be looked at."""
    import psutil  # noqa: PLC0415

    found = []
    for process in psutil.process_iter() if procfs.usable() or not procfs.LINUX else ():
        with suppress(psutil.Error, OSError):
            env = process.environ()
            if CLAIM in env and process.status() != psutil.STATUS_ZOMBIE:
                one = Marked(process.pid, process.name(), env[CLAIM], env.get("TMPDIR", ""))
                found.append(one)
    return found


def _boot() -> str:
    if procfs.LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    import psutil  # noqa: PLC0415

    return str(int(psutil.boot_time()))


def _pidns() -> str:
    return os.readlink("/proc/self/ns/pid") if procfs.LINUX else ""  # noqa: PTH115


def _started(pid: int) -> str | None:
    """Return when the process started, "" if there is none or a zombie, None if unknown."""
    if not procfs.LINUX:
        return _started_portably(pid)
    if not procfs.usable():
        return None
    facts = procfs.stat(pid)
    if facts is None:
        # /proc may be mounted so that it hides other users' processes; the kernel does not.
        return None if _exists(pid) else ""
    return "" if facts[0] in "ZX" else str(facts[3])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started_portably(pid: int) -> str | None:
    import psutil  # noqa: PLC0415

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return str(round(process.create_time() * 1_000_000))
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return None


def _end_bearing_portably(variable: str, value: str) -> int:
    import psutil  # noqa: PLC0415

    ended = set()
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        found = 0
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(variable) == value:
                    found += 1
                    process.kill()
                    ended.add(process)
        if not found:
            break
        time.sleep(0.01)
    return len(ended)
