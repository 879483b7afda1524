"""`gitmill.durability`: with `full` every write is flushed, by both backends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gitmill.errors import BadConfigError
from gitmill.git.repo import Repository
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
_CALLS = "trace=fsync,fdatasync,openat,open,creat,rename,renameat,renameat2,link,linkat"


def flushed(folder: Path, *args: str) -> tuple[set[str], set[str]]:
    """Run gitmill; return the new objects and refs by their paths in git, and those not flushed.

    A file counts as flushed when it was, under whichever name, before it got its last one.
    """
    logs = Path(tempfile.mkdtemp(dir=folder.parent))
    # A file for each process: in one for all, a call during which another one calls is cut in two.
    done = subprocess.run(
        ["strace", "-ff", "--seccomp-bpf", "-y", "-s", "4096", "-o", str(logs / "log"), "-e", _CALLS,
         sys.executable, "-m", "gitmill", *args],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("nothing may be traced here")
    assert done.returncode == 0, done.stderr
    synced, moved, unsynced = set[str](), set[str](), set[str]()
    for line in (line for log in logs.iterdir() for line in log.read_text().splitlines()):
        if found := re.search(r"f(?:data)?sync\(\d+<(.*)>\) += 0", line):
            synced.add(found[1])
        names = re.search(r"(?:rename|link)\w*\((.*)\) += 0", line)
        if names and (paths := re.findall(r'"([^"]*)"', names[1])) and len(paths) == 2:
            old, new = (os.path.normpath(folder / ".git" / path) for path in paths)
            name = new.rpartition("/.git/")[2]
            if re.match(r"objects/../[0-9a-f]{38}|refs/", name):
                moved.add(name)
                if not {old, new} & synced:
                    unsynced.add(name)
    return moved, unsynced


@pytest.fixture(params=["sha1", pytest.param("sha256", marks=pytest.mark.slow)])
def repo(sandbox: Sandbox, request: pytest.FixtureRequest) -> Repo:
    """With a git that is told to flush nothing by itself."""
    repo = sandbox.repo(object_format=request.param, files={"a.txt": "1\n", "b.txt": "2\n"})
    repo.git("config", "gitmill.durability", "full")
    assert gitmill(repo.path, "init").code == 0
    return repo


@pytest.mark.slow
def test_full_flushes_every_object_and_ref_of_a_task_to_landed(repo: Repo):
    """A task whose replay merges, so that every writer of gitmill's has something to write."""
    task = new_task(repo.path, "T", "echo 3 >> a.txt; mkdir d; echo 4 > d/new.txt")
    moved, unsynced = flushed(repo.path, "run", task, "--through", "approved")
    assert {f"refs/gitmill/work/{task}", "refs/heads/gitmill/state"} <= moved
    assert unsynced == set()
    repo.commit({"b.txt": "other\n"})
    moved, unsynced = flushed(repo.path, "queue", "land")
    assert {"refs/heads/main", "refs/notes/gitmill"} <= moved
    assert sum(name.startswith("objects/") for name in moved) > 10
    assert unsynced == set()


@pytest.mark.slow
def test_none_leaves_it_to_the_system(repo: Repo):
    repo.git("config", "gitmill.durability", "none")
    moved, unsynced = flushed(repo.path, "task", "new", "T")
    assert moved
    assert unsynced == moved


def test_anything_else_is_refused(repo: Repo):
    repo.git("config", "gitmill.durability", "often")
    opened = Repository.open(repo.path)
    for ask in (lambda: opened.objects, lambda: opened.writer, lambda: opened.durable):
        with pytest.raises(BadConfigError, match="must be full or none, not often"):
            ask()
    assert gitmill(repo.path, "status").code == 0  # reads need no durability
