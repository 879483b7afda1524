"""gitmill as a process of its own, in the middle of something that lasts until a file is there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cli import Said
from tests.support.crash_cases import Server, eventually
from tests.support.repos import Repo
from tests.support.server import Beside

# A shell that starts a script in the background has it ignore Ctrl-C, and so may whoever tests.
_GITMILL = (
    sys.executable,
    "-c",
    "import signal; from gitmill.cli.main import run;"
    " signal.signal(signal.SIGINT, signal.default_int_handler);"
    " signal.signal(signal.SIGHUP, signal.SIG_DFL); run()",
)


@dataclass
class Live:
    """A repository, and the folder beside it in which its scripts leave word.

    With `forks` what is started is a child of the server, as good as a process of its own where
    neither its start nor a terminal is what is tested.
    """

    repo: Repo
    server: Server
    forks: bool = False
    runs: list[subprocess.Popen[str] | Beside] = field(default_factory=list)

    @property
    def word(self) -> Path:
        folder = self.repo.path.parent / "word"
        folder.mkdir(exist_ok=True)
        return folder

    def lasting(self, name: str, *, deaf: bool = False) -> str:
        """Return a line of script that lasts, with a child behind it, unless file `go` is there."""
        ear = "trap '' INT TERM; " if deaf else ""
        word = self.word
        return (
            f"test -e {word}/go || {{ {ear}env LASTING={word}/{name} sleep 987 &"
            f" touch {word}/{name}; until test -e {word}/go; do sleep 0.05; done; }}"
        )

    def start(self, *argv: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str] | Beside:
        """Start gitmill in a session of its own, as a terminal would, or `under` something else."""
        if self.forks and not under:
            to = self.repo.path.parent / f"said-{len(self.runs)}"
            to.mkdir()
            self.runs.append(self.server.start(self.repo.path, argv, dict(os.environ), to))
            return self.runs[-1]
        how = (*under, sys.executable, "-m", "gitmill") if under else _GITMILL
        process = subprocess.Popen(
            [*how, *argv],
            cwd=self.repo.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.runs.append(process)
        return process

    def start_until(self, name: str, *argv: str) -> subprocess.Popen[str] | Beside:
        """Start gitmill and return once it is in the middle of what lasts by that name."""
        process = self.start(*argv)
        began = eventually((self.word / name).exists, seconds=60.0)
        assert began, process.communicate(timeout=1)
        return process

    def slow_checkout(self, place: str) -> None:
        """Let git take its time with a.txt in work trees of that name, leaving word `git`."""
        word = self.word
        smudge = (
            f'cat; if test "${{PWD##*/}}" = {place} -a ! -e {word}/go;'
            f" then touch {word}/git; sleep 2; fi"
        )
        self.repo.git("config", "filter.slow.smudge", smudge)
        self.repo.commit({".gitattributes": "a.txt filter=slow\n"}, "filter")

    def go(self) -> None:
        """Let nothing last any more."""
        (self.word / "go").touch()

    def has_ended(self, name: str) -> bool:
        """Whether the background child of what lasted is gone, wherever its numbers count."""
        wanted = f"\0LASTING={self.word}/{name}\0".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in b"\0" + (entry / "environ").read_bytes():
                    return False
        return True

    def gitmill(self, *args: str) -> Said:
        return self.server.gitmill(self.repo.path, *args)

    def new_task(self, title: str, script: str, *more: str) -> str:
        return self.server.new_task(self.repo.path, title, script, *more)

    def item(self, task: str) -> dict[str, Any]:
        return self.gitmill("task", "show", task, "--json").json["item"]

    def story(self, task: str) -> list[str]:
        told = self.gitmill("log", task, "--json").json["events"]
        return [event["event"] for event in told[::-1]]

    def rescued(self, task: str, file: str) -> str:
        """Return what the first rescue ref of a task has as a file."""
        return self.repo.git("show", f"refs/gitmill/rescue/{task}/1:{file}")

    def close(self) -> None:
        for process in self.runs:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.communicate()
