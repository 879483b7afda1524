"""Runs commands on this machine, each under a supervisor that outlives us just long enough.

    LocalEngine.execute ── specification, input ──▶ supervisor ── starts, feeds, reads ──▶ command
                        ◀── JSON line, outputs ────            ── ends ──▶ all its descendants

The pipe to the supervisor stays open while the command may run. It closes when `execute` wants the
end, and the kernel closes it when this process dies in whatever way; both end everything.
"""

from __future__ import annotations

import json
import marshal
import os
import secrets
import select
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from gitmill import process
from gitmill.supervision import processes, procfs
from gitmill.supervision.streams import Watched

# The supervisor and what it imports are found behind the standard library, without `site`, the
# user's folders or the current directory: nothing that lies there can slip in.
# Not taking the interpreter apart at the end spares every command a tenth of the cost.
_CODE = (
    "import os, sys; sys.path.append(sys.argv[1]);"
    " import gitmill.supervision.supervisor as supervisor; supervisor.main(); os._exit(0)"
)
_SUPERVISOR = (sys.executable, "-I", "-S", "-c", _CODE, str(Path(__file__).parents[2]))
# Tells the processes of one command from those of another one under the same claim.
_COMMAND = "GITMILL_COMMAND"
_TRANSCRIPT_LIMIT = 32 << 20
# What a supervisor may need beyond a command's limits and grace before it counts as stuck.
_SLACK = 20.0


class LocalEngine:
    """Runs commands under the claim `marker`: all their processes bear it as `GITMILL_CLAIM`.

    `lock_fds` stay open in the supervisors, so that a `flock` on them is held until everything has
    been ended, also when this process is killed. Of each output the first and the last `half`
    bytes are kept. Several threads may execute at once.
    """

    def __init__(self, *, marker: str, lock_fds: Sequence[int] = (), half: int = 1 << 20) -> None:
        self._marker = marker
        self._lock_fds = tuple(lock_fds)
        self._half = half
        self._cancelled = False
        self._cancel_fd, self._tell_fd = os.pipe()
        weakref.finalize(self, _close, self._cancel_fd, self._tell_fd)

    def execute(self, command: process.Command) -> process.Outcome:
        """Run to the end. When this returns or raises, nothing that the command started runs on.

        An exception out of a signal handler, like `KeyboardInterrupt`, ends the command and is
        raised again when that is done; a second one does not wait for the command's grace.
        """
        if self._cancelled:
            return process.Outcome("cancelled", -15, b"", b"", 0.0)
        began = time.monotonic()
        with _Supervisor(self._lock_fds, command.grace + _SLACK) as supervisor:
            supervisor.tell(self._specification(command, supervisor.token), command.stdin)
            watched = Watched(command.watch) if command.watch else None
            said = supervisor.hear(command.wall, self._cancel_fd, watched)
            status = supervisor.wait()
        outcome = _outcome(said)
        enough = watched is not None and watched.why and not self._cancelled
        if watched and outcome and enough and outcome.ended == "cancelled":
            outcome = replace(outcome, ended="stopped", why=watched.why)
        if outcome is None or not procfs.LINUX:
            processes.end_bearing(_COMMAND, supervisor.token)
        if outcome is None:
            ended = "cancelled" if self._cancelled else "lost"
            why = f"the supervisor ended with status {status}\n".encode() + said[-4096:]
            outcome = process.Outcome(ended, status, b"", why, time.monotonic() - began)
        return outcome

    def cancel(self) -> None:
        """End what runs now and do not start what comes: `execute` returns `cancelled` from now on.

        May be called from a signal handler or another thread, and more than once.
        """
        if not self._cancelled:
            self._cancelled = True
            os.write(self._tell_fd, b"x")  # is never read, so it wakes everyone who waits

    def _specification(self, command: process.Command, token: str) -> dict[str, object]:
        env = {**command.env, processes.CLAIM: self._marker, _COMMAND: token}
        # Only plain strings are marshalled, no subclasses of them.
        return {
            "argv": [str(part) for part in command.argv],
            "cwd": os.fspath(command.cwd),
            "env": {str(name): str(value) for name, value in env.items()},
            "wall": command.wall,
            "idle": command.idle,
            "grace": command.grace,
            "half": self._half,
            "stream": command.watch is not None,
            "transcript": os.fspath(command.transcript or ""),
            "transcript_limit": _TRANSCRIPT_LIMIT,
            "token": f"{_COMMAND}={token}".encode(),
            "sandboxed": command.sandboxed,
        }


class _Supervisor:
    """One supervisor process and the pipes to it; an exception inside `with` makes it end.

    `ending` is how many seconds it has for that before it is killed and swept up after.
    """

    def __init__(self, lock_fds: Sequence[int], ending: float) -> None:
        self.token = secrets.token_hex(8)
        self._ending = ending
        self._process = process.start(_SUPERVISOR, pass_fds=lock_fds)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._abandon()
        finally:
            self._stdin.close()
            self._stdout.close()

    def tell(self, specification: dict[str, object], stdin: bytes) -> None:
        """Say what to run."""
        frame = marshal.dumps((specification, stdin))
        view = memoryview(len(frame).to_bytes(8, "big") + frame)
        # Not through the file object: what an interrupt left in its buffer would go out at close.
        with suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._stdin.fileno(), view) :]

    def hear(self, wall: float, cancel_fd: int, watched: Watched | None = None) -> bytes:
        """Return all that it says until its end, but for what streams to `watched`.

        Once `cancel_fd` is readable or `watched` has had enough, ask for that end.
        """
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if cancel_fd >= 0:
            poll.register(cancel_fd, select.POLLIN)
        said = bytearray()
        until = time.monotonic() + wall + self._ending
        while (left := until - time.monotonic()) > 0:
            for fd, _ in poll.poll(min(left, 3600.0) * 1000 + 1):
                if fd == cancel_fd:
                    poll.unregister(fd)
                    self._stdin.close()
                    until = min(until, time.monotonic() + self._ending)
                elif part := os.read(fd, 1 << 20):
                    said += watched.take(part) if watched else part
                    if watched and watched.why and not self._stdin.closed:
                        self._stdin.close()
                        until = min(until, time.monotonic() + self._ending)
                else:
                    return bytes(said)
        self._process.kill()
        return b""

    def wait(self) -> int:
        """Return its exit status, after `hear`."""
        return self._process.wait()

    def _abandon(self) -> None:
        try:
            self._stdin.close()
            self.hear(0.0, cancel_fd=-1)
        finally:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            processes.end_bearing(_COMMAND, self.token)


def _outcome(said: bytes) -> process.Outcome | None:
    """Read a supervisor's answer; None if it was cut off or is none."""
    line, _, outputs = said.partition(b"\n")
    try:
        answer = json.loads(line)
        size, rest = answer["stdout"], answer["stderr"]
    except (ValueError, TypeError, KeyError):
        return None
    if size + rest != len(outputs):
        return None
    return process.Outcome(
        answer["ended"],
        answer["status"],
        outputs[:size],
        outputs[size:],
        answer["seconds"],
        answer["cut"],
    )


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
