"""SIGKILL to gitmill, to the supervisor, or to both, at any time: which processes are left when.

The lock shows when a supervisor has ended: gitmill and the supervisor hold it, the command does
not. Once the lock is free, no process of the command may be running.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from gitmill.supervision import processes
from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import (
    alive,
    child_of,
    command,
    daemon,
    eventually,
    lock_is_free,
    mill,
    python,
    running,
    supervisor_of,
)
from tests.support.seeds import times

# Ignores the polite signal, starts what lives in other sessions, and never ends.
FAMILY = r"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
open(sys.argv[1], "a").close()
while True:
    time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["plain", "closed", "cleared"])
def test_killed_gitmill_leaves_nothing_running(tmp_path, token, how):
    process = mill(tmp_path, daemon(tmp_path, token, how=how, then="stay"))
    assert eventually((tmp_path / "ready").exists)
    supervisor = child_of(process.pid)
    process.kill()
    process.communicate()
    begun = time.monotonic()
    assert eventually(lambda: not running(token) and not alive(supervisor), seconds=10.0)
    assert time.monotonic() - begun < 5.0, "a fraction of a second, on a machine that is not busy"


def test_the_lock_is_held_until_everything_has_been_ended(tmp_path, token):
    """The command does not heed the polite signal, so the grace must pass after gitmill's death."""
    process = mill(tmp_path, python(FAMILY, tmp_path / "ready", token), grace=1.0)
    assert eventually((tmp_path / "ready").exists)
    process.kill()
    process.communicate()
    assert running(token), "the grace is not over"
    assert not lock_is_free(tmp_path / "lock")
    assert eventually(lambda: lock_is_free(tmp_path / "lock"))
    assert running(token) == []


def test_the_lock_is_free_after_an_ordinary_end(tmp_path):
    process = mill(tmp_path, ("sh", "-c", "setsid sleep 1000 & exit 0"))
    assert process.stdout.readline() == b"exited\n"
    process.communicate()
    assert lock_is_free(tmp_path / "lock")


def test_the_processes_of_a_killed_supervisor_are_ended(tmp_path, token):
    engine = LocalEngine(claim=token)

    def kill_supervisor():
        eventually((tmp_path / "ready").exists)
        os.kill(supervisor_of(token), signal.SIGKILL)

    killer = threading.Thread(target=kill_supervisor)
    killer.start()
    outcome = engine.execute(command(daemon(tmp_path, token, then="stay")))
    killer.join()
    assert (outcome.ended, outcome.status) == ("lost", -signal.SIGKILL)
    assert b"the supervisor ended with status -9" in outcome.stderr
    assert running(token) == []


def test_the_command_dies_with_its_supervisor_and_the_rest_bears_the_mark(tmp_path, token):
    """Both killed together: only a later search for the claim can end the command."""
    process = mill(tmp_path, daemon(tmp_path, token, then="stay"), claim=token)
    assert eventually((tmp_path / "ready").exists)
    supervisor = child_of(process.pid)
    direct = child_of(supervisor)
    os.kill(process.pid, signal.SIGSTOP)  # or it would sweep before it is killed
    os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert eventually(lambda: not alive(direct))
    assert eventually(lambda: len(running(token)) == 1), "the daemon"
    assert processes.end_claimed("another") == 0
    assert len(running(token)) == 1
    assert processes.end_claimed(token) == 1
    assert running(token) == []
    assert processes.end_claimed(token) == 0


@pytest.mark.parametrize("seed", range(times(8)))
def test_killed_at_any_time_nothing_runs_once_the_lock_is_free(tmp_path, token, seed):
    process = mill(tmp_path, python(FAMILY, tmp_path / "ready", token), grace=0.05)
    time.sleep(random.Random(seed).uniform(0, 0.12))
    process.kill()
    process.communicate()
    assert eventually(lambda: lock_is_free(tmp_path / "lock"))
    assert running(token) == []


@pytest.mark.parametrize("seed", range(times(5)))
def test_both_killed_at_any_time_the_claim_finds_the_remaining_processes(tmp_path, token, seed):
    chance = random.Random(seed)
    process = mill(tmp_path, python(FAMILY, tmp_path / "ready", token), claim=token)
    time.sleep(chance.uniform(0, 0.12))
    os.kill(process.pid, signal.SIGSTOP)
    supervisor = child_of(process.pid)
    for pid in chance.sample([process.pid, supervisor or process.pid], 2):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert eventually(lambda: lock_is_free(tmp_path / "lock"))
    processes.end_claimed(token)
    assert running(token) == []
