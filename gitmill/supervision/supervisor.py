"""Runs one command and ends everything that it started. A process of its own, one per command.

Standard input brings one frame (`read_frame`) with the pair (`Spec`, the command's input) and then
stays open: END OF FILE ON IT MEANS: END EVERYTHING, whoever closed it and for whatever reason.
Standard output gets, once all is over, one JSON line (`ended`, `status`, `seconds`, `cut`, and the
sizes of `stdout` and `stderr`), then the bytes of both outputs. With `stream` the command's
standard output comes before that as it is read, in pieces behind 4 bytes of size, and a size of 0
ends them. Anything else there is the traceback of a supervisor that failed.

It adopts orphans (subreaper), so on Linux nothing that the command starts gets out of its sight,
whatever session it makes or environment it clears. Elsewhere only the process group is ended here.

Every command pays for what is imported here. `json` and `signal` would add 8 ms of CPU to the 5
that this costs above a bare interpreter, so the specification comes in `marshal`, as it is
built in.
"""

from __future__ import annotations

import os
import select
import time

from gitmill.supervision import procfs, spawn
from gitmill.supervision.streams import Kept, Transcript, read_frame, write_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import TypedDict

    class Spec(TypedDict):
        """What to run. Seconds may be infinite. `token` is a `NAME=value` of `env` to sweep for.

        With `sandboxed`, `argv` is bubblewrap's, which has the command in a PID namespace.
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

# How long outputs are read after the command's end, if something it left behind holds them open.
MOMENT = 0.25
# What SIGKILL has not ended by then hangs in the kernel and will run no more code of its own.
PATIENCE = 5.0


def main() -> None:
    """Do what standard input says, and return when nothing of it is left."""
    _prepare()
    frame = read_frame()
    if frame is None:
        return
    spec, stdin = frame
    began = time.monotonic()
    try:
        run = Run(spec, stdin)
    except spawn.UnstartableError as error:
        reason = Kept(4096)
        reason.add(error.reason)
        _end_stream(spec)
        _report("unstartable", error.status, time.monotonic() - began, Kept(0), reason)
        return
    try:
        ended = run.watch()
        seconds = time.monotonic() - began
        run.drain()
    finally:
        run.end_everything()
    status = -signal.SIGKILL if run.status is None else run.status
    if ended == "exited" and status > 0 and not run.began():
        ended, status = "unstartable", 127
    _end_stream(spec)
    _report(ended, status, seconds, run.stdout, run.stderr)


def _prepare() -> None:
    os.dup2(1, 2)
    # A lock that was handed to us must fall with us, not with what the command leaves behind.
    for name in os.listdir("/dev/fd"):  # noqa: PTH208  (pathlib costs 8 ms)
        try:
            os.set_inheritable(int(name), int(name) <= 2)
        except OSError:
            continue  # the listing's own descriptor
    # A parent's thread may have signals blocked, and what it starts inherits that.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    spawn.prctl(spawn.PR_SET_CHILD_SUBREAPER, 1)
    # Only root can open our pipes through /proc now: a command cannot write its own result.
    spawn.prctl(spawn.PR_SET_DUMPABLE, 0)


class Run:
    """A started command, its pipes, and what ends it. Raises `UnstartableError`."""

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
        """Wait until the command has ended, by itself or because we made it; say which."""
        wall = time.monotonic() + self._spec["wall"]
        while self.status is None:
            self._turn(min(wall, self._last_output + self._spec["idle"]))
            why = self._overdue(wall)
            if why and self.status is None:
                self._make_it_end()
                return why
        return "exited"

    def began(self) -> bool:
        """Tell whether the command itself ran, and not only the sandbox around it; ask once."""
        if self._status_fd < 0:
            return True
        os.set_blocking(self._status_fd, False)
        try:
            # A short JSON line on the sandbox, and at the end of a command that ran one more.
            return b'"exit-code"' in os.read(self._status_fd, 1 << 16)
        except BlockingIOError:
            return False

    def drain(self) -> None:
        """Read what is under way: until all writers are gone, for a moment at most."""
        until = time.monotonic() + MOMENT
        while self._outputs and time.monotonic() < until:
            self._turn(until)

    def end_everything(self) -> None:
        """Leave no process behind; what cannot be killed is given up after `PATIENCE`."""
        if not procfs.usable():
            self._signal_group(signal.SIGKILL)
        now = time.monotonic()
        deadline, alone = now + PATIENCE, now + (MOMENT if self._spec["sandboxed"] else 0.0)
        # Orphans become our children, so when there is no child there is no descendant.
        while (left := self._reap()) and (now := time.monotonic()) < deadline:
            # A namespace dies with its bubblewrap; to look through /proc costs more than all else.
            if now >= alone:
                procfs.end_children()
            time.sleep(0.002)
        if left or not self._spec["sandboxed"]:
            procfs.end_bearing(self._spec["token"])

    def _overdue(self, wall: float) -> str:
        now = time.monotonic()
        if self._cancelled:
            return "cancelled"
        if now >= wall:
            return "timed-out"
        return "idle" if now >= self._last_output + self._spec["idle"] else ""

    def _make_it_end(self) -> None:
        """SIGINT first: at that, coding agents save what they have and end what they started."""
        for number, patience in (
            (signal.SIGINT, self._spec["grace"]),
            (signal.SIGKILL, PATIENCE),
        ):
            if self.status is not None:
                return
            self._signal_group(number)
            until = time.monotonic() + patience
            while self.status is None and time.monotonic() < until:
                self._turn(until)

    def _signal_group(self, number: int) -> None:
        group = self._pid
        if self._spec["sandboxed"] and number != signal.SIGKILL:
            # At a signal bubblewrap would die, and all with it: the command is in a group of its
            # child's, the first process of the namespace, to which only SIGKILL means anything.
            inside = procfs.children(self._pid) if procfs.usable() else {}
            group = next(iter(inside), 0)
        try:
            if group:
                os.killpg(group, number)
        except OSError:
            return  # all of it has gone, or has become another user's

    def _turn(self, until: float) -> None:
        """Handle what comes first; return by `until` at the latest."""
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
            self._unfed = self._unfed[:0]  # it has closed its input, which is its right
        if not self._unfed:
            self._forget(self._feed_fd)
            self._feed_fd = -1

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        os.close(fd)

    def _reap(self) -> bool:
        """Collect all children that have ended; tell whether any are left."""
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
        given = (stdin, ends[0][1], ends[1][1])
        spec = self._spec
        argv, told = spec["argv"], -1
        if spec["sandboxed"]:
            self._status_fd, told = os.pipe()
            os.set_inheritable(told, True)
            argv = [argv[0], "--json-status-fd", str(told), *argv[1:]]
        try:
            return spawn.start(argv, spec["cwd"], spec["env"], given)
        finally:
            for fd in (*given, told):
                if fd >= 0:
                    os.close(fd)


def _signals_as_bytes() -> int:
    """Let every signal that matters become a byte on the returned descriptor."""
    wake_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return wake_fd


def _report(ended: str, status: int, seconds: float, stdout: Kept, stderr: Kept) -> None:
    out, err = stdout.value(), stderr.value()
    line = (
        f'{{"ended":"{ended}","status":{status},"seconds":{seconds:.6f},'
        f'"cut":{stdout.cut + stderr.cut},"stdout":{len(out)},"stderr":{len(err)}}}\n'
    )
    write_message(line.encode() + out + err)


def _end_stream(spec: Spec) -> None:
    if spec["stream"]:
        write_message(bytes(4))
