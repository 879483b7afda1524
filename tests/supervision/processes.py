"""Real programs to supervise, and queries about real processes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitmill.process import Command
from gitmill.supervision import procfs

ROOT = Path(__file__).parents[2]

# Becomes a daemon as thoroughly as possible, creates a file and stays; only SIGKILL ends it. The
# first process waits for that file, and then exits or stays, depending on `then`.
DAEMON = r"""
import os, signal, sys, time
ready, how, then, token = sys.argv[1:]
if os.fork():
    while not os.path.exists(ready):
        time.sleep(0.002)
    if then == "stay":
        time.sleep(1000)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if how == "closed":
    os.closerange(0, 256)
stay = "import os, sys, time; os.mknod(sys.argv[1]); time.sleep(1000)"
argv = [sys.executable, "-I", "-S", "-c", stay, ready, token]
os.execve(sys.executable, argv, {} if how == "cleared" else dict(os.environ))
"""

# A small gitmill: executes a command under a lock and prints how it ended. The command's arguments
# are in the environment, so that `running` does not mistake this process for the command.
MILL = r"""
import fcntl, json, os, signal, sys
from pathlib import Path
from gitmill.supervision.local import LocalEngine
from gitmill.process import Command
claim, lock, cwd, grace = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
argv = json.loads(os.environ.pop("MILL_ARGV"))
fd = os.open(lock, os.O_CREAT | os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("locked", flush=True)
engine = LocalEngine(claim=claim, lock_fds=[fd])
command = Command(tuple(argv), Path(cwd), dict(os.environ), grace=float(grace))
try:
    print(engine.execute(command).ended, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def python(code: str, *args: str | Path) -> tuple[str, ...]:
    """Return an argv that runs `code`, without the start-up cost of site packages."""
    return (sys.executable, "-I", "-S", "-c", code, *map(str, args))


def shell(script: str, **limits: Any) -> Command:
    return command(("sh", "-c", script), **limits)


def command(argv: tuple[str, ...], **limits: Any) -> Command:
    return Command(argv, **({"cwd": Path("/"), "env": dict(os.environ), "wall": 60.0} | limits))


def daemon(folder: Path, token: str, *, how: str = "plain", then: str = "exit") -> tuple[str, ...]:
    return python(DAEMON, folder / "ready", how, then, token)


def running(token: str) -> list[int]:
    """Return the live processes with `token` in their arguments; zombies have none."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if token.encode() in (entry / "cmdline").read_bytes():
                    pids.append(int(entry.name))
    return pids


def alive(pid: int) -> bool:
    facts = procfs.stat(pid)
    return facts is not None and facts[0] not in "ZX"


def child_of(parent: int) -> int | None:
    """Return the first child of `parent`: a mill's supervisor, or a supervisor's command."""
    return min(procfs.children(parent), default=None)


def supervisor_of(token: str) -> int:
    """Return the parent of the processes that carry the token."""
    ours = running(token)
    parents = {facts[1] for facts in map(procfs.stat, ours) if facts is not None}
    [supervisor] = parents - set(ours)
    return supervisor


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the condition's first true value, or its last false one after the time limit."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.003)
    return value


def lock_is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def mill(
    folder: Path, argv: tuple[str, ...], *, claim: str = "m", grace: float = 2.0
) -> subprocess.Popen[bytes]:
    """Start a process that executes `argv` while it holds the lock `folder/lock`."""
    process = subprocess.Popen(
        [sys.executable, "-c", MILL, claim, folder / "lock", folder, str(grace)],
        cwd=ROOT,
        env=os.environ | {"MILL_ARGV": json.dumps(argv)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    return process


def remaining_output(process: subprocess.Popen[bytes]) -> bytes:
    """Return the rest of a mill's output, after its end."""
    out, _ = process.communicate(timeout=60)
    return out
