"""`task shell`: a workspace with the work of a task, for a person."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitmill.mill import Mill
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

POLICY = ".gitmill/config.toml"
SETUP = "[worktree]\nsetup = ['mkdir -p deps; echo made > deps/made.txt']\n"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    files: dict = {"a.txt": "a\n", ".gitignore": "deps/\n", POLICY: SETUP}
    repo = sandbox.repo(files=files)
    assert gitmill(repo.path, "init").code == 0
    return repo


@pytest.fixture
def task(repo: Repo) -> str:
    task = new_task(repo.path, "Add b", "echo b > b.txt")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    return task


def argv(repo: Repo, task: str, *command: str) -> list[str]:
    words = ["--", *command] if command else []
    return [sys.executable, "-m", "gitmill", "-C", str(repo.path), "task", "shell", task, *words]


def shell(repo: Repo, task: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        argv(repo, task, *command), input=stdin, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def test_a_command_sees_the_work_set_up_and_nothing_stays(repo: Repo, task: str):
    tip = repo.git("rev-parse", "gitmill/state")
    script = "cat b.txt deps/made.txt; git log -1 --format=%H; echo x > b.txt; echo y > new.txt"
    work = Mill.open(repo.path).snapshot().item(task).work
    for _ in range(2):
        done = shell(repo, task, "sh", "-c", script)
        assert (done.returncode, done.stdout.split()) == (0, ["b", "made", work])
        assert f"the work of {task}, {work[:10]}; what you change" in done.stderr
    assert repo.git("rev-parse", "gitmill/state") == tip
    assert repo.git("status", "--short") == ""
    assert sorted(p.name for p in repo.path.iterdir() if p.name[0] != ".") == ["a.txt"]


def test_without_work_it_is_the_target(repo: Repo):
    task = new_task(repo.path, "Not yet", "true")
    done = shell(repo, task, "ls")
    assert done.stdout.split() == ["a.txt", "deps"]
    assert f"no work of {task} yet: the target" in done.stderr


def test_its_status_is_that_of_the_command(repo: Repo, task: str):
    assert shell(repo, task, "sh", "-c", "exit 7").returncode == 7
    assert shell(repo, task, "sh", "-c", "kill -9 $$").returncode == 137
    done = shell(repo, task, "no-such-command")
    assert done.returncode != 0
    assert "no-such-command" in done.stderr


def test_without_a_command_the_users_shell_reads_its_input(
    repo: Repo, task: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHELL", "/bin/sh")
    assert shell(repo, task, stdin="cat b.txt\nexit 3\n").stdout == "b\n"
    assert shell(repo, task, stdin="cat b.txt\nexit 3\n").returncode == 3


def test_it_is_as_confined_as_a_check(repo: Repo, task: str):
    done = shell(repo, task, "sh", "-c", "touch /usr/evil; ls -A .git/gitmill")
    assert done.returncode != 0
    assert "/usr/evil" in done.stderr
    assert not Path("/usr/evil").exists()
    assert done.stdout == ""


def test_a_set_up_must_be_trusted(repo: Repo, task: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GITMILL_TRUST")
    repo.commit({POLICY: SETUP.replace("made.txt", "other.txt")})
    done = shell(repo, task, "true")
    assert "error[untrusted]" in done.stderr
    assert done.returncode != 0


def test_bad_input(repo: Repo):
    done = shell(repo, "t-00000", "true")
    assert (done.returncode, "error[no-such-item]" in done.stderr) == (1, True)
    repo.commit({POLICY: "[worktree]\nsetup = ['exit 4']\n"})
    task = new_task(repo.path, "Broken", "true")
    done = shell(repo, task, "true")
    assert "exited with status 4" in done.stderr
    assert done.returncode == 1


# -- on a terminal ---------------------------------------------------------------------------------


def typed(repo: Repo, task: str, *lines: str) -> tuple[str, int]:
    """Type lines into the shell on a terminal; return what it shows and its status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, argv(repo, task))
    shown, sent, until = b"", 0, time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([terminal], (), (), 0.5)[0]:
            if sent < len(lines):
                os.write(terminal, lines[sent].encode() + b"\n")
                sent += 1
            continue
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:
            break
        shown += data
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return shown.decode("utf-8", "replace"), status


def test_a_shell_on_a_terminal_has_one_with_jobs_and_keys(
    repo: Repo, task: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("TERM", "dumb")
    shown, status = typed(
        repo, task,
        "test -t 0 && test -t 1 && echo terminal-$((1+1))",
        "sleep 100\x03",  # Ctrl-C ends the sleep, not the shell
        "sleep 100 & jobs",
        "cat b.txt | tr b B; exit 5",
    )  # fmt: skip
    assert status == 5, shown
    assert "terminal-2" in shown
    assert "Running" in shown
    assert "no job control" not in shown
    assert "\nB\r\n" in shown or "\rB\r\n" in shown


def test_a_killed_gitmill_leaves_no_process_and_no_lock(repo: Repo, task: str):
    mark = f"sleep 12{os.getpid() % 1000:03}"
    running = subprocess.Popen(argv(repo, task, "sh", "-c", mark), stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(mark)
    running.send_signal(signal.SIGKILL)
    running.wait()
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(mark)
    assert shell(repo, task, "cat", "b.txt").stdout == "b\n"


def processes(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in line and "gitmill" not in line:
            found.append(line)
    return found
