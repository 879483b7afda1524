"""A supervisor that is stopped or signalled by its command: gitmill keeps a deadline of its own."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gitmill.supervision import local
from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import (
    child_of,
    command,
    daemon,
    eventually,
    lock_is_free,
    mill,
    python,
    running,
    shell,
    supervisor_of,
)

# Stops its supervisor, again and again, beside a process without a mark in a session of its own.
STOPPER = r"""
import os, signal, sys, time
supervisor = os.getppid()
if os.fork() == 0:
    os.setsid()
    code = "import time; time.sleep(1000)"
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code, sys.argv[2]], {})
open(sys.argv[1], "a").close()
while True:
    os.kill(supervisor, signal.SIGSTOP)
    time.sleep(0.01)
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_SLACK", 1.0)


@pytest.mark.usefixtures("short")
def test_a_stopped_supervisor_ends_at_gitmills_own_deadline_with_all_processes(
    engine: LocalEngine, tmp_path, token
):
    argv = python(STOPPER, tmp_path / "ready", token)
    began = time.monotonic()
    outcome = engine.execute(command(argv, wall=1.0, grace=0.2))
    assert outcome.ended == "timed-out"
    assert not outcome.passed
    assert time.monotonic() - began < 10.0
    assert running(token) == []


@pytest.mark.usefixtures("short")
def test_a_stopped_supervisor_can_be_cancelled(engine: LocalEngine, tmp_path, token):
    argv = python(STOPPER, tmp_path / "ready", token)

    def when_ready():
        eventually((tmp_path / "ready").exists)
        engine.cancel()

    thread = threading.Thread(target=when_ready)
    thread.start()
    outcome = engine.execute(command(argv, wall=600.0, grace=0.2))
    thread.join()
    assert outcome.ended == "cancelled"
    assert running(token) == []


@pytest.mark.usefixtures("short")
def test_a_supervisor_stopped_before_it_has_read_its_input_ends_too(
    engine: LocalEngine, token, monkeypatch: pytest.MonkeyPatch
):
    start = local.process.start

    def stopped(*args, **more):
        process = start(*args, **more)
        process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr(local.process, "start", stopped)
    argv = python("import sys; sys.stdin.read()", token)
    large = command(argv, stdin=b"x" * (1 << 20), wall=600.0, grace=0.2)
    assert engine.execute(large).ended == "timed-out"


def test_a_supervisor_that_was_stopped_once_ends_after_gitmill(tmp_path, token):
    process = mill(tmp_path, daemon(tmp_path, token, then="stay"), grace=0.1)
    assert eventually((tmp_path / "ready").exists)
    os.kill(child_of(process.pid) or 0, signal.SIGSTOP)
    process.kill()
    process.communicate()
    assert eventually(lambda: lock_is_free(tmp_path / "lock"), seconds=10.0)
    assert running(token) == []


def test_a_cancellation_that_nobody_asked_for_is_none(engine: LocalEngine, token):
    outcome = engine.execute(shell(f"kill -TERM $PPID; sleep 60; : {token}"))
    assert outcome.ended == "lost"
    assert b"a signal that gitmill did not send" in outcome.stderr
    assert running(token) == []


def test_the_reason_of_a_watch_explains_a_cancellation(engine: LocalEngine, token):
    outcome = engine.execute(
        shell(f"echo over; sleep 60; : {token}", watch=lambda _: "over budget")
    )
    assert (outcome.ended, outcome.why) == ("stopped", "over budget")


def test_a_signal_to_the_supervisor_of_a_cancelled_engine_stays_a_cancellation(
    engine: LocalEngine, tmp_path, token
):
    def when_ready():
        eventually((tmp_path / "ready").exists)
        supervisor = supervisor_of(token)
        engine.cancel()
        os.kill(supervisor, signal.SIGTERM)

    thread = threading.Thread(target=when_ready)
    thread.start()
    outcome = engine.execute(command(daemon(tmp_path, token, then="stay"), grace=0.1))
    thread.join()
    assert outcome.ended == "cancelled"
