"""Run commands on this machine, each under a supervisor that outlives gitmill just long enough.

    LocalEngine.execute ── specification, input ──▶ supervisor ── starts, feeds, reads ──▶ command
                        ◀── JSON line, outputs ────            ── ends ──▶ all its descendants

The pipe to the supervisor stays open as long as the command may run. `execute` closes it to end the
command, and the kernel closes it if this process dies in any way; both end everything.
"""

from __future__ import annotations

import json
import marshal
import os
import secrets
import select
import signal
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

# The supervisor and its imports are found after the standard library, without `site`, the user's
# folders or the current directory: no file there can be imported instead.
# Skipping the interpreter's shutdown saves every command a tenth of the cost.
_CODE = (
    "import os, sys; sys.path.append(sys.argv[1]);"
    " import gitmill.supervision.supervisor as supervisor; supervisor.main(); os._exit(0)"
)
_SUPERVISOR = (sys.executable, "-I", "-S", "-c", _CODE, str(Path(__file__).parents[2]))
# Identifies the processes of one command among those under the same claim.
_COMMAND = "GITMILL_COMMAND"
_TRANSCRIPT_LIMIT = 32 << 20
# Seconds beyond a command's limits and grace after which gitmill ends its supervisor itself.
_SLACK = 20.0


class LocalEngine:
    """Runs commands under a claim, which all their processes carry in `GITMILL_CLAIM`.

    `lock_fds` stay open in the supervisors, so that a `flock` on them is held until every process
    has ended, even if this process is killed. The first and the last `half` bytes of each output
    are kept. Several threads can execute commands at the same time.
    """

    def __init__(self, *, claim: str, lock_fds: Sequence[int] = (), half: int = 1 << 20) -> None:
        self._claim = claim
        self._lock_fds = tuple(lock_fds)
        self._half = half
        self._cancelled = False
        self._cancel_fd, self._wake_fd = os.pipe()
        weakref.finalize(self, _close, self._cancel_fd, self._wake_fd)

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The locks that its commands hold."""
        return self._lock_fds

    def execute(self, command: process.Command) -> process.Outcome:
        """Run to the end; when this returns or raises, no process of the command is running.

        An exception from a signal handler, such as `KeyboardInterrupt`, ends the command and is
        then raised again; a second one does not wait for the command's grace.
        """
        if self._cancelled:
            return process.Outcome("cancelled", -15, b"", b"", 0.0)
        began = time.monotonic()
        with _Supervisor(self._lock_fds, command.grace + _SLACK) as supervisor:
            supervisor.send(self._specification(command, supervisor.token), command.stdin)
            watched = Watched(command.watch) if command.watch else None
            answer = supervisor.receive(command.wall, self._cancel_fd, watched)
            status = supervisor.wait()
        outcome = _outcome(answer)
        if outcome is None or not procfs.LINUX:
            processes.end_with_variable(_COMMAND, supervisor.token)
        if outcome is None:
            ended = "timed-out" if supervisor.is_overdue else "lost"
            stderr = f"the supervisor ended with status {status}\n".encode() + answer[-4096:]
            seconds = time.monotonic() - began
            outcome = process.Outcome(ended, status, b"", stderr, seconds)
            return replace(outcome, ended="cancelled") if self._cancelled else outcome
        return self._explained(outcome, watched.why if watched else "")

    def _explained(self, outcome: process.Outcome, why: str) -> process.Outcome:
        """Return an outcome with who ended the command; `why` is the reason of its `watch`."""
        if outcome.ended != "cancelled" or self._cancelled:
            return outcome
        if why:
            return replace(outcome, ended="stopped", why=why)
        # Without a sandbox the command can signal its supervisor, to end free of charge.
        note = b"the supervisor received a signal that gitmill did not send\n"
        return replace(outcome, ended="lost", stderr=outcome.stderr + note)

    def cancel(self) -> None:
        """End running commands and start no more: from now on `execute` returns `cancelled`.

        Can be called from a signal handler or another thread, and repeatedly.
        """
        if not self._cancelled:
            self._cancelled = True
            os.write(self._wake_fd, b"x")  # never read, so it wakes all waiting threads

    def _specification(self, command: process.Command, token: str) -> dict[str, object]:
        env = {**command.env, processes.CLAIM: self._claim, _COMMAND: token}
        # marshal writes only plain strings, not subclasses of str.
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
    """One supervisor process and the pipes to it; an exception inside `with` ends the command.

    `ending` is the number of seconds it has for that; then it is killed with all its processes, and
    `is_overdue` is set: it hangs, or the command has stopped it.
    """

    def __init__(self, lock_fds: Sequence[int], ending: float) -> None:
        self.token = secrets.token_hex(8)
        self.is_overdue = False
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

    def send(self, specification: dict[str, object], stdin: bytes) -> None:
        """Send the command to run and its input, in the time that an end may take."""
        frame = marshal.dumps((specification, stdin))
        view = memoryview(len(frame).to_bytes(8, "big") + frame)
        # Not with the file object: at close it would still send data buffered at an interrupt.
        fd = self._stdin.fileno()
        os.set_blocking(fd, False)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        until = time.monotonic() + self._ending
        with suppress(BrokenPipeError):
            while view:
                remaining = max(0.0, until - time.monotonic())
                if not poll.poll(remaining * 1000):
                    self.is_overdue = True
                    return
                with suppress(BlockingIOError):
                    view = view[os.write(fd, view) :]

    def receive(self, wall: float, cancel_fd: int, watched: Watched | None = None) -> bytes:
        """Return the supervisor's output up to its end, without the stream passed to `watched`.

        Request that end once `cancel_fd` is readable or `watched` has a reason to stop.
        """
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if cancel_fd >= 0:
            poll.register(cancel_fd, select.POLLIN)
        answer = bytearray()
        until = time.monotonic() + (0.0 if self.is_overdue else wall + self._ending)
        while (remaining := until - time.monotonic()) > 0:
            for fd, _ in poll.poll(min(remaining, 3600.0) * 1000 + 1):
                if fd == cancel_fd:
                    poll.unregister(fd)
                    until = min(until, self._request_end())
                elif part := os.read(fd, 1 << 20):
                    answer += watched.take(part) if watched else part
                    if watched and watched.why and not self._stdin.closed:
                        until = min(until, self._request_end())
                else:
                    return bytes(answer)
        self.is_overdue = True
        self._kill()
        return b""

    def _request_end(self) -> float:
        """Ask for the end of the command; return the (monotonic) time by which it is due."""
        self._stdin.close()
        self._process.send_signal(signal.SIGCONT)  # the command can have stopped it
        return time.monotonic() + self._ending

    def _kill(self) -> None:
        """Kill the supervisor after all that it started: without it some could not be found."""
        procfs.end_descendants(self._process.pid)
        self._process.kill()

    def wait(self) -> int:
        """Return the supervisor's exit status; call this after `receive`."""
        return self._process.wait()

    def _abandon(self) -> None:
        try:
            self._request_end()
            self.receive(0.0, cancel_fd=-1)
        finally:
            if self._process.poll() is None:
                self._kill()
            self._process.wait()
            processes.end_with_variable(_COMMAND, self.token)


def _outcome(answer: bytes) -> process.Outcome | None:
    """Parse a supervisor's answer; None if it was cut off or is no answer."""
    line, _, outputs = answer.partition(b"\n")
    try:
        fields = json.loads(line)
        size, rest = fields["stdout"], fields["stderr"]
    except (ValueError, TypeError, KeyError):
        return None
    if size + rest != len(outputs):
        return None
    return process.Outcome(
        fields["ended"],
        fields["status"],
        outputs[:size],
        outputs[size:],
        fields["seconds"],
        fields["cut"],
    )


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
