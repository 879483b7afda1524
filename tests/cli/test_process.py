"""The installed program says what the children of the tests' server say, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.cli.dispatch import NOUNS, VERBS
from tests.support.cli import Said, begun, gitmill
from tests.support.repos import Sandbox
from tests.support.server import Server

PROGRAM = Path(sys.executable).with_name("gitmill")


def alone(folder: Path, *args: str) -> Said:
    done = subprocess.run(
        [PROGRAM, *args], cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    return Said(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


@pytest.mark.parametrize(
    "args",
    [["--version"], ["task", "list", "--json"], ["task", "show", "t-zzzzz"], ["task", "new"],
     ["loop", "check"]],
    ids=" ".join,
)  # fmt: skip
def test_it_says_the_same(sandbox: Sandbox, args: list[str]):
    repo = begun(sandbox)
    assert alone(repo.path, *args) == gitmill(repo.path, *args)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*VERBS, *NOUNS])
def test_each_command_starts(tmp_path: Path, name: str):
    said = alone(tmp_path, name, "--help")
    assert said.code == 0
    assert said == gitmill(tmp_path, name, "--help")


def test_a_question_that_was_ended_takes_no_answer_of_the_next(tmp_path: Path):
    """As when a test reaches its time limit: the tests after it still get their own answers."""
    server = Server.shared()
    (tmp_path / "out").touch()
    (tmp_path / "err").touch()
    wanted = {"cwd": str(tmp_path), "argv": ["--version"], "env": dict(os.environ),
              "out": str(tmp_path / "out"), "err": str(tmp_path / "err")}  # fmt: skip

    def end(*_: object) -> None:
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeoutError):
            server.ask(wanted | {"lifetime": 30})
    finally:
        signal.signal(signal.SIGALRM, old)
    assert server.run(wanted | {"argv": ["nonsense"]}) == 2
    assert server.run(wanted) == 0
