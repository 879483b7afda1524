"""Run a command where a person works with it: on this process's own terminal, inputs and outputs.

The sandbox gives a command a session without a terminal. So it gets one of its own, and what is
typed and printed is passed on; it cannot type into the user's terminal after its end.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill import process

_IN, _OUT = 0, 1
_CHUNK = 1 << 16
_TICK = 0.1  # seconds; a process in the background can keep the terminal open
# Makes its input the terminal of its session, which job control needs, and becomes the command.
# In the sandbox the session is led by another process.
_TAKE = """
import fcntl, os, sys, termios
if os.getsid(0) != os.getpid():
    os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def is_there() -> bool:
    """Whether a person's terminal is both input and output."""
    return os.isatty(_IN) and os.isatty(_OUT)


def taking(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the argv of a command that has the terminal for itself, if there is one."""
    return (sys.executable, "-I", "-S", "-c", _TAKE, *argv) if is_there() else tuple(argv)


def run(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> int:
    """Run a command and return its exit status, as a shell does: 128 and more for a signal."""
    if not is_there():
        with process.attached(argv, cwd=cwd, env=env, pass_fds=pass_fds) as child:
            return _status(child.wait())
    ours, theirs = os.openpty()
    try:
        with (
            _resizing(ours),
            process.attached(argv, cwd=cwd, env=env, terminal=theirs, pass_fds=pass_fds) as child,
            _raw(),
        ):
            os.close(theirs)
            _pass_on(ours, child)
            return _status(child.wait())
    finally:
        os.close(ours)


def _pass_on(ours: int, child: subprocess.Popen[bytes]) -> None:
    """Pass on what is typed and printed until the command has ended and all is printed."""
    reading = [_IN, ours]
    while True:
        ready = select.select(reading, (), (), _TICK)[0]
        if ours in ready:
            try:
                data = os.read(ours, _CHUNK)
            except OSError:  # Linux: the last process has closed it
                return
            if not data:
                return
            _write(_OUT, data)
        elif child.poll() is not None:
            return
        if _IN in ready:
            data = os.read(_IN, _CHUNK)
            if not data:
                reading.remove(_IN)
            _write(ours, data)


def _write(to: int, data: bytes) -> None:
    while data:
        data = data[os.write(to, data) :]


@contextmanager
def _raw() -> Iterator[None]:
    """Pass every key on, also Ctrl-C; the terminal is as before afterwards."""
    before = termios.tcgetattr(_IN)
    tty.setraw(_IN, termios.TCSADRAIN)  # what was typed ahead is for the command
    try:
        yield
    finally:
        termios.tcsetattr(_IN, termios.TCSADRAIN, before)


@contextmanager
def _resizing(ours: int) -> Iterator[None]:
    """Give the command's terminal the size of the user's, also when that changes."""

    def resize(*_: object) -> None:
        with suppress(OSError):
            size = fcntl.ioctl(_IN, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(ours, termios.TIOCSWINSZ, size)

    resize()
    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _status(code: int) -> int:
    return code if code >= 0 else 128 - code
