"""However a command ends, and whatever it started, no process of it survives."""

from __future__ import annotations

import shlex
import signal
import subprocess
import threading
import time

import pytest

from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import command, daemon, eventually, python, running, shell

HOW = ["plain", "closed", "cleared"]

# A chain: each process forks the next one and exits, faster than anybody can look at /proc.
CHAIN = r"""
import os, sys
os.mknod(sys.argv[1])
while True:
    if os.fork():
        os._exit(0)
"""

# 64 processes, each below another one, most in sessions of their own.
TREE = r"""
import os, time
for _ in range(6):
    if not os.fork():
        os.setsid()
os.write(1, b".")
time.sleep(1000)
"""


@pytest.mark.parametrize("how", HOW)
def test_no_daemon_outlives_a_command_that_ends_by_itself(engine, tmp_path, token, how):
    outcome = engine.execute(command(daemon(tmp_path, token, how=how)))
    assert outcome.passed
    assert (tmp_path / "ready").exists(), "the daemon was there"
    assert running(token) == []


@pytest.mark.parametrize("how", HOW)
def test_no_daemon_outlives_a_timeout(engine, tmp_path, token, how):
    argv = daemon(tmp_path, token, how=how, then="stay")
    outcome = engine.execute(command(argv, wall=2.0, grace=0.2))
    assert outcome.ended == "timed-out"
    assert (tmp_path / "ready").exists(), "the daemon was there"
    assert running(token) == []


def test_a_daemon_that_holds_the_output_open_does_not_delay_the_end(engine, token):
    begun = time.monotonic()
    outcome = engine.execute(shell(f"echo out; sleep 1000 {token} & exit 4"))
    assert (outcome.ended, outcome.status, outcome.stdout) == ("exited", 4, b"out\n")
    assert time.monotonic() - begun < 20
    assert running(token) == []


def test_a_daemon_that_fills_the_output_does_not_delay_the_end(engine, token):
    argv = ("sh", "-c", f"setsid yes {token} & sleep 0.1; exit 5")
    outcome = engine.execute(command(argv))
    assert (outcome.ended, outcome.status) == ("exited", 5)
    assert outcome.seconds < 20
    assert running(token) == []


def test_output_still_in_the_pipe_at_the_end_is_read(engine):
    """A last writer that is a moment behind is still heard."""
    outcome = engine.execute(shell("(sleep 0.05; echo late) & echo early"))
    assert outcome.stdout == b"early\nlate\n"


def test_a_large_tree_is_ended(engine, token):
    outcome = engine.execute(command(python(TREE, token), wall=2.0, grace=0.1))
    assert outcome.ended == "timed-out"
    assert outcome.stdout == b"." * 64
    assert running(token) == []


def test_a_program_that_forks_on_and_on_is_ended(engine, tmp_path, token):
    script = 'setsid "$@" & until [ -e "$6" ]; do sleep 0.01; done'
    argv = ("sh", "-c", script, "sh", *python(CHAIN, tmp_path / "ready", token))
    assert engine.execute(command(argv)).ended == "exited"
    assert (tmp_path / "ready").exists()
    assert running(token) == []


def test_a_command_may_supervise_commands_of_its_own(tmp_path, token):
    """As when gitmill tests itself under gitmill. The inner supervisor adopts orphans as well."""
    inner = r"""
import os, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from gitmill.supervision.local import LocalEngine
from gitmill.process import Command
LocalEngine(claim="inner").execute(Command(tuple(sys.argv[2:]), Path("/"), dict(os.environ)))
"""
    root = __file__.partition("/tests/")[0]
    argv = python(inner, root, *daemon(tmp_path, token, how="cleared", then="stay"))
    outcome = LocalEngine(claim=token).execute(command(argv, wall=3.0, grace=0.1))
    assert outcome.ended == "timed-out"
    assert (tmp_path / "ready").exists()
    assert running(token) == []


def test_processes_started_by_a_daemon_for_the_command_are_ended_too(engine, tmp_path, token):
    """A server that was there before forks for the command: no descendant, but it has the mark."""
    started = []

    def serve():
        assert eventually((tmp_path / "env").exists)
        pairs = (tmp_path / "env").read_bytes().split(b"\0")[:-1]
        env = dict(pair.split(b"=", 1) for pair in pairs)
        started.append(subprocess.Popen(python("import time; time.sleep(1000)", token), env=env))
        (tmp_path / "served").touch()

    server = threading.Thread(target=serve)
    server.start()
    script = "env -0 > part; mv part env; until [ -e served ]; do sleep 0.01; done"
    assert engine.execute(shell(script, cwd=tmp_path)).passed
    server.join()
    assert running(token) == []
    assert started[0].wait() == -signal.SIGKILL


def test_a_commands_children_are_not_zombies_of_the_supervisor(engine):
    """Adopted processes that end are collected while the command still runs."""
    script = (
        "for i in 1 2 3 4 5; do (sleep 0.01 & exit) ; done; sleep 0.3;"
        " grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null"
        ' | while read f; do grep -q "PPid:.$PPID$" $f && echo $f; done; exit 0'
    )
    outcome = engine.execute(shell(script))
    assert (outcome.ended, outcome.stdout) == ("exited", b"")


@pytest.mark.parametrize("how", HOW)
def test_no_daemon_outlives_a_command_that_its_watch_has_ended(engine, tmp_path, token, how):
    start = shlex.join(daemon(tmp_path, token, how=how, then="stay"))
    wait = f"until test -e {tmp_path}/ready; do sleep 0.01; done"
    script = f"{start} & {wait}; echo seen; sleep 1000"
    watch = lambda line: "enough" if line == b"seen" else ""  # noqa: E731
    outcome = engine.execute(shell(script, watch=watch, grace=0.2))
    assert (outcome.ended, outcome.why) == ("stopped", "enough")
    assert (tmp_path / "ready").exists(), "the daemon was there"
    assert running(token) == []


def test_a_command_that_exits_0_because_its_watch_ended_it_has_not_passed(engine):
    script = "trap 'echo bye; exit 0' INT; echo loop; while :; do sleep 0.01; done"
    watch = lambda line: "it goes round in circles" if line == b"loop" else ""  # noqa: E731
    outcome = engine.execute(shell(script, watch=watch, grace=20))
    assert (outcome.ended, outcome.status, outcome.passed) == ("stopped", 0, False)
    assert outcome.stdout == b"loop\nbye\n"


def test_a_command_that_retries_for_ever_without_a_word_is_idle(engine, token):
    script = f"echo trying; while :; do sh -c 'sleep 0.05' {token}; done"
    outcome = engine.execute(shell(script, idle=0.5, grace=0.1))
    assert outcome.ended == "idle"
    assert running(token) == []
