"""The files that an attempt leaves are inspected before git reads them, which ends at a limit."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gitmill.errors import GitFailedError, GitKilledError, SpoiledWorktreeError
from gitmill.git import tree_walk, trees
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.workspace import read_tree
from gitmill.workspace.read_tree import taken_tree
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

pytestmark = pytest.mark.forges


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return sandbox.repo(files={"a.txt": "a\n", "src/b.txt": "b\n", ".gitignore": "out/\n*.log\n"})


@pytest.fixture
def mill(repo: Repo) -> Mill:
    assert gitmill(repo.path, "init").code == 0
    return Mill.open(repo.path)


@pytest.fixture
def slot(mill: Mill, repo: Repo):
    slot = mill.pool.acquire("build", lambda *_: None)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    yield slot
    slot.release()


def read(mill: Mill, repo: Repo, slot: Slot, **options) -> dict[str, bytes]:
    """Return the changed files of the worktree as they are read."""
    base = repo.tree()
    with taken_tree(mill, slot, base, **options) as taken:
        known = dict(trees.walk(mill.store.backend, base))
        files = dict(trees.walk(taken.objects, taken.tree))
        changed = {
            path for path in files.keys() | known.keys() if files.get(path) != known.get(path)
        }
        return {p: taken.objects.read(files[p].oid)[1] if p in files else b"-" for p in changed}


def test_new_changed_and_removed_files_are_read(mill: Mill, repo: Repo, slot: Slot):
    (slot.path / "new.txt").write_text("n\n")
    (slot.path / "a.txt").write_text("A\n")
    (slot.path / "src/b.txt").unlink()
    (slot.path / "out").mkdir()
    (slot.path / "out/x").write_text("ignored")
    assert read(mill, repo, slot) == {"new.txt": b"n\n", "a.txt": b"A\n", "src/b.txt": b"-"}


def test_nothing_is_in_the_repository_until_it_is_admitted(mill: Mill, repo: Repo, slot: Slot):
    (slot.path / "new.txt").write_text("kept out\n")
    oid = repo.git("hash-object", str(slot.path / "new.txt"))
    before = repo.git("count-objects", "-v")
    with taken_tree(mill, slot, repo.tree()) as taken:
        assert taken.objects.read(oid) == ("blob", b"kept out\n")
        assert repo.git("count-objects", "-v") == before
    read(mill, repo, slot)
    assert repo.git("count-objects", "-v") == before
    with taken_tree(mill, slot, repo.tree()) as taken:
        tree = taken.objects.admit(repo.tree(), taken.tree)
    assert repo.git("show", f"{tree}:new.txt") == "kept out"
    assert repo.git("fsck", "--connectivity-only", "--no-dangling") == ""


def special(kind: int) -> Callable[[Path], None]:
    return lambda path: os.mknod(path, kind | 0o600)


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)
        server.bind(path.name)


def nested(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def many(path: Path) -> None:
    path.mkdir()
    for number in range(read_tree.NEW_FILES + 1):
        (path / str(number)).touch()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


FIFO = os.mkfifo
ODD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a FIFO": ("pipe", FIFO, "pipe is a FIFO, which git cannot store"),
    "a FIFO for attributes": (".gitattributes", FIFO, ".gitattributes is no regular file"),
    "a FIFO for ignores": ("src/.gitignore", FIFO, "src/.gitignore is no regular file"),
    "a folder for ignores": ("src/.gitignore", Path.mkdir, "src/.gitignore is no regular file"),
    "a link for attributes": (".gitattributes", link, ".gitattributes is no regular file"),
    "a socket": ("s", sock, "s is a socket, which git cannot store"),
    "a terabyte": ("huge", sparse, "huge and other large files have 1099.5 GB; limit 1 GB"),
    "a terabyte in place of a file": ("a.txt", sparse, "a.txt and other large files have"),
    "many files": ("many", many, "20,002 new files; limit 20,000"),
    "deep folders": ("d", nested, "its folders are nested too deep"),
    "a name with a line break": ("a\nb", Path.touch, "has control characters: 'a\\nb'"),
    "a name with a colour": ("a\x1b[31mb", Path.touch, "has control characters: 'a\\x1b[31mb'"),
    "a second .git for HFS": (".g\u200cit", Path.mkdir, "invalid path"),
    "a second .git for NTFS": ("git~1", Path.mkdir, "invalid path"),
}  # fmt: skip


@pytest.mark.parametrize("odd", rest_slow(ODD, 4))
def test_an_odd_tree_is_refused_and_the_slot_serves_again(
    mill: Mill, repo: Repo, slot: Slot, odd: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(slot.path)
    name, make, why = ODD[odd]
    (slot.path / "good.txt").write_text("good\n")
    if name == "a.txt":
        (slot.path / name).unlink()
    make(slot.path / name)
    if "second" in odd:
        (slot.path / name / "config").write_text("x")
    slot.mark_used()
    began = time.monotonic()
    with pytest.raises(SpoiledWorktreeError, match=re.escape(why)):
        read(mill, repo, slot)
    kept = read(mill, repo, slot, lenient=True) if "invalid" not in why else {}
    assert set(kept) <= {"good.txt"}
    monkeypatch.chdir("/")
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert names(slot.path) == {".git", ".gitignore", "a.txt", "src"}
    assert names(slot.path / "src") == {"b.txt"}
    assert time.monotonic() - began < 60


def test_what_is_ignored_may_be_as_odd_as_it_likes(mill: Mill, repo: Repo, slot: Slot):
    (slot.path / "out").mkdir()
    os.mkfifo(slot.path / "out/pipe")
    sparse(slot.path / "out/huge")
    (slot.path / "new.txt").write_text("n\n")
    assert read(mill, repo, slot) == {"new.txt": b"n\n"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def hang(repo: Repo, slot: Slot) -> None:
    """Make git hang on a file: a filter of the user that never ends."""
    repo.git("config", "filter.slow.clean", "sleep 1000")
    (slot.path / ".gitattributes").write_text("*.slow filter=slow\n")
    (slot.path / "x.slow").write_text("x\n")


def test_git_ends_at_a_limit(mill: Mill, repo: Repo, slot: Slot, monkeypatch: pytest.MonkeyPatch):
    hang(repo, slot)
    monkeypatch.setattr(read_tree, "SECONDS", 1.0)
    with pytest.raises(SpoiledWorktreeError, match="git could not read the files"):
        read(mill, repo, slot)
    assert not sleeping()


def test_a_rescue_ends_sooner_and_leaves_the_work_for_the_next_one(
    mill: Mill, repo: Repo, slot: Slot, monkeypatch: pytest.MonkeyPatch
):
    hang(repo, slot)
    monkeypatch.setattr(read_tree, "RESCUE_SECONDS", 1.0)
    with pytest.raises(SpoiledWorktreeError, match="git could not read the files"):
        keep_worktree(mill, slot, "t-k3f9x", repo.git("rev-parse", "HEAD"))
    repo.git("config", "filter.slow.clean", "cat")
    monkeypatch.setattr(read_tree, "RESCUE_SECONDS", 60.0)
    ref = keep_worktree(Mill.open(repo.path), slot, "t-k3f9x", repo.git("rev-parse", "HEAD"))
    assert repo.git("show", f"{ref}:x.slow") == "x"


def test_git_ends_when_a_stop_is_requested(mill: Mill, repo: Repo, slot: Slot):
    hang(repo, slot)
    stop, claims = StopToken(), []

    def look() -> None:
        done = subprocess.run(["pgrep", "-f", "^sleep 1000"], capture_output=True, check=False)
        claims.extend(Path(f"/proc/{int(pid)}/environ").read_bytes() for pid in done.stdout.split())
        stop.request()

    threading.Timer(1.0, look).start()
    with pytest.raises(KeyboardInterrupt):
        read(mill, repo, slot, claim="c-1", stop=stop)
    assert not sleeping()
    assert b"GITMILL_CLAIM=c-1" in claims[0].split(b"\0")  # by which `recover` finds it


def sleeping() -> bool:
    done = subprocess.run(["pgrep", "-f", "^sleep 1000"], capture_output=True, check=False)
    return done.returncode == 0


def test_a_killed_git_is_not_the_attempts_fault(mill: Mill, repo: Repo, slot: Slot):
    """It was asked what is ignored: no answer is not that nothing is."""
    exclude = repo.git_dir / "info/exclude"
    exclude.unlink(missing_ok=True)
    os.mkfifo(exclude)  # so git waits until it is killed
    os.mkfifo(slot.path / "odd.log")

    def kill() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    argv = (folder / "cmdline").read_bytes().split(b"\0")
                    is_ours = os.fsencode(repo.git_dir) in (folder / "environ").read_bytes()
                    if argv[0] == b"git" and b"check-ignore" in argv and is_ours:
                        os.kill(int(folder.name), signal.SIGKILL)
                        return
            time.sleep(0.01)

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(GitKilledError, match="check-ignore"):
        read(mill, repo, slot)
    killing.join()


def test_a_filter_of_the_user_that_fails_is_not_the_attempts_fault(
    mill: Mill, repo: Repo, slot: Slot
):
    repo.git("config", "filter.bad.clean", "false")
    repo.git("config", "filter.bad.required", "true")
    (slot.path / ".gitattributes").write_text("*.bad filter=bad\n")
    (slot.path / "x.bad").write_text("x\n")
    with pytest.raises(GitFailedError):
        read(mill, repo, slot)


def test_code_that_git_runs_there_can_write_nothing(
    mill: Mill, repo: Repo, slot: Slot, monkeypatch: pytest.MonkeyPatch
):
    """A filter has the agent's files as its input."""
    monkeypatch.delenv("TESTS_WRITABLE")
    if not read_tree.sandbox.reading(mill, slot):
        pytest.skip("there is no sandbox on this machine")
    mine = repo.path / "mine.txt"
    repo.git("config", "filter.evil.clean", f"sh -c 'cat; echo x > {mine}; echo x > {slot.path}/y'")
    (slot.path / ".gitattributes").write_text("*.evil filter=evil\n")
    (slot.path / "x.evil").write_text("x\n")
    assert "x.evil" in read(mill, repo, slot)
    assert not mine.exists()
    assert not (slot.path / "y").exists()


DEEP = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
SCRIPTS = {
    "FIFOs": "rm -f .gitattributes; mkfifo .gitattributes pipe",
    "a FIFO for ignores": "rm -f .gitignore; mkfifo .gitignore",
    "a folder for ignores": "rm -f .gitignore; mkdir .gitignore",
    "a link for attributes": "ln -s /dev/zero .gitattributes",
    "a socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'",
    "a terabyte": "truncate -s 1T huge",
    "many files": "mkdir m; cd m; seq 20001 | xargs touch",
    "deep folders": f'python3 -c "{DEEP}"',
    "a name with a colour": "echo x > \"$(printf 'a\\033[31mb')\"",
    "a second .git for HFS": "d=.g$(printf '\\342\\200\\214')it; mkdir $d; echo x > $d/config",
    "a second .git for NTFS": "mkdir git~1; echo x > git~1/config",
}


@pytest.mark.parametrize("odd", rest_slow(SCRIPTS, 1))
@pytest.mark.parametrize("fenced", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_ends_by_itself_and_an_innocent_task_lands(
    sandbox: Sandbox, odd: str, *, fenced: bool
):
    repo = begun(sandbox)
    if not fenced:
        repo.unfence()
    bad = new_task(repo.path, "Odd", SCRIPTS[odd])
    good = new_task(repo.path, "Innocent", "echo new > new.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 1
    assert '"the worktree cannot be read: ' in said.err
    items = gitmill(repo.path, "task", "list", "--all", "--json").json["items"]
    assert {item["id"]: item["status"] for item in items} == {bad: "blocked", good: "landed"}


def test_an_interrupt_ends_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(1200):
        (tmp_path / str(number)).touch()
    stop = StopToken()
    stop.request()
    with pytest.raises(KeyboardInterrupt):
        tree_walk.walk(tmp_path, tick=stop.raise_if_requested)
    monkeypatch.setattr(tree_walk, "MAX_ENTRIES", 100)
    assert tree_walk.walk(tmp_path).exceeded == "it has more than 100 files and folders"
