"""Starts the supervisor's command: in a session of its own, and never outliving the supervisor.

The supervisor imports this at every start; `subprocess` would cost it more than all the rest.
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
    """The command cannot be started; `status` is what a shell would give."""

    def __init__(self, status: int, reason: bytes) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def prctl(option: int, value: int) -> None:
    """Set a property of this process, where there is such a call."""
    if procfs.LINUX:
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def reason(verb: str, what: str, error: Exception) -> bytes:
    """Return the line that says what could not be done and why."""
    said = getattr(error, "strerror", None) or str(error)
    return f"cannot {verb} {what}: {said}\n".encode("utf-8", "surrogateescape")


def start(argv: list[str], cwd: str, env: dict[str, str], given: tuple[int, int, int]) -> int:
    """Start the command with `given` as its standard streams; return its pid once it runs.

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
            _enter_session(parent, given)
            _become(argv, cwd, env, failure)
        finally:
            os._exit(127)
    os.close(failure)
    said = b""
    while part := os.read(failed, 4096):
        said += part
    os.close(failed)
    if said:
        os.waitpid(pid, 0)
        raise UnstartableError(said[0], said[1:])
    return pid


def _enter_session(parent: int, given: tuple[int, int, int]) -> None:
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)  # it died before the line above, so no signal will come
    for fd, standard in zip(given, (0, 1, 2), strict=True):
        os.dup2(fd, standard)
    # What is ignored stays so in the command: by Python (SIGPIPE), a shell's `&`, nohup.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def _become(argv: list[str], cwd: str, env: dict[str, str], failure: int) -> NoReturn:
    doing = ("enter", cwd)
    try:
        os.chdir(cwd)
        doing = ("start", argv[0])
        os.execvpe(argv[0], argv, env)  # noqa: S606  (there is to be no shell)
    except (OSError, ValueError) as error:
        status = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(failure, bytes([status]) + reason(*doing, error))
        os._exit(status)
