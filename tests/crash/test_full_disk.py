"""A killed attempt that has filled the disk: recovery itself needs no room there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk"),
]

# Everything is on the small disk: the repository, its private folder, the worktrees.
SCRIPT = """
set -e
mount -t tmpfs -o size=40m tmpfs "$DISK"
cp -a "$REPO" "$DISK/repo"
cd "$DISK/repo"
git config gitmill.worktreeRoot "$DISK/pool"
head -c 300000 /dev/zero > "$DISK/filler"
"$PYTHON" -m gitmill run > "$WORD/run" 2>&1 &
pid=$!
i=0
until test -e "$WORD/full"; do sleep 0.05; i=$((i+1)); test $i -lt 1800; done
kill -9 $pid
wait $pid || true
recover() { code=0; "$PYTHON" -m gitmill recover > "$WORD/$1" 2>&1 || code=$?; echo $code >> "$WORD/$1"; }
recover first
rm "$DISK/filler"
recover second
df --output=avail -k "$DISK" | tail -1 > "$WORD/room"
"$PYTHON" -m gitmill task show $TASK --json > "$WORD/item"
git show-ref > "$WORD/refs" || true
ls -R "$DISK/pool" > "$WORD/pool"
"""


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.unfence()
    assert gitmill(repo.path, "init").code == 0
    return repo


def killed(repo: Repo, fill: str) -> Path:
    """Kill a run whose script has filled the disk, and recover twice; return the outputs."""
    word, disk = repo.path.parent / "word", repo.path.parent / "disk"
    word.mkdir()
    disk.mkdir()
    script = f"echo half > half.txt\n{fill} || true\ntouch {word}/full\nsleep 600"
    task = new_task(repo.path, "Fill", script)
    env = os.environ | {
        "DISK": str(disk), "REPO": str(repo.path), "WORD": str(word), "TASK": task,
        "PYTHON": sys.executable,
    }  # fmt: skip
    argv = ["unshare", "-m", "sh", "-c", SCRIPT]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return word


def test_recovery_frees_the_disk_that_a_dead_attempt_has_filled(repo: Repo):
    word = killed(repo, 'head -c 60000000 /dev/zero > "$TMPDIR/zeros"')
    said = (word / "first").read_text()
    assert said.endswith("\n0\n"), said
    assert "continues at build" in said
    assert "saved the work in a worktree of" in said
    assert "refs/gitmill/rescue/" in (word / "refs").read_text()
    assert '"status": "ready"' in (word / "item").read_text()
    assert int((word / "room").read_text()) > 30_000
    assert "zeros" not in (word / "pool").read_text()


def test_work_that_cannot_be_saved_for_lack_of_space_stays(repo: Repo):
    word = killed(repo, "head -c 60000000 /dev/urandom > big")
    first, second = ((word / name).read_text() for name in ("first", "second"))
    assert "error[storage]" in first
    assert not first.endswith("\n0\n")
    assert "could not save the work in" in second, second
    assert "so the worktree stays" in second
    assert "big" in (word / "pool").read_text()
    assert '"status": "ready"' in (word / "item").read_text()
