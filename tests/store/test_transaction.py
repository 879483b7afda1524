"""The only writer: after a lost race it decides again, nothing is lost, refusals commit nothing."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitmill.core.trailers import EventRecord
from gitmill.errors import (
    BadFormatError,
    GitFailedError,
    NotInitializedError,
    PausedError,
    RefMovedError,
    StateMovedError,
)
from gitmill.failpoints import VARIABLE
from gitmill.flows.init import init
from gitmill.git.objects import Move
from gitmill.git.repo import Repository
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store import layout, transaction
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit, Store
from gitmill.store.write_lock import WriteLock
from tests.support import cli
from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox
from tests.support.threads import together

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def open_store(path: Path) -> Store:
    return Store(Repository.open(path), lambda: NOW)


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    return repo


def draft(path: str, text: str, *moves: Move) -> StateCommit:
    record = EventRecord(event="board", id="e", by="test")
    return StateCommit(f"write {path}", record, {path: text.encode()}, moves)


def test_the_root_is_the_same_in_every_clone(sandbox: Sandbox):
    one, other = sandbox.repo("one"), sandbox.repo("other", files={"x": "y\n"})
    for repo in (one, other):
        assert open_store(repo.path).begin()
        assert not open_store(repo.path).begin()
    roots = {r.git("rev-parse", "gitmill/state") for r in (one, other)}
    assert roots == {"b6c62b720ff61ab6080095d83becf501aeb716a6"}
    assert one.git("log", "--format=%an %ae %at %s", "gitmill/state") == (
        "gitmill gitmill@localhost 0 gitmill state"
    )
    assert one.git("ls-tree", "gitmill/state") == ""


def test_a_missing_branch_with_a_held_lock_does_not_count_as_begun(sandbox: Sandbox):
    repo = sandbox.repo()
    lock = repo.git_dir / f"{layout.STATE}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(RefMovedError):
        open_store(repo.path).begin()
    lock.unlink()
    assert open_store(repo.path).begin()


def test_a_ref_that_another_git_locks_for_a_moment_is_waited_for(sandbox: Sandbox):
    repo = sandbox.repo()
    lock = repo.git_dir / f"{layout.STATE}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    packing = threading.Timer(0.3, lock.unlink)
    packing.start()
    assert open_store(repo.path).begin()
    packing.join()


def test_a_branch_that_cannot_be_read_is_no_missing_one(repo: Repo):
    (repo.git_dir / layout.STATE).write_text("")
    for store in (open_store(repo.path), Mill.open(repo.path).store):
        with pytest.raises(GitFailedError, match="the ref refs/heads/gitmill/state cannot be read"):
            store.snapshot()
        with pytest.raises(GitFailedError, match="cannot be read"):
            store.snapshot(writing=False)
        with pytest.raises(GitFailedError, match="cannot be read"):
            store.begin()
    assert (repo.git_dir / layout.STATE).read_text() == ""


def test_sha256_and_all_that_libgit2_cannot_open_works_as_well(sandbox: Sandbox):
    repo = sandbox.repo(object_format="sha256")
    init(Mill.open(repo.path))
    store, head = open_store(repo.path), repo.git("rev-parse", "main")
    assert repo.git("rev-list", "--max-parents=0", "gitmill/state") == (
        "3d396a3ef2169746813c5fc341d9c9d05b542b9c29928f49a35069dc1ed9522b"
    )
    move = Move("refs/gitmill/work/t-00000", head, None)
    after = store.commit(lambda _: draft("a/b", "x\n", move))
    assert repo.git("show", "gitmill/state:a/b") == "x"
    assert repo.git("rev-parse", "refs/gitmill/work/t-00000") == head
    assert after.read("a/b") == b"x\n"
    item = new_task(Mill.open(repo.path), NewTask(title="T"))
    assert open_store(repo.path).snapshot(writing=False).item(item.id).title == "T"


def test_a_commit_is_by_the_user_at_the_time_of_the_clock(repo: Repo):
    open_store(repo.path).commit(lambda _: draft("x", "y"))
    assert repo.git("log", "-1", "--format=%an <%ae> %at %cn <%ce> %ct %s", "gitmill/state") == (
        "Ada <ada@example.com> 1767323045 Ada <ada@example.com> 1767323045 write x"
    )


def test_a_refusal_by_build_leaves_nothing_behind(repo: Repo):
    before = repo.git("for-each-ref"), repo.git("count-objects")

    def build(_: Snapshot) -> StateCommit:
        raise PausedError("not now")

    with pytest.raises(PausedError):
        open_store(repo.path).commit(build)
    assert (repo.git("for-each-ref"), repo.git("count-objects")) == before


def test_without_a_branch_or_with_another_format_nothing_is_read_or_written(sandbox: Sandbox):
    repo = sandbox.repo()
    with pytest.raises(NotInitializedError):
        open_store(repo.path).snapshot()
    init(Mill.open(repo.path))
    store = open_store(repo.path)
    store.commit(lambda _: draft(layout.FORMAT_FILE, "99\n"))
    tip = repo.git("rev-parse", "gitmill/state")
    with pytest.raises(BadFormatError, match="format 99, this gitmill reads 1"):
        store.commit(lambda _: draft("x", "y"))
    for args in (["status"], ["run"], ["task", "new", "x"], ["init"]):
        said = gitmill(repo.path, *args)
        assert (said.code, "error[bad-format]" in said.err) == (1, True)
    assert repo.git("rev-parse", "gitmill/state") == tip


def overtake(store: Store, snapshot: Snapshot, draft: StateCommit) -> str:
    """Commit past the lock that is only politeness."""
    new = store._write(snapshot, draft)
    store._publish(new, snapshot.commit, draft.moves)
    return new


def test_a_lost_race_is_decided_again_on_the_new_tip(repo: Repo):
    ours, theirs = open_store(repo.path), open_store(repo.path)
    seen: list[bytes | None] = []

    def build(snapshot: Snapshot) -> StateCommit:
        seen.append(snapshot.read("count"))
        if len(seen) == 1:  # somebody is quicker
            new = overtake(theirs, snapshot, draft("count", "1"))
            assert repo.git("rev-parse", "gitmill/state") == new
        return draft("count", (snapshot.read("count") or b"0").decode() + "+")

    after = ours.commit(build)
    assert seen == [None, b"1"]
    assert after.read("count") == b"1+"
    assert repo.git("rev-list", "--count", "gitmill/state") == "4"


def test_commits_in_a_row_are_made_of_each_other_and_move_the_branch_once(repo: Repo):
    ours, theirs = open_store(repo.path), open_store(repo.path)
    tip, late = repo.git("rev-parse", "gitmill/state"), []

    def last(snapshot: Snapshot) -> StateCommit:
        assert repo.git("rev-parse", "gitmill/state") in (tip, *late), "not even half of it is told"
        if not late:
            late.append(overtake(theirs, ours.snapshot(), draft("count", "1")))
        return draft("count", (snapshot.read("count") or b"").decode() + "c")

    after = ours.commit(
        lambda at: draft("count", (at.read("count") or b"").decode() + "a"),
        lambda _: None,
        last,
    )
    assert after.read("count") == b"1ac"
    assert repo.git("rev-list", "--count", f"{late[0]}..gitmill/state") == "2"


@pytest.mark.parametrize("both", [False, True], ids=["one removes it", "both set it"])
def test_no_ref_moves_twice_in_a_transaction(repo: Repo, both):
    store, head = open_store(repo.path), repo.git("rev-parse", "main")
    ref, refs = "refs/gitmill/work/t-00000", repo.git("for-each-ref")
    again = Move(ref, head, head) if both else Move(ref, None, head)
    with pytest.raises(AssertionError, match=f"no ref moves twice in a transaction: {ref}"):
        store.commit(lambda _: draft("a", "b", Move(ref, head, None)),
                     lambda _: draft("c", "d", again))  # fmt: skip
    assert repo.git("for-each-ref") == refs


def test_no_transaction_moves_the_state_branch_by_hand(repo: Repo):
    store, head = open_store(repo.path), repo.git("rev-parse", "main")
    with pytest.raises(AssertionError, match="no ref moves twice"):
        store.commit(lambda at: draft("a", "b", Move(layout.STATE, head, at.commit)))


def test_only_gitmills_refs_are_removed_and_each_from_its_value(repo: Repo):
    store, head = open_store(repo.path), repo.git("rev-parse", "main")
    for name in ("t-00000", "t-00001"):
        store.move(Move(f"refs/gitmill/work/{name}", head, None))
    before = repo.git("for-each-ref")
    tip = repo.git("rev-parse", "gitmill/state")
    with pytest.raises(AssertionError, match="the user's refs"):
        store.remove({"refs/heads/main": head})
    with pytest.raises(RefMovedError):
        store.remove({"refs/gitmill/work/t-00000": head, "refs/gitmill/work/t-00001": tip})
    assert repo.git("for-each-ref") == before
    store.remove({"refs/gitmill/work/t-00000": head, "refs/gitmill/work/t-00001": head})
    assert repo.git("for-each-ref", "refs/gitmill/work") == ""


def test_a_refusal_in_a_row_leaves_none_of_it(repo: Repo):
    def refuse(_: Snapshot) -> StateCommit:
        raise PausedError("no")

    refs = repo.git("for-each-ref")
    with pytest.raises(PausedError):
        open_store(repo.path).commit(lambda _: draft("x", "y"), refuse)
    assert repo.git("for-each-ref") == refs


def test_the_past_is_read_and_never_written(repo: Repo):
    store = open_store(repo.path)
    then = store.commit(lambda _: draft("count", "1")).commit
    store.commit(lambda _: draft("count", "2"))
    assert store.at(then).read("count") == b"1"
    assert store.snapshot().read("count") == b"2"
    store.at_commit(then)
    assert store.snapshot().read("count") == b"1"
    with pytest.raises(AssertionError, match="the past does not change"):
        store.commit(lambda _: draft("count", "3"))
    assert repo.git("show", "gitmill/state:count") == "2"


def test_a_move_reported_as_failed_but_made_is_not_repeated(repo: Repo):
    """As when git takes the folder of a reflog away behind the move of its ref."""
    store, made = open_store(repo.path), list[int]()
    swap = store.backend.swap

    def failing(moves: Sequence[Move]) -> None:
        swap(moves)
        raise RefMovedError("behind the move")

    def build(snapshot: Snapshot) -> StateCommit:
        made.append(1)
        return draft("count", "1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.backend, "swap", failing)
        after = store.commit(build)
    assert (len(made), after.read("count")) == (1, b"1")
    assert repo.git("rev-parse", "gitmill/state") == after.commit


def test_nothing_to_write_writes_nothing(repo: Repo):
    tip = repo.git("rev-parse", "gitmill/state")
    assert open_store(repo.path).commit(lambda _: None).commit == tip
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_all_refs_move_or_none(repo: Repo):
    store, tip = open_store(repo.path), repo.git("rev-parse", "main")
    after = store.commit(lambda _: draft("a", "b", Move("refs/gitmill/work/t-00000", tip, None)))
    assert repo.git("rev-parse", "refs/gitmill/work/t-00000") == tip
    wrong = Move("refs/gitmill/work/t-00000", after.commit, after.commit)
    before = repo.git("for-each-ref")
    limit, transaction.DEADLINE = transaction.DEADLINE, 0.2
    try:
        with pytest.raises(StateMovedError, match="nothing was changed"):
            store.commit(lambda _: draft("c", "d", wrong))
    finally:
        transaction.DEADLINE = limit
    assert repo.git("for-each-ref") == before


def _add(path: str, name: str, count: int) -> None:
    store = open_store(Path(path))
    for number in range(count):
        store.commit(
            lambda snapshot, number=number: draft(
                "all", (snapshot.read("all") or b"").decode() + f"{name}{number}\n"
            )
        )


@pytest.mark.slow
def test_many_processes_lose_no_update(repo: Repo):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(str(repo.path), name, 12)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    lines = repo.git("show", "gitmill/state:all").splitlines()
    assert sorted(lines) == sorted(f"{name}{n}" for name in "abcd" for n in range(12))
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{n}" for n in range(12)]


def test_the_users_index_head_stash_and_work_tree_are_never_touched(repo: Repo):
    (repo.path / "README.md").write_text("dirty\n")
    (repo.path / "new.txt").write_text("new\n")
    repo.git("add", "new.txt")
    watched = ("index", "HEAD", "ORIG_HEAD", "FETCH_HEAD", "refs/stash", "logs/HEAD")

    def facts() -> list[bytes | None]:
        paths = [repo.git_dir / name for name in watched]
        return [path.read_bytes() if path.exists() else None for path in paths]

    before = facts()
    mill = Mill.open(repo.path)
    open_store(repo.path).commit(lambda _: draft("x", "y"))
    cli.new_task(repo.path, "T", "true")
    assert gitmill(repo.path, "status").code == 0
    assert mill.snapshot().read("x") == b"y"
    assert facts() == before
    assert (repo.path / "README.md").read_text() == "dirty\n"


def test_a_killed_commit_never_leaves_an_event_without_its_refs(repo: Repo):
    """The state branch moves last, whatever else moves with it."""
    head, root = repo.git("rev-parse", "main"), repo.git("rev-parse", "gitmill/state")
    refs, points = [f"refs/gitmill/work/t-0000{n}" for n in range(2)], 0
    for points in range(1, 40):
        status = _commit_and_die(repo.path, [Move(ref, head, None) for ref in refs], points)
        for lock in repo.git_dir.rglob("*.lock"):
            lock.unlink()
        moved = repo.git("for-each-ref", "--format=%(refname)", "refs/gitmill/work").split()
        if repo.git("rev-parse", "gitmill/state") != root:
            assert moved == refs, points
        if status == 0:
            break
        repo.git("update-ref", layout.STATE, root)
        for ref in moved:
            repo.git("update-ref", "-d", ref)
    assert points > 6  # before and after each of three moves


def _commit_and_die(path: Path, moves: Sequence[Move], point: int) -> int:
    """Commit in a child that dies at a failpoint; return its status, 0 if it came to the end."""
    pid = os.fork()
    if pid == 0:
        try:
            store = open_store(path)
            store.snapshot()
            os.environ[VARIABLE] = f"{'before' if point % 2 else 'after'}:{(point + 1) // 2}"
            store.commit(lambda _: draft("x", "y", *moves))
        except BaseException:  # noqa: BLE001  (the child must not go on with the tests)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Threads


def test_two_threads_do_not_hold_the_write_lock_at_the_same_time(repo: Repo):
    store = open_store(repo.path)
    inside, most = [], []

    def work(number: int) -> None:
        for _ in range(5):
            with store.refs_lock():
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(number)

    together(4, work)
    assert max(most) == 1


def test_a_write_under_the_write_lock_says_so_and_otherwise_is_an_error(repo: Repo):
    store, head = open_store(repo.path), repo.git("rev-parse", "main")
    move = Move("refs/gitmill/work/t-00000", head, None)
    with store.refs_lock() as lock:
        with pytest.raises(RuntimeError, match="already"):
            store.move(move)
        with pytest.raises(RuntimeError, match="already"):
            store.commit(lambda _: draft("x", "y"))
        store.move(move, lock=lock)
        store.commit(lambda _: draft("x", "y"), lock=lock)
    assert repo.git("rev-parse", move.ref) == head
    with pytest.raises(RuntimeError, match="not hold"):
        store.move(Move(move.ref, None, head), lock=lock)


def test_the_write_lock_of_one_thread_is_no_permission_for_another(repo: Repo):
    store, refused = open_store(repo.path), []

    def use(lock: WriteLock) -> None:
        try:
            store.commit(lambda _: draft("x", "y"), lock=lock)
        except RuntimeError:
            refused.append(True)

    with store.refs_lock() as lock:
        thread = threading.Thread(target=use, args=(lock,))
        thread.start()
        thread.join()
    assert refused
