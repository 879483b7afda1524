"""What was left by processes that nobody saw die."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import begun
from tests.support.crash_cases import Server
from tests.support.crash_live import Live
from tests.support.repos import Sandbox

EVENT = "made up\n\nGitmill-Event: edited\nGitmill-Id: 0123456789abcdef\n"


@pytest.fixture
def live(sandbox: Sandbox, server: Server) -> Iterator[Live]:
    live = Live(begun(sandbox), server)
    yield live
    live.close()


@pytest.mark.slow
def test_locks_on_our_refs_are_waited_for_and_then_moved_aside(live: Live):
    task = live.new_task("Change", "echo x > x.txt")
    refs = ("refs/heads/gitmill/state", "refs/notes/gitmill", f"refs/gitmill/work/{task}")
    locks = [live.repo.git_dir / f"{ref}.lock" for ref in refs]
    for lock in locks:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    said = live.gitmill("run")
    assert said.code == 0, said.err
    assert live.item(task)["status"] == "landed"
    assert not any(lock.exists() for lock in locks)
    assert len(list((live.repo.git_dir / "gitmill/stale").iterdir())) == 3


def test_locks_on_the_users_refs_are_theirs(live: Live):
    live.new_task("Change", "echo x > x.txt")
    lock = live.repo.git_dir / "refs/heads/main.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    live.gitmill("run")
    assert live.gitmill("recover").code == 0
    assert lock.exists()


def test_a_worktree_that_cannot_be_saved_is_left_alone_and_told(live: Live):
    task = live.new_task("Change", "pwd; echo x > x.txt")
    assert live.gitmill("run").code == 0
    slot = pool(live) / "build-1"
    (slot / "precious.txt").write_text("precious")
    (slot.parent / "build-1.d/holder").write_text(f"{task} {live.repo.git('rev-parse', 'main')}\n")
    (slot.parent / "build-1.d/index").write_bytes(b"broken")
    said = live.gitmill("recover")
    assert said.out.startswith(f"could not save the work in {slot}, so the worktree stays: ")
    other = live.new_task("Other", "pwd; echo y > y.txt")
    assert live.gitmill("run").code == 0
    assert "x.txt" not in build_log(live, other)
    assert (pool(live) / "build-2/y.txt").exists()
    assert (slot / "precious.txt").read_text() == "precious"


def test_a_worktree_that_became_a_repository_is_made_anew(live: Live):
    live.repo.unfence()
    live.new_task("Change", "rm -r .git; git init -q .; echo x > x.txt; git add .")
    assert live.gitmill("run").code == 0
    other = live.new_task("Other", "pwd; echo y > y.txt")
    assert live.gitmill("run").code == 0
    assert f"{pool(live)}/build-1\n" in build_log(live, other)
    assert live.repo.git("ls-tree", "--name-only", "main").split() == [
        "README.md",
        "x.txt",
        "y.txt",
    ]


def test_a_cancel_that_the_end_of_a_landing_missed_is_made_up_for(live: Live):
    """A death between the two commits that a landing which was to be cancelled ends with."""
    task = live.new_task("Change", "echo x > x.txt")
    assert live.gitmill("run", "--through", "approved").code == 0
    path = f"tasks/{task[2:4]}/{task}.md"
    text = live.repo.git("show", f"gitmill/state:{path}") + "\n"
    write_state(live, path, text.replace("\n---\n", "\ncancel_requested: true\n---\n", 1))
    assert f"{task} was cancelled as requested" in live.gitmill("recover").out
    assert live.item(task)["status"] == "cancelled"


def test_stop_kills_nobody_who_only_has_the_same_number(live: Live):
    """A lease of another container names a process by a number that here is another one's."""
    task = live.new_task("Change", "echo x > x.txt")
    with subprocess.Popen(["sleep", "987"]) as stranger:
        listed = live.repo.git_dir / "gitmill/working"
        listed.mkdir(parents=True, exist_ok=True)
        facts = {"host": os.uname().nodename, "boot": "b", "pidns": "p", "started": "1"}
        (listed / "one.json").write_text(json.dumps(facts | {"pid": stranger.pid}))
        path = f"tasks/{task[2:4]}/{task}.md"
        lease = facts | {"pid": stranger.pid, "claim": "c", "who": "w"}
        lease["until"] = "2999-01-01T00:00:00Z"
        text = live.repo.git("show", f"gitmill/state:{path}") + "\n"
        text = text.replace('status: "ready"', f'status: "running"\nlease: {json.dumps(lease)}')
        write_state(live, path, text)
        try:
            assert live.gitmill("stop").code == 0
            assert stranger.poll() is None
            assert live.item(task)["status"] == "running"
        finally:
            stranger.kill()


def pool(live: Live) -> Path:
    (folder,) = Path(os.environ["XDG_STATE_HOME"], "gitmill").iterdir()
    assert folder.name.startswith(live.repo.path.name)
    return folder


def build_log(live: Live, task: str) -> str:
    return live.repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/001-build.md")


def write_state(live: Live, path: str, text: str) -> None:
    """Commit a file to the state branch as gitmill would: what hands commit is put back."""
    repo = live.repo
    blob = repo.git("hash-object", "-w", "--stdin", stdin=text.encode())
    index = {"GIT_INDEX_FILE": str(repo.path.parent / "index")}
    for argv in (
        ("read-tree", "gitmill/state"),
        ("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}"),
    ):
        subprocess.run(["git", *argv], cwd=repo.path, env=os.environ | index, check=True)
    tree = subprocess.run(
        ["git", "write-tree"], cwd=repo.path, env=os.environ | index, check=True,
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    new = repo.git("commit-tree", "-p", "gitmill/state", "-m", EVENT, tree)
    repo.git("update-ref", "refs/heads/gitmill/state", new)
