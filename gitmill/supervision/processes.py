"""Facts about processes, for leases and recovery: identity, life, and leftovers under a claim.

On Linux they come from /proc; psutil, which takes 35 ms to import, serves other systems.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.supervision import procfs

# Every process that works under a claim has the claim in this environment variable.
CLAIM = "GITMILL_CLAIM"


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """The identity of a process, unique across time and machines."""

    host: str
    boot: str
    pidns: str
    pid: int
    started: str


def this_process() -> ProcessFacts:
    """Return the facts about the calling process; they do not change while it lives."""
    pid = os.getpid()
    return ProcessFacts(os.uname().nodename, _boot(), _pidns(), pid, _started(pid) or "")


def is_same_and_alive(facts: ProcessFacts) -> bool | None:
    """Return whether exactly that process is alive; None if this process cannot know.

    False is certain: same host, boot and pid namespace, and the pid is free, a zombie's, or
    belongs to a process that started at another time.
    """
    system = (os.uname().nodename, _boot(), _pidns())
    if facts.pid <= 0 or not facts.started or (facts.host, facts.boot, facts.pidns) != system:
        return None
    started = _started(facts.pid)
    return None if started is None else started == facts.started


def end_claimed(claim: str) -> int:
    """SIGKILL every other process that works under the claim; return their number.

    Returns once a search finds none, after five seconds at the latest.
    """
    return end_with_variable(CLAIM, claim)


def end_with_variable(variable: str, value: str) -> int:
    """SIGKILL every other process with `variable` at `value` in its environment; count them."""
    if not procfs.LINUX:
        return _end_portably(variable, value)
    # A process shows no environment during an exec: scan twice.
    return procfs.end_with_entry(f"{variable}={value}".encode(), clean=2)


@dataclass(frozen=True, slots=True)
class Marked:
    """A process that works under a claim, and its folder for temporary files."""

    pid: int
    name: str
    claim: str
    folder: str


def claimed_processes() -> list[Marked]:
    """Return the processes that work under any claim, if their environment is readable."""
    import psutil  # noqa: PLC0415

    claimed = []
    for process in psutil.process_iter() if procfs.usable() or not procfs.LINUX else ():
        with suppress(psutil.Error, OSError):
            env = process.environ()
            if CLAIM in env and process.status() != psutil.STATUS_ZOMBIE:
                name, folder = process.name(), env.get("TMPDIR", "")
                claimed.append(Marked(process.pid, name, env[CLAIM], folder))
    return claimed


def _boot() -> str:
    if procfs.LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    import psutil  # noqa: PLC0415

    return str(int(psutil.boot_time()))


def _pidns() -> str:
    return os.readlink("/proc/self/ns/pid") if procfs.LINUX else ""  # noqa: PTH115


def _started(pid: int) -> str | None:
    """Return the start time of a process; "" if there is none or a zombie, None if unknown."""
    if not procfs.LINUX:
        return _started_portably(pid)
    if not procfs.usable():
        return None
    facts = procfs.stat(pid)
    if facts is None:
        # A mount option of /proc can hide other users' processes; kill() still sees them.
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


def _end_portably(variable: str, value: str) -> int:
    import psutil  # noqa: PLC0415

    ended = set()
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        matches = 0
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(variable) == value:
                    matches += 1
                    process.kill()
                    ended.add(process)
        if not matches:
            break
        time.sleep(0.01)
    return len(ended)
