"""Limits, cancellation and interrupts: the command gets SIGINT, then SIGKILL."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gitmill.supervision import local
from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import (
    alive,
    child_of,
    command,
    daemon,
    eventually,
    mill,
    python,
    remaining_output,
    running,
    shell,
    supervisor_of,
)

# Says when it is there, what it is told, and does not end; nor does its child, in its own session.
STUBBORN = r"""
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
def tell(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\n")
    os.mknod(sys.argv[1] + ".asked")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, tell)
os.mknod(sys.argv[1])
while True:
    time.sleep(1000)
"""


def test_the_wall_limit_ends_a_command_that_keeps_talking(engine):
    outcome = engine.execute(shell("while :; do echo on; sleep 0.02; done", wall=0.4, idle=0.3))
    assert (outcome.ended, outcome.status) == ("timed-out", -signal.SIGINT)
    assert outcome.stdout.startswith(b"on\non\n")
    assert outcome.seconds >= 0.4


def test_the_idle_limit_ends_a_silent_command(engine):
    outcome = engine.execute(shell("echo on; sleep 1000", wall=60.0, idle=0.3))
    assert (outcome.ended, outcome.stdout) == ("idle", b"on\n")
    assert 0.3 <= outcome.seconds < 30


def test_output_of_either_kind_postpones_the_idle_limit(engine):
    script = "for i in 1 2 3 4; do sleep 0.3; echo on; sleep 0.3; echo on >&2; done"
    outcome = engine.execute(shell(script, idle=1.0))
    assert outcome.passed
    assert outcome.seconds > 2.0, "in silence it would have been ended"


def test_limits_may_be_infinite(engine):
    outcome = engine.execute(shell("sleep 0.1", wall=float("inf"), idle=float("inf")))
    assert outcome.passed


def test_a_command_may_clean_up_within_its_grace(engine):
    script = "trap 'sleep 0.2; echo saved; exit 0' INT; echo on; while :; do sleep 0.01; done"
    outcome = engine.execute(shell(script, wall=0.3, grace=10.0))
    assert (outcome.ended, outcome.status) == ("timed-out", 0)
    assert outcome.stdout == b"on\nsaved\n"
    assert not outcome.passed, "status 0 after a signal of ours is no success"


def test_a_command_that_will_not_end_is_killed_after_its_grace(engine, tmp_path, token):
    argv = python(STUBBORN, tmp_path / "ready", token)
    outcome = engine.execute(command(argv, wall=0.5, grace=0.3))
    assert (outcome.ended, outcome.status) == ("timed-out", -signal.SIGKILL)
    assert outcome.stdout == b"SIGINT\n"
    assert running(token) == []


def test_cancel_from_another_thread(engine, tmp_path, token):
    argv = python(STUBBORN, tmp_path / "ready", token)

    def when_ready():
        eventually((tmp_path / "ready").exists)
        engine.cancel()
        engine.cancel()

    thread = threading.Thread(target=when_ready)
    thread.start()
    outcome = engine.execute(command(argv, grace=0.2))
    thread.join()
    assert (outcome.ended, outcome.stdout) == ("cancelled", b"SIGINT\n")
    assert running(token) == []


def test_after_a_cancel_nothing_is_started(engine, tmp_path):
    engine.cancel()
    outcome = engine.execute(shell("touch made", cwd=tmp_path))
    assert (outcome.ended, outcome.passed) == ("cancelled", False)
    assert not (tmp_path / "made").exists()


def test_cancel_ends_all_threads_commands(engine, tmp_path, token):
    ended = []

    def execute(name):
        ended.append(engine.execute(shell(f": {token}; touch {tmp_path}/{name}; sleep 1000")).ended)

    threads = [threading.Thread(target=execute, args=(f"ready-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(list(tmp_path.iterdir())) == 3)
    engine.cancel()
    for thread in threads:
        thread.join()
    assert ended == ["cancelled"] * 3
    assert running(token) == []


def test_one_commands_end_leaves_another_one_of_the_same_claim_alone(engine, tmp_path):
    other = []
    script = f"touch {tmp_path}/ready; until [ -e {tmp_path}/done ]; do sleep 0.01; done; exit 9"
    thread = threading.Thread(target=lambda: other.append(engine.execute(shell(script))))
    thread.start()
    assert eventually((tmp_path / "ready").exists)
    assert engine.execute(shell("true")).passed
    (tmp_path / "done").touch()
    thread.join()
    assert (other[0].ended, other[0].status) == ("exited", 9)


def test_an_interrupt_ends_everything_before_it_is_raised_again(tmp_path, token):
    process = mill(tmp_path, daemon(tmp_path, token, then="stay"), grace=30.0)
    assert eventually((tmp_path / "ready").exists)
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == b"interrupted\n"
    assert running(token) == []
    assert remaining_output(process) == b""


def test_a_second_interrupt_does_not_wait_for_the_grace(tmp_path, token):
    argv = python(STUBBORN, tmp_path / "ready", token)
    process = mill(tmp_path, argv, grace=600.0)
    assert eventually((tmp_path / "ready").exists)
    os.kill(process.pid, signal.SIGINT)
    assert eventually((tmp_path / "ready.asked").exists)
    supervisor = child_of(process.pid)
    os.kill(process.pid, signal.SIGINT)
    assert b"interrupted" in remaining_output(process)
    assert running(token) == []
    assert not alive(supervisor)


def test_an_interrupt_at_the_terminal_does_not_reach_the_command(tmp_path, token):
    """The command is in another session than gitmill: only gitmill decides on its end."""
    process = mill(tmp_path, python(STUBBORN, tmp_path / "ready", token), grace=0.1)
    assert eventually((tmp_path / "ready").exists)
    everyone = [process.pid, child_of(process.pid), *running(token)]
    assert len({os.getsid(pid) for pid in everyone}) == len(everyone) == 4
    os.kill(process.pid, signal.SIGINT)
    assert remaining_output(process) == b"interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_ends_everything(tmp_path, token, number):
    process = mill(tmp_path, daemon(tmp_path, token, then="stay"))
    assert eventually((tmp_path / "ready").exists)
    os.kill(child_of(process.pid), number)
    assert process.stdout.readline() == b"lost\n", "nobody asked gitmill for a cancellation"
    assert running(token) == []
    process.communicate()


def test_a_stuck_supervisor_is_killed_with_its_processes(tmp_path, token, monkeypatch):
    monkeypatch.setattr(local, "_SLACK", 0.3)
    engine = LocalEngine(claim=token)

    def stop_supervisor_and_cancel():
        eventually((tmp_path / "ready").exists)
        os.kill(supervisor_of(token), signal.SIGSTOP)
        engine.cancel()

    thread = threading.Thread(target=stop_supervisor_and_cancel)
    thread.start()
    outcome = engine.execute(command(daemon(tmp_path, token, then="stay"), grace=0.1))
    thread.join()
    assert outcome.ended == "cancelled"
    assert running(token) == []
