"""One run of a command inside its supervisor: its pipes, its limits, the end of all it started.

The supervisor imports this at every start, so it imports as little as possible.
"""

from __future__ import annotations

import os
import select
import time

from gitmill.supervision import procfs, spawn
from gitmill.supervision.streams import Kept, Transcript, write_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import TypedDict

    class Spec(TypedDict):
        """The command to run. `wall`, `idle` and `grace` are seconds and can be infinite.

        `token` is a `NAME=value` of `env` that identifies the command's processes. With
        `sandboxed`, `argv` is that of bubblewrap, which runs the command in a PID namespace.
        """

        argv: list[str]
        cwd: str
        env: dict[str, str]
        wall: float
        idle: float
        grace: float
        half: int
        stream: bool
        transcript: str
        transcript_limit: int
        token: bytes
        sandboxed: bool

else:
    import _signal as signal  # the public module builds enumerations: 4 ms for each command

# Seconds of reading outputs after the command's end, if a process it left holds them open.
MOMENT = 0.25
# Seconds to wait after SIGKILL. A process that is left then hangs in the kernel and runs no code.
PATIENCE = 5.0


class Run:
    """A started command, its pipes and limits. Raises `UnstartableError`."""

    def __init__(self, spec: Spec, stdin: bytes) -> None:
        self._spec = spec
        self.status: int | None = None
        self.stdout = Kept(spec["half"])
        self.stderr = Kept(spec["half"])
        self._cancelled = False
        self._poll = select.poll()
        self._outputs: dict[int, Kept] = {}
        self._unfed = memoryview(stdin)
        self._feed_fd = -1
        try:
            self._transcript = Transcript(spec["transcript"], spec["transcript_limit"])
        except OSError as error:
            raise spawn.UnstartableError(
                126, spawn.reason("write", spec["transcript"], error)
            ) from error
        self._status_fd = -1
        self._wake_fd = _signals_as_bytes()
        self._poll.register(0, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)
        self._pid = self._begin()
        self._last_output = time.monotonic()

    def watch(self) -> str:
        """Wait until the command has exited or was terminated; return which, or why."""
        wall = time.monotonic() + self._spec["wall"]
        while self.status is None:
            self._handle_events(min(wall, self._last_output + self._spec["idle"]))
            reason = self._reason_to_end(wall)
            if reason and self.status is None:
                self._terminate()
                return reason
        return "exited"

    def began(self) -> bool:
        """Whether the command itself ran, not only the sandbox around it; call this only once."""
        if self._status_fd < 0:
            return True
        os.set_blocking(self._status_fd, False)
        try:
            # bwrap writes a JSON line about the sandbox, and a second one if the command ran.
            return b'"exit-code"' in os.read(self._status_fd, 1 << 16)
        except BlockingIOError:
            return False

    def drain(self) -> None:
        """Read the rest of the outputs: until all writers have ended, at most for `MOMENT`."""
        until = time.monotonic() + MOMENT
        while self._outputs and time.monotonic() < until:
            self._handle_events(until)

    def end_everything(self) -> None:
        """Leave no process behind; give up after `PATIENCE` on processes that do not die."""
        if not procfs.usable():
            self._signal_group(signal.SIGKILL)
        now = time.monotonic()
        deadline, alone = now + PATIENCE, now + (MOMENT if self._spec["sandboxed"] else 0.0)
        # Orphans become our children, so when there is no child there is no descendant.
        while (remaining := self._reap()) and (now := time.monotonic()) < deadline:
            # A namespace dies with its bubblewrap, and a scan of /proc costs more than all else.
            if now >= alone:
                procfs.end_children()
            time.sleep(0.002)
        if remaining or not self._spec["sandboxed"]:
            procfs.end_with_entry(self._spec["token"])

    def _reason_to_end(self, wall: float) -> str:
        now = time.monotonic()
        if self._cancelled:
            return "cancelled"
        if now >= wall:
            return "timed-out"
        return "idle" if now >= self._last_output + self._spec["idle"] else ""

    def _terminate(self) -> None:
        """Send SIGINT first: coding agents then save their work and end their own processes."""
        for number, patience in (
            (signal.SIGINT, self._spec["grace"]),
            (signal.SIGKILL, PATIENCE),
        ):
            if self.status is not None:
                return
            self._signal_group(number)
            until = time.monotonic() + patience
            while self.status is None and time.monotonic() < until:
                self._handle_events(until)

    def _signal_group(self, number: int) -> None:
        group = self._pid
        if self._spec["sandboxed"] and number != signal.SIGKILL:
            # A signal would kill bubblewrap and everything in it. The command is in the process
            # group of bubblewrap's child, the namespace's first process, which heeds only SIGKILL.
            inside = procfs.children(self._pid) if procfs.usable() else {}
            group = next(iter(inside), 0)
        try:
            if group:
                os.killpg(group, number)
        except OSError:
            return  # all its processes have ended, or belong to another user now

    def _handle_events(self, until: float) -> None:
        """Wait for events on the pipes and handle them; return by `until` at the latest."""
        wait = min(max(until - time.monotonic(), 0.0), 3600.0)
        for fd, _ in self._poll.poll(int(wait * 1000) + 1):
            if fd in self._outputs:
                self._read(fd)
            elif fd == self._feed_fd:
                self._feed()
            elif fd == self._wake_fd:
                numbers = os.read(fd, 512)
                self._cancelled |= any(number != signal.SIGCHLD for number in numbers)
                self._reap()
            elif not os.read(fd, 512):
                self._cancelled = True
                self._poll.unregister(fd)

    def _read(self, fd: int) -> None:
        data = os.read(fd, 1 << 16)
        if data:
            self._last_output = time.monotonic()
            self._outputs[fd].add(data)
            self._transcript.add(data)
            if self._spec["stream"] and self._outputs[fd] is self.stdout:
                write_message(len(data).to_bytes(4, "big") + data)
        else:
            del self._outputs[fd]
            self._forget(fd)

    def _feed(self) -> None:
        try:
            self._unfed = self._unfed[os.write(self._feed_fd, self._unfed[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:
            self._unfed = self._unfed[:0]  # the command may close its input
        if not self._unfed:
            self._forget(self._feed_fd)
            self._feed_fd = -1

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        os.close(fd)

    def _reap(self) -> bool:
        """Collect all children that have ended; return whether any are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self.status = os.waitstatus_to_exitcode(status)

    def _begin(self) -> int:
        ends = [os.pipe(), os.pipe()]
        for (fd, _), kept in zip(ends, (self.stdout, self.stderr), strict=True):
            self._outputs[fd] = kept
            self._poll.register(fd, select.POLLIN)
        if self._unfed:
            stdin, self._feed_fd = os.pipe()
            os.set_blocking(self._feed_fd, False)
            self._poll.register(self._feed_fd, select.POLLOUT)
        else:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        standard = (stdin, ends[0][1], ends[1][1])
        spec = self._spec
        argv, status_writer = spec["argv"], -1
        if spec["sandboxed"]:
            self._status_fd, status_writer = os.pipe()
            os.set_inheritable(status_writer, True)
            argv = [argv[0], "--json-status-fd", str(status_writer), *argv[1:]]
        try:
            return spawn.start(argv, spec["cwd"], spec["env"], standard)
        finally:
            for fd in (*standard, status_writer):
                if fd >= 0:
                    os.close(fd)


def _signals_as_bytes() -> int:
    """Return a descriptor that receives a byte for every signal the supervisor handles."""
    wake_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return wake_fd
