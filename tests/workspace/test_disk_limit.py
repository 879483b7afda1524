"""What slots, homes and caches take on this machine stays below `[worktree] max_disk`."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitmill.config import Policy
from gitmill.failpoints import VARIABLE
from gitmill.git.locks import try_lock
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.workspace import agent_homes, download_caches
from gitmill.workspace.disk_limit import keep_within, make_room, total
from gitmill.workspace.disk_use import SIZES, measured
from gitmill.workspace.open_workspace import open_workspace
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

MEGABYTE = 10**6
STEPS = 10  # outside effects of a `gc` that removes a slot with work and a cache
NEXT = 3 * MEGABYTE  # room for one slot of two megabytes, not for two


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    policy = {".gitmill/config.toml": '[worktree]\nmax_disk = "3MB"\n'}
    return begun(sandbox, files={"a.txt": "one\n"}, then=policy)


@pytest.fixture
def mill(repo: Repo) -> Mill:
    return Mill.open(repo.path)


def idle_slot(mill: Mill, kind: str, *, hours: float, holder: str = "") -> Slot:
    """Return a slot of two megabytes, free, that was used some hours ago."""
    slot = held_slot(mill, kind, hours=hours, holder=holder)
    slot.release()
    return slot


def held_slot(mill: Mill, kind: str, *, hours: float, holder: str = "") -> Slot:
    slot = mill.pool.acquire(kind, lambda *_: None)
    slot.prepare(head(mill), holder=holder)
    fill(slot.path / "big.bin", 2 * MEGABYTE)
    age(slot.side, hours)
    return slot


def head(mill: Mill) -> str:
    return mill.target_tip(mill.snapshot())


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def age(folder: Path, hours: float) -> None:
    """Set the time of everything in a folder, and its own."""
    then = time.time() - hours * 3600
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def cache(mill: Mill, name: str, *, hours: float) -> Path:
    folder = mill.pool.folder / download_caches.FOLDER / name
    fill(folder / "deep/file.bin", 2 * MEGABYTE)
    age(folder, hours)
    return folder


def home(mill: Mill, item: str, *, hours: float) -> Path:
    folder = mill.pool.folder / agent_homes.FOLDER / item
    fill(folder / "tool/session.bin", 2 * MEGABYTE)
    age(folder, hours)
    return folder


def removed(mill: Mill, limit: int = NEXT) -> list[str]:
    return [one.name for one in make_room(mill, limit, lambda _: None)]


def rescued(repo: Repo, task: str, path: str) -> str:
    return repo.git("show", f"{layout.RESCUE}{task}/1:{path}")


# What is removed


def test_of_two_idle_slots_the_older_one_is_removed(repo: Repo, mill: Mill):
    one = held_slot(mill, "build", hours=1)
    two = idle_slot(mill, "build", hours=2)
    one.release()
    assert removed(mill) == ["build-2"]
    assert one.path.is_dir()
    assert not two.path.exists()
    assert not two.side.exists()
    assert repo.git("worktree", "list").count("\n") == 1
    assert removed(mill) == []


def test_a_slot_in_use_stays_however_old_it_is(mill: Mill):
    old = held_slot(mill, "build", hours=9)
    new = idle_slot(mill, "build", hours=1)
    assert removed(mill) == ["build-2"]
    assert (old.path / "big.bin").exists()
    assert not new.path.exists()
    assert removed(mill, limit=MEGABYTE) == []  # more than the limit, and no error
    old.release()
    assert removed(mill, limit=MEGABYTE) == ["build-1"]


def test_a_slot_that_was_removed_is_made_again(repo: Repo, mill: Mill):
    idle_slot(mill, "build", hours=1)
    assert removed(mill, limit=1) == ["build-1"]
    slot = mill.pool.acquire("build", lambda *_: None)
    assert slot.path.name == "build-1"
    slot.prepare(head(mill))
    assert (slot.path / "a.txt").read_text() == "one\n"
    slot.release()


def test_the_work_of_a_killed_process_is_saved_first(repo: Repo, mill: Mill):
    task = new_task(repo.path, "Killed", "true")
    slot = idle_slot(mill, "build", hours=3, holder=task)
    (slot.path / "a.txt").write_text("work\n")
    said: list[str] = []
    assert [one.name for one in make_room(mill, MEGABYTE, said.append)] == ["build-1"]
    assert said == [f"saved the work in a worktree of {task} as {layout.RESCUE}{task}/1"]
    assert rescued(repo, task, "a.txt") == "work"
    assert not slot.path.exists()


def test_a_slot_stays_if_its_work_cannot_be_saved(repo: Repo, mill: Mill):
    task = new_task(repo.path, "Stuck", "true")
    slot = idle_slot(mill, "build", hours=3, holder=task)
    (slot.path / "a.txt").write_text("work\n")
    index = (slot.side / "index").read_bytes()
    (slot.side / "index").write_bytes(b"no index")
    idle_slot(mill, "clean", hours=1)
    said: list[str] = []
    assert [one.name for one in make_room(mill, MEGABYTE, said.append)] == ["clean-1"]
    assert said[0].startswith("could not remove the slot build-1, so it stays: ")
    assert (slot.path / "a.txt").read_text() == "work\n"
    (slot.side / "index").write_bytes(index)
    assert removed(mill, limit=MEGABYTE) == ["build-1"]
    assert rescued(repo, task, "a.txt") == "work"


def test_a_persons_worktree_stays_while_the_item_can_continue(repo: Repo, mill: Mill):
    task = gitmill(repo.path, "task", "new", "By hand", "--criterion", "$ true").out.strip()
    folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
    (folder / "a.txt").write_text("mine\n")
    age(mill.pool.folder / f"{folder.name}.d", 99)
    assert removed(mill, limit=1) == []
    assert gitmill(repo.path, "task", "cancel", task).code == 0
    assert removed(mill, limit=1) == [folder.name]
    assert not folder.exists()
    assert rescued(repo, task, "a.txt") == "mine"


@pytest.mark.slow
def test_nobody_gets_a_persons_worktree_that_is_half_removed(repo: Repo, mill: Mill):
    repo.commit({".gitmill/config.toml": '[worktree]\nmax_disk = "1KB"\n'})
    for point in range(14, 0, -1):  # the last effect is the removal
        task = new_task(repo.path, f"By hand {point}", "true")
        folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
        (folder / "a.txt").write_text(f"mine {point}\n")
        assert gitmill(repo.path, "task", "cancel", task).code == 0
        died = gitmill(repo.path, "gc", env={VARIABLE: f"before:{point}"})
        if died.code != 0 and not (mill.pool.folder / f"{folder.name}.d/onto").exists():
            break
        assert gitmill(repo.path, "gc").code == 0
    (folder / "a.txt").unlink()  # so far came the removal
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    again = Path(gitmill(repo.path, "task", "take", task).out.strip())
    assert (again / "a.txt").read_text() == "one\n"
    assert rescued(repo, task, "a.txt") == f"mine {point}"


@pytest.mark.slow
def test_a_slot_that_was_used_meanwhile_stays(repo: Repo, mill: Mill):
    task = new_task(repo.path, "Killed", "true")
    first = idle_slot(mill, "build", hours=3, holder=task)
    (first.path / "a.txt").write_text("work\n")
    second = idle_slot(mill, "clean", hours=2)
    gone = make_room(mill, MEGABYTE, lambda _: second.mark_used())
    assert [one.name for one in gone] == ["build-1"]
    assert second.path.is_dir()


def test_the_least_recently_used_cache_goes_as_a_whole(mill: Mill):
    old, new = cache(mill, "npm", hours=50), cache(mill, "pip", hours=30)
    assert removed(mill) == ["npm"]
    assert not old.exists()
    assert (new / "deep/file.bin").exists()


def test_caches_stay_while_a_workspace_could_read_them(mill: Mill):
    folder = cache(mill, "pip", hours=50)
    with open_workspace(
        mill, Policy(), head(mill), kind="clean", claim="c0ffee00", stop=StopToken()
    ):
        assert removed(mill, limit=1) == []
        assert (folder / "deep/file.bin").exists()
    assert "pip" in removed(mill, limit=1)


def test_a_half_removed_cache_does_not_stay(mill: Mill):
    folder = cache(mill, "pip", hours=50)
    aside = folder.rename(folder.with_name("pip.removed"))
    assert removed(mill) == []
    assert not aside.exists()


def test_homes_go_with_their_item_and_not_before(repo: Repo, mill: Mill):
    live, dead = (new_task(repo.path, name, "true") for name in ("Live", "Dead"))
    kept, gone = home(mill, live, hours=50), home(mill, dead, hours=9)
    assert removed(mill, limit=1) == []
    assert gitmill(repo.path, "task", "cancel", dead).code == 0
    in_use = try_lock(gone / "tool.lock")
    assert in_use is not None
    assert removed(mill, limit=1) == []
    os.close(in_use)
    assert removed(mill, limit=1) == [dead]
    assert kept.is_dir()
    assert not gone.exists()


# Kills


@pytest.mark.parametrize("point", rest_slow(range(2 * STEPS + 1), 1))
def test_a_kill_at_any_point_loses_no_work(repo: Repo, mill: Mill, point: int):
    repo.commit({".gitmill/config.toml": '[worktree]\nmax_disk = "1KB"\n'})
    task = new_task(repo.path, "Killed", "true")
    slot = idle_slot(mill, "build", hours=3, holder=task)
    (slot.path / "a.txt").write_text("work\n")
    folder = cache(mill, "pip", hours=1)
    word = f"{'after' if point % 2 else 'before'}:{point // 2 + 1}"
    died = gitmill(repo.path, "gc", env={VARIABLE: word}).code != 0
    assert died is (point < 2 * STEPS)
    assert has_work(repo, slot, task)
    for lock in repo.git_dir.rglob("*.lock"):  # while one is new, its git could be alive
        os.utime(lock, (0, 0))
    assert gitmill(repo.path, "gc").code == 0
    assert all_rescued(repo, task) == ["work"]
    assert not slot.path.exists()
    assert not any(folder.parent.glob("pip*"))


def has_work(repo: Repo, slot: Slot, task: str) -> bool:
    if "work" in all_rescued(repo, task):
        return True
    there = (slot.path / "a.txt").read_text() == "work\n"
    return there and (slot.side / "holder").read_text().startswith(task)


def all_rescued(repo: Repo, task: str) -> list[str]:
    refs = repo.git("for-each-ref", "--format=%(refname)", f"{layout.RESCUE}{task}").split()
    return [repo.git("show", f"{ref}:a.txt") for ref in refs]


# What it costs


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the names of the folders that are measured."""
    from gitmill.git import disk
    from gitmill.workspace import disk_use

    names: list[str] = []

    def measure(folder: Path) -> disk.Measured:
        names.append(folder.name)
        return disk.measure(folder)

    with monkeypatch.context() as patched:
        patched.setattr(disk_use, "measure", measure)
        yield names


def a_minute_later(mill: Mill) -> None:
    age(mill.pool.folder / SIZES, 0.1)


def test_a_slot_is_measured_only_after_it_was_used(mill: Mill, monkeypatch: pytest.MonkeyPatch):
    slot = idle_slot(mill, "build", hours=1)
    with counted(monkeypatch) as names:
        keep_within(mill, 10**9)
        assert names == ["build-1", "build-1.d"]
        a_minute_later(mill)
        keep_within(mill, 10**9)
        assert len(names) == 2
        fill(slot.path / "more.bin", MEGABYTE)
        slot.mark_used()
        keep_within(mill, 10**9)  # this was done a moment ago
        assert len(names) == 2
        a_minute_later(mill)
        keep_within(mill, 10**9)
        assert len(names) == 4
    assert 3 * MEGABYTE < total(measured(mill)) < 4 * MEGABYTE


def test_a_new_limit_applies_to_the_next_workspace(mill: Mill):
    slot = idle_slot(mill, "build", hours=1)
    keep_within(mill, 10**9)
    assert slot.path.is_dir()
    keep_within(mill, MEGABYTE)
    assert not slot.path.exists()


def test_what_is_in_use_is_measured_again_when_it_is_free(mill: Mill):
    slot = held_slot(mill, "build", hours=1)
    keep_within(mill, 10**9)
    fill(slot.path / "more.bin", MEGABYTE)
    slot.release()
    assert total(measured(mill)) > 3 * MEGABYTE


@pytest.mark.parametrize("record", [b"", b"x y z\n", b"1 2", b"\xff" * 99])
def test_a_damaged_record_of_a_size_does_not_count(mill: Mill, record: bytes):
    idle_slot(mill, "build", hours=1)
    keep_within(mill, 10**9)
    (path,) = (each for each in (mill.pool.folder / SIZES).iterdir() if each.name != "lock")
    path.write_bytes(record)
    assert total(measured(mill)) > 2 * MEGABYTE


def test_no_size_is_written_through_a_link(mill: Mill, tmp_path: Path):
    idle_slot(mill, "build", hours=1)
    (tmp_path / "mine").write_text("mine")
    (mill.pool.folder / SIZES).mkdir()
    (mill.pool.folder / SIZES / "slot-build-1").symlink_to(tmp_path / "mine")
    keep_within(mill, NEXT)
    assert (tmp_path / "mine").read_text() == "mine"


# When it is applied


def test_a_run_removes_what_is_too_much_before_it_opens_a_workspace(repo: Repo, mill: Mill):
    old = [idle_slot(mill, kind, hours=9) for kind in ("other", "clean")]
    slow = held_slot(mill, "build", hours=99)
    task = new_task(repo.path, "Run", "echo two > a.txt")
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:a.txt") == "two"
    assert not old[0].path.exists()
    assert (slow.path / "big.bin").exists()
    slow.release()
    assert gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"] == "landed"


def test_two_processes_do_not_remove_for_the_same_room(mill: Mill):
    slot = idle_slot(mill, "build", hours=3)
    busy = try_lock(mill.pool.folder / SIZES / "lock")
    assert busy is not None
    keep_within(mill, 1)
    assert slot.path.is_dir()
    os.close(busy)
    keep_within(mill, 1)
    assert not slot.path.exists()


# What is shown


def test_gc_shows_who_holds_what_and_removes_it(repo: Repo, mill: Mill):
    task = new_task(repo.path, "Killed", "true")
    one = idle_slot(mill, "build", hours=26, holder=task)
    two = held_slot(mill, "clean", hours=3)
    cache(mill, "pip", hours=2)
    says = gitmill(repo.path, "gc", "--dry-run")
    assert (says.code, says.out) == (0, "")
    lines = says.err.splitlines()
    assert lines[0] == "would drop the transcripts of 0 tasks"
    assert lines[1] == "6.1 MB of at most 3.0 MB (worktree.max_disk)"
    assert sorted(re.sub(r"2\.\d MB", "2 MB", line) for line in lines[2:5]) == [
        "    cache  pip         2 MB    2h  would be removed",
        f"    slot   build-1     2 MB    1d  {task}, would be removed",
        "    slot   clean-1     2 MB    3h  in use",
    ]
    assert lines[5:] == ["next: `gitmill gc --days 30`"]
    assert one.path.is_dir()
    assert gitmill(repo.path, "gc").code == 0
    assert not one.path.exists()
    two.release()


def test_a_limit_that_slots_in_use_exceed_is_reported(repo: Repo, mill: Mill):
    slots = [held_slot(mill, "build", hours=1) for _ in range(2)]
    result = gitmill(repo.path, "gc")
    assert result.code == 0
    assert result.err.splitlines()[1:] == [
        "what is in use or still needed takes 1.1 MB more than worktree.max_disk, 3.0 MB"
    ]
    said = gitmill(repo.path, "doctor")
    assert "warning  disk           4.1 MB of at most 3.0 MB (worktree.max_disk); what is in " in (
        said.out
    )
    for slot in slots:
        slot.release()
    assert "the next attempt removes what is too much" in gitmill(repo.path, "doctor").out
    kept = gitmill(repo.path, "gc", "--json").json["disk"]
    assert kept["limit"] == NEXT
    assert [(one["kind"], one["name"], one["removed"]) for one in kept["kept"]] == [
        ("slot", "build-1", True), ("slot", "build-2", False),
    ]  # fmt: skip


def test_ten_are_shown_and_the_number_of_the_others(repo: Repo, mill: Mill):
    for number in range(12):
        fill(mill.pool.folder / agent_homes.FOLDER / f"t-{number:05d}" / "x/y", 9000 * number + 1)
    lines = [line for line in gitmill(repo.path, "doctor").out.splitlines() if " disk " in line]
    assert re.search(r" {6}home   t-00011     10\d KB +\ds$", lines[1])
    assert len(lines) == 12
    assert lines[-1].endswith(" and 2 more")


def test_looking_leaves_no_file(repo: Repo, mill: Mill):
    idle_slot(mill, "build", hours=1)
    shutil.rmtree(mill.pool.folder / SIZES, ignore_errors=True)
    look: tuple[Callable[[], object], ...] = (
        lambda: gitmill(repo.path, "doctor"),
        lambda: gitmill(repo.path, "gc", "--dry-run"),
    )
    before = sorted(mill.pool.folder.rglob("*"))
    for each in look:
        each()
    assert sorted(mill.pool.folder.rglob("*")) == before
