"""The identity of processes, whether they are alive, and ending those of a claim."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gitmill.supervision import processes, procfs
from gitmill.supervision.processes import end_claimed, is_same_and_alive, this_process
from tests.supervision.processes import ROOT, alive, eventually, python, running


@pytest.fixture(params=["linux", "elsewhere"])
def system(request, monkeypatch):
    """Both ways to look at processes; psutil's is the one for macOS, and works here too."""
    if request.param == "elsewhere":
        monkeypatch.setattr(procfs, "LINUX", False)
    return request.param


@pytest.fixture
def other():
    """Start another process that stays; return the facts on it, and the process."""
    code = (
        "import dataclasses, json, sys\n"
        "from gitmill.supervision import processes, procfs\n"
        "procfs.LINUX = sys.argv[1] == 'linux'\n"
        "print(json.dumps(dataclasses.asdict(processes.this_process())), flush=True)\n"
        "sys.stdin.read()"
    )
    started = []

    def start(system):
        process = subprocess.Popen(
            [sys.executable, "-c", code, system],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return processes.ProcessFacts(**json.loads(process.stdout.readline())), process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_facts_on_this_process_stay_the_same(system):
    facts = this_process()
    assert facts == this_process()
    assert facts.pid == os.getpid()
    assert facts.host == os.uname().nodename
    assert facts.boot
    assert facts.started
    assert is_same_and_alive(facts) is True


def test_facts_on_linux_are_the_kernels():
    facts = this_process()
    assert facts.pidns == str(Path("/proc/self/ns/pid").readlink())
    assert len(facts.boot) == 36
    assert facts.started.isdigit()


def test_another_live_process_is_alive_and_then_dead(system, other):
    facts, process = other(system)
    assert facts.pid == process.pid
    assert is_same_and_alive(facts) is True
    process.kill()
    process.communicate()
    assert is_same_and_alive(facts) is False


def test_a_zombie_is_dead(system, other):
    facts, process = other(system)
    process.kill()
    assert eventually(lambda: not alive(process.pid))
    assert procfs.stat(process.pid) is not None, "it has not been waited for"
    assert is_same_and_alive(facts) is False


def test_a_pid_that_is_used_again_is_another_process(system):
    facts = this_process()
    assert is_same_and_alive(replace(facts, started=facts.started + "1")) is False


@pytest.mark.parametrize(
    "elsewhere",
    [{"host": "other"}, {"boot": "other"}, {"pidns": "pid:[1]"}, {"pid": 0}, {"started": ""}],
)
def test_a_process_of_another_system_is_neither_dead_nor_alive(system, elsewhere):
    assert is_same_and_alive(replace(this_process(), **elsewhere)) is None


def test_a_dead_process_of_another_boot_is_unknown(other):
    facts, process = other("linux")
    process.kill()
    process.communicate()
    assert is_same_and_alive(replace(facts, boot="other")) is None


def test_a_live_process_that_proc_hides_is_unknown(monkeypatch):
    facts = this_process()
    monkeypatch.setattr(procfs, "stat", lambda pid: None)
    assert is_same_and_alive(facts) is None
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError))
    assert is_same_and_alive(facts) is None
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(ProcessLookupError))
    assert is_same_and_alive(facts) is False


def test_a_proc_of_another_namespace_is_not_believed(monkeypatch, token):
    """Its numbers belong to other processes; killing by them would hit strangers."""
    facts = this_process()
    process = subprocess.Popen(
        python("input()", token), env={"GITMILL_CLAIM": token}, stdin=subprocess.PIPE
    )
    monkeypatch.setattr(
        os, "readlink", lambda path: "4711" if path == "/proc/self" else facts.pidns
    )
    assert is_same_and_alive(facts) is None
    assert this_process().started == ""
    assert end_claimed(token) == 0
    procfs.end_children()
    process.communicate(b"\n")
    assert process.returncode == 0, "it lived to read this line"


def test_end_claimed_ends_the_processes_of_the_claim_and_no_others(system, token):
    def start(value):
        env = {} if value is None else {"GITMILL_CLAIM": value, "A": "b"}
        return subprocess.Popen(python("import time; time.sleep(1000)", token), env=env)

    marked = [start(token) for _ in range(5)]
    others = [start(value) for value in (None, token + "x", "x" + token, token[:-1], "")]
    assert eventually(lambda: len(running(token)) == 10)
    assert end_claimed(token) == 5
    assert {process.wait() for process in marked} == {-signal.SIGKILL}
    assert [process.poll() for process in others] == [None] * 5
    for process in others:
        process.kill()
        process.wait()


def test_end_claimed_leaves_the_caller_alive(token):
    code = "import sys; from gitmill.supervision import processes as p; print(p.end_claimed(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, token],
        cwd=ROOT,
        env=os.environ | {"GITMILL_CLAIM": token},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"0\n"


def test_end_claimed_goes_on_until_a_forking_program_is_gone(token):
    code = (
        "import os, sys, time\n"
        "os.setsid()\n"
        "while True:\n"
        "    if os.fork(): time.sleep(0.02); os._exit(0)\n"
    )
    process = subprocess.Popen(python(code, token), env={"GITMILL_CLAIM": token})
    process.wait()
    assert eventually(lambda: running(token))
    assert end_claimed(token) >= 1
    assert running(token) == []
