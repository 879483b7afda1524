"""Start the supervisor's command in a session of its own that cannot outlive the supervisor.

The supervisor imports this at every start; `subprocess` would cost more than everything else.
"""

from __future__ import annotations

import ctypes
import os

from gitmill.supervision import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # the public module builds enumerations: 4 ms for each command

# From linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36


class UnstartableError(Exception):
    """The command cannot be started; `status` is the exit status that a shell would report."""

    def __init__(self, status: int, reason: bytes) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def prctl(option: int, value: int) -> None:
    """Set a property of this process, on Linux only."""
    if procfs.LINUX:
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def reason(verb: str, what: str, error: Exception) -> bytes:
    """Return the line of output for an action that failed."""
    message = getattr(error, "strerror", None) or str(error)
    return f"cannot {verb} {what}: {message}\n".encode("utf-8", "surrogateescape")


def start(argv: list[str], cwd: str, env: dict[str, str], standard: tuple[int, int, int]) -> int:
    """Start the command with these standard streams; return its pid once it runs.

    Raises `UnstartableError`.
    """
    failed, failure = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        raise UnstartableError(126, reason("fork for", argv[0], error)) from error
    if pid == 0:
        try:
            _enter_session(parent, standard)
            _become(argv, cwd, env, failure)
        finally:
            os._exit(127)
    os.close(failure)
    report = b""
    while part := os.read(failed, 4096):
        report += part
    os.close(failed)
    if report:
        os.waitpid(pid, 0)
        raise UnstartableError(report[0], report[1:])
    return pid


def _enter_session(parent: int, standard: tuple[int, int, int]) -> None:
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)  # the parent died before prctl, so no signal will come
    for fd, number in zip(standard, (0, 1, 2), strict=True):
        os.dup2(fd, number)
    # The command would inherit ignored signals: from Python (SIGPIPE), a shell's `&`, nohup.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def _become(argv: list[str], cwd: str, env: dict[str, str], failure: int) -> NoReturn:
    action = ("enter", cwd)
    try:
        os.chdir(cwd)
        action = ("start", argv[0])
        os.execvpe(argv[0], argv, env)  # noqa: S606  (deliberately without a shell)
    except (OSError, ValueError) as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(failure, bytes([status]) + reason(*action, error))
        os._exit(status)
