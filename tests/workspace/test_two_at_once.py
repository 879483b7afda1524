"""Two workspaces at once below a path that few programs expect, and one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitmill.mill import Mill
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

AWKWARD = """it's "a" $HOME `id` \\ %s * ; & 日本 """
WAITS = "test -e deps/dep; touch begun-$1; until test -e go; do sleep 0.02; done; rm -f begun-* go"
FILES: dict[str, str | bytes | None] = {
    "a.txt": "a\n",
    ".gitignore": "deps/\n",
    ".gitmill/config.toml": "[worktree]\nshare = ['deps']\n",
}


def mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def begun(folder: Path) -> Path:
    """Wait until the code in one more slot has begun; return that slot."""
    deadline = time.monotonic() + 60
    while not (found := list(folder.glob("build-*/begun-*"))):
        assert time.monotonic() < deadline, "no agent has begun"
        time.sleep(0.02)
    found[0].unlink()
    return found[0].parent


@pytest.mark.slow
def test_both_see_their_own_tree_and_a_kill_leaves_no_mount(sandbox: Sandbox):
    name = AWKWARD + "x" * (200 - len(os.fsencode(AWKWARD)))
    repo: Repo = sandbox.repo(name, files=FILES)
    (repo.path / "deps").mkdir()
    (repo.path / "deps/dep").touch()
    assert gitmill(repo.path, "init").code == 0
    before, pool = mounts(), Mill.open(repo.path).pool.folder
    running = []
    for number in "12":
        task = new_task(
            repo.path, number, f"set -- {number}; echo {number} > {number}.txt; {WAITS}",
            "--criterion", f'$ test "$PWD" -ef . && grep {number} {number}.txt && test -e deps/dep',
        )  # fmt: skip
        argv = [sys.executable, "-m", "gitmill", "run", task]
        running.append(subprocess.Popen(argv, cwd=repo.path, stderr=subprocess.PIPE, text=True))
        slot = begun(pool)
        assert [path.name for path in slot.glob("[12].txt")] == [f"{number}.txt"]
    os.kill(running[0].pid, signal.SIGKILL)
    running[0].communicate()
    assert mounts() == before
    said = gitmill(repo.path, "recover")
    assert "continues at build" in said.out, said.err
    assert mounts() == before
    (slot / "go").touch()
    assert (running[1].wait(60), repo.git("show", "main:2.txt")) == (0, "2")
    running[1].communicate()
    again = subprocess.Popen(
        [sys.executable, "-m", "gitmill", "run"], cwd=repo.path, stderr=subprocess.PIPE, text=True
    )
    (begun(pool) / "go").touch()
    assert (again.communicate(timeout=60), again.returncode)[1] == 0
    assert repo.git("show", "main:1.txt") == "1"
    assert (repo.path / "2.txt").read_text() == "2\n"
    assert repo.git("status", "--porcelain") == ""
    assert mounts() == before
