"""`gitmill uninit`: no trace but a bundle that holds everything, whenever it is killed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.flows.init import init
from gitmill.flows.run import RunRequest, run
from gitmill.flows.take import take
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox

pytestmark = pytest.mark.forges  # what is damaged here is no true history


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "one\n", "pytest.ini": ""})
    repo.git("config", "notes.rewriteRef", "refs/notes/mine")
    repo.commit({"a.txt": "two\n"})
    repo.write({"b.txt": "mine\n"})
    return repo


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
    }


def traces(repo: Repo, home: Path) -> dict[str, object]:
    """All that could tell that gitmill was here, objects left aside."""
    git = {n: c for n, c in files(repo.git_dir).items() if not n.startswith("objects/")}
    git.pop("index", None)  # `git status` refreshes its times
    work = {n: c for n, c in files(repo.path).items() if not n.startswith(".git/")}
    return {
        "git": git, "work": work, "state": files(home / "state"),
        "status": repo.git("status", "--porcelain=v2", "--branch", "--ignored"),
        "index": repo.git("ls-files", "-s"),
        "reflogs": repo.git("reflog", "--all"),
        "worktrees": repo.git("worktree", "list"),
    }  # fmt: skip


def begun(repo: Repo, *, land: bool = False) -> str:
    """Gitmill at work: a task that was built and reviewed, the way it works in a user's day."""
    mill = Mill.open(repo.path)
    init(mill)
    repo.git("config", "gitmill.durability", "none")
    mill = Mill.open(repo.path)
    task = new_task(mill, NewTask(title="T", script="echo x >> a.txt", criteria=["$ true"]),
                    ready=True)  # fmt: skip
    through = "landed" if land else "approved"
    run(mill, RunRequest(through=through), lambda _: None, lambda _: None)
    return task.id


def refs(repo: Repo) -> str:
    return repo.git("for-each-ref", "refs/heads/gitmill", "refs/gitmill", "refs/notes/gitmill")


def test_nothing_is_left_and_the_bundle_restores_everything(repo: Repo, sealed: Path):
    before = traces(repo, sealed)
    task = begun(repo)
    held, board = refs(repo), gitmill(repo.path, "status", "--json").json["items"]
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code == 0, said.err
    bundle = said.out.strip()
    assert Path(bundle).parent == repo.path.parent
    assert traces(repo, sealed) == before
    assert said.err.endswith(f"next: `git fetch {bundle} 'refs/*:refs/*'`, then `gitmill init`\n")
    repo.git("gc", "-q", "--prune=now")
    repo.git("fetch", "-q", bundle, "refs/*:refs/*")
    assert refs(repo) == held
    assert gitmill(repo.path, "status", "--json").json["items"] == board
    assert gitmill(repo.path, "init").code == 0
    assert gitmill(repo.path, "run", task).code == 0
    assert repo.git("show", "main:a.txt") == "two\nx"


def test_the_bundle_needs_no_other_repository(repo: Repo, sandbox: Sandbox):
    begun(repo, land=True)
    held = refs(repo)
    assert "refs/notes/gitmill" in held
    bundle = gitmill(repo.path, "uninit", "--yes").out.strip()
    other = Repo(sandbox.root / "other")
    subprocess.run(["git", "init", "-q", str(other.path)], check=True)
    other.git("fetch", "-q", bundle, "refs/*:refs/*")
    assert refs(other) == held
    other.git("fsck", "--strict")


def test_what_landed_stays_and_what_is_committed_is_the_users(repo: Repo):
    repo.commit({".gitmill/config.toml": "[checks]\nt = 'true'\n"})
    begun(repo, land=True)
    tip = repo.git("rev-parse", "main")
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code == 0, said.err
    assert "the committed folder .gitmill is yours" in said.err
    assert (repo.path / ".gitmill/config.toml").exists()
    assert repo.git("rev-parse", "main") == tip
    assert repo.git("show", "main:a.txt") == "two\nx"
    assert repo.git("status", "--porcelain") == ""


def test_a_policy_that_somebody_has_changed_stays(repo: Repo):
    begun(repo)
    policy = repo.path / ".gitmill/config.toml"
    policy.write_text(policy.read_text() + "# mine\n")
    assert gitmill(repo.path, "uninit", "--yes").code == 0
    assert policy.read_text().endswith("# mine\n")


@pytest.mark.slow
def test_it_asks_first(repo: Repo, sealed: Path):
    begun(repo)
    before = traces(repo, sealed)
    for more in ((), ("--json",), ("--no-input",)):
        said = gitmill(repo.path, "uninit", *more)
        assert said.code == 2
        assert (
            "uninit asks before it removes anything, and there is no terminal to ask on" in said.err
        )
        assert "confirm with `gitmill uninit --yes`" in said.err
    code, told = on_a_terminal(repo, "n\n")
    assert (code, "nothing was removed" in told) == (0, True)
    assert traces(repo, sealed) == before
    code, told = on_a_terminal(repo, "y\n")
    assert (code, "the bundle holds everything" in told) == (0, True)
    assert refs(repo) == ""


def on_a_terminal(repo: Repo, typed: str) -> tuple[int, str]:
    """Run uninit with a terminal as its standard input."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = subprocess.run([sys.executable, "-m", "gitmill", "uninit"], cwd=repo.path, stdin=theirs,
                          capture_output=True, text=True, check=False)  # fmt: skip
    os.close(ours)
    os.close(theirs)
    return done.returncode, done.stderr


def test_it_goes_where_it_is_told_and_overwrites_nothing(repo: Repo):
    begun(repo)
    place = repo.path.parent / "kept.bundle"
    place.write_text("another file")
    said = gitmill(repo.path, "uninit", "--yes", "--bundle", "../kept.bundle")
    assert said.code == 2
    assert "already exists; nothing was removed" in said.err
    assert place.read_text() == "another file"
    assert refs(repo)
    said = gitmill(repo.path, "uninit", "--yes", "--bundle", "../other.bundle")
    assert said.code == 0, said.err
    assert Path(said.out.strip()).resolve() == repo.path.parent / "other.bundle"


@pytest.mark.slow
def test_twice_there_is_nothing(repo: Repo):
    begun(repo)
    assert gitmill(repo.path, "uninit", "--yes").code == 0
    said = gitmill(repo.path, "uninit", "--yes")
    assert (said.code, said.err) == (
        5, "error[nothing-to-do]: gitmill has left no trace in this repository\n"
    )  # fmt: skip


@pytest.mark.slow
def test_not_while_something_runs(repo: Repo):
    begun(repo)
    script = "touch began; until test -e go; do sleep 0.05; done; echo y >> a.txt"
    task = gitmill(repo.path, "task", "new", "Long", "--script", script, "--criterion", "$ true",
                   "--ready").out.strip()  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "gitmill", "run", task], cwd=repo.path, stderr=subprocess.DEVNULL
    )
    pool = Mill.open(repo.path).pool.folder
    try:
        while not list(pool.glob("build-*/began")):
            assert running.poll() is None
        held = refs(repo)
        said = gitmill(repo.path, "uninit", "--yes")
        assert said.code == 4
        assert said.err.startswith(
            f"error[leased]: gitmill is running in this repository (process {running.pid})"
        )
        assert refs(repo) == held
        for slot in pool.glob("build-*"):
            if slot.is_dir() and not slot.name.endswith(".d"):
                (slot / "go").touch()
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
    assert gitmill(repo.path, "uninit", "--yes").code == 0


def test_not_while_a_person_works_and_their_work_is_saved(repo: Repo, sandbox: Sandbox):
    begun(repo)
    mill = Mill.open(repo.path)
    task = new_task(mill, NewTask(title="Mine", criteria=["$ true"])).id
    _, folder = take(mill, task)
    (folder / "mine.txt").write_text("by hand\n")
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code == 4
    assert f"{task} is held by Ada" in said.err
    gitmill(repo.path, "task", "block", task, "-m", "enough")
    bundle = gitmill(repo.path, "uninit", "--yes").out.strip()
    assert not folder.exists()
    other = sandbox.repo("other")
    other.git("fetch", "-q", bundle, "refs/*:refs/*")
    assert other.git("show", f"refs/gitmill/rescue/{task}/1:mine.txt") == "by hand"


def test_not_while_the_state_is_checked_out(repo: Repo):
    begun(repo)
    repo.git("worktree", "add", "-q", str(repo.path.parent / "state"), "gitmill/state")
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code == 3
    assert "gitmill/state is checked out in" in said.err
    assert refs(repo)


@pytest.mark.parametrize("content", [b"2\n", None])
def test_a_state_that_this_version_cannot_read_goes_into_the_bundle(repo: Repo, content):
    begun(repo)
    tree = ""
    if content is not None:
        blob = repo.git("hash-object", "-w", "--stdin", stdin=content)
        tree = f"100644 blob {blob}\tformat\n"
    tree = repo.git("mktree", stdin=tree.encode())
    commit = repo.git("commit-tree", tree, "-p", "gitmill/state", "-m", "newer")
    repo.git("update-ref", "refs/heads/gitmill/state", commit)
    held = refs(repo)
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code == 0, said.err
    assert refs(repo) == ""
    repo.git("fetch", "-q", said.out.strip(), "refs/*:refs/*")
    assert refs(repo) == held


def test_what_cannot_be_bundled_is_not_removed(repo: Repo, sealed: Path):
    task = begun(repo)
    work = repo.git("rev-parse", f"refs/gitmill/work/{task}^{{tree}}")
    (repo.git_dir / "objects" / work[:2] / work[2:]).unlink()
    held = refs(repo)
    said = gitmill(repo.path, "uninit", "--yes")
    assert said.code != 0
    assert refs(repo) == held
    assert not list(repo.path.parent.glob("*.bundle"))
    assert not list(repo.path.parent.glob(".*.bundle*"))
