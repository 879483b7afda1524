"""Runs gitmill commands fast: in forked children of one process that has imported everything."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self


class Server:
    """Runs gitmill in forked children of one process that has imported everything.

    Who makes one closes it. `shared` is that of this process, which is closed when this one ends:
    starting one costs more than a second, so tests share it.
    """

    def __init__(self, process: subprocess.Popen[str] | None = None) -> None:
        self._process = process or _start()

    @classmethod
    def shared(cls) -> Self:
        """Return a server on the one process that all tests of this process share."""
        return cls(_kept())

    def ask(self, wanted: dict[str, Any]) -> Any:
        """Return what the server answers.

        After a test that was ended meanwhile another process answers: the next question would get
        the answer to this one.
        """
        if self._process.poll() is not None:
            self._process = _kept()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BaseException:
            self._process.kill()
            self.close()
            _kept.cache_clear()
            raise
        return json.loads(answer)

    def run(self, wanted: dict[str, Any]) -> int:
        """Return the exit status, or the negative number of the signal that ended it."""
        return int(self.ask(wanted))

    def start(self, folder: Path, args: Sequence[str], env: dict[str, str], to: Path) -> Beside:
        """Start gitmill in a folder and in a session of its own; its outputs are files in `to`."""
        out, err = to / "out", to / "err"
        wanted = {"cwd": str(folder), "argv": list(args), "env": env, "out": str(out),
                  "err": str(err), "beside": True}  # fmt: skip
        return Beside(self, int(self.ask(wanted)), out, err)

    def said(self, folder: Path, args: Sequence[str], env: dict[str, str]) -> tuple[int, str, str]:
        """Run gitmill in a folder; return its exit code and both outputs."""
        with tempfile.TemporaryDirectory(prefix="gitmill-said-") as place:
            out, err = Path(place, "out"), Path(place, "err")
            out.touch()
            err.touch()
            code = self.run({"cwd": str(folder), "argv": list(args), "env": env,
                             "out": str(out), "err": str(err)})  # fmt: skip
            return code, out.read_text("utf-8"), err.read_text("utf-8")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it was killed in the middle of a question
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Beside:
    """A gitmill that runs beside the test: what tests use of `subprocess.Popen`."""

    def __init__(self, server: Server, pid: int, out: Path, err: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._said = server, (out, err)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300.0) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("gitmill", timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = 300.0) -> tuple[str, str]:
        """Wait for its end; return both outputs."""
        self.wait(timeout)
        out, err = (path.read_text("utf-8") for path in self._said)
        return out, err

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _start() -> subprocess.Popen[str]:
    path = Path(__file__).with_name("crash_server.py")
    return subprocess.Popen(
        [sys.executable, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@cache
def _kept() -> subprocess.Popen[str]:
    process = _start()
    atexit.register(Server(process).close)
    return process
