"""Many processes at once on one machine: nothing is lost, nothing is done twice, nobody waits."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from gitmill.core.lifecycle import Status
from gitmill.errors import RefMovedError
from gitmill.git.objects import Move
from gitmill.git.repo import Repository
from gitmill.mill import Mill
from gitmill.store import history, layout
from tests.support.cli import begun, gitmill, new_task
from tests.support.crowd import crowd
from tests.support.repos import Repo, Sandbox

# What a user, an editor or a scheduler does to a repository at any time.
NUISANCES = [
    ("nuisance", "commit", "-q", "--allow-empty", "-m", "mine"),
    ("nuisance", "gc", "-q"),
    ("nuisance", "pack-refs", "--all"),
    ("nuisance", "worktree", "prune"),
]


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n"})


def healthy(repo: Repo) -> None:
    repo.git("fsck", "--strict", "--no-dangling")
    private = repo.git_dir / "gitmill"
    assert not list((private / "stale").glob("*"))  # no lock had to be moved aside
    assert not list(repo.git_dir.rglob("refs/**/*.lock"))


def chain(mill: Mill) -> Counter[str]:
    """Check that each item's events follow each other; return how often each kind happened."""
    last: dict[str, tuple[str, str]] = {}
    kinds: Counter[str] = Counter()
    for entry in reversed(list(history.entries(mill.store.backend, mill.snapshot().commit))):
        record = entry.record
        if record is None or not record.item:
            continue
        assert (record.after, record.status_before) == last.get(record.item, ("", ""))
        last[record.item] = (record.id, record.to)
        kinds[record.event] += 1
    items = mill.snapshot().items
    assert {n: (item.event, item.status.value) for n, item in items.items()} == last
    return kinds


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_processes_do_everything_for_a_minute(repo: Repo):
    for number in range(4):
        new_task(repo.path, f"T{number}", "true")
    members = [("member", str(number)) for number in range(16)]
    with crowd(repo.path, 60, [*members, *NUISANCES]) as did:
        pass
    by = {what: [d for d in did if d["did"] == what] for what in ("created", "edited", "claimed")}
    mill = Mill.open(repo.path)
    items = mill.snapshot().items
    # No update is lost: each label that was told is there, once, and in no other place.
    labels = Counter((item.id, label) for item in items.values() for label in item.labels)
    assert labels == Counter((d["item"], d["label"]) for d in by["edited"])
    assert items.keys() >= {d["item"] for d in by["created"]}
    assert len(items) == 4 + len(by["created"])
    # Each item is claimed once, by one.
    claims = Counter(d["item"] for d in by["claimed"])
    assert set(claims.values()) <= {1}
    assert {n for n, item in items.items() if item.status is Status.DONE} == set(claims)
    kinds = chain(mill)
    assert (kinds["claimed"], kinds["finished"]) == (len(claims), len(claims))
    assert kinds["edited"] == len(by["edited"])
    # Politeness keeps retries rare; a user's `gc` may hold a ref for a moment.
    assert max(d["tries"] for d in by["edited"]) <= 20
    assert {d["argv"][0] for d in did if d["did"] == "ran" and d["runs"] > d["failed"]} == {
        "commit", "gc", "pack-refs", "worktree",
    }  # fmt: skip
    assert by["claimed"]
    assert len(by["edited"]) > 16
    healthy(repo)


@pytest.mark.parametrize("count", [48, pytest.param(200, marks=pytest.mark.slow)])
def test_each_of_many_writers_leaves_its_note(repo: Repo, count: int):
    """The work of a race grows with the square of how many take part."""
    tree = repo.tree()
    lines = [
        f"commit refs/heads/many\ncommitter A <a@b> {n} +0000\ndata 1\nx\n" for n in range(count)
    ]
    repo.git("fast-import", "--quiet", stdin="".join(lines).encode())
    commits = repo.git("rev-list", "many").split()
    assert (len(commits), tree) == (count, repo.tree())
    calls = [("writers", layout.NOTES, *commits[n::8]) for n in range(8)]
    with crowd(repo.path, 100, calls) as did:
        pass
    assert len(did) == count
    listed = repo.git("notes", "--ref=gitmill", "list").splitlines()
    assert sorted(line.split()[1] for line in listed) == sorted(commits)
    for commit in (commits[0], commits[count // 2], commits[-1]):
        assert repo.git("notes", "--ref=gitmill", "show", commit) == f"on {commit}"
    assert repo.git("rev-list", "--count", layout.NOTES) == str(count)
    healthy(repo)


@pytest.mark.parametrize(
    "count", [pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_two_runs_and_two_landings_share_the_work(repo: Repo, count: int):
    """While the user's git does its own, and an agent throws away its `.git`."""
    tasks = [
        new_task(repo.path, f"T{n}", f"echo {n} > f{n}; test {n} != 1 || rm -rf .git || true")
        for n in range(count)
    ]
    calls = [("command", "run")] * 2 + [("command", "queue", "land")] * 2
    quiet = [call for call in NUISANCES if "commit" not in call]
    with crowd(repo.path, 60 + 10 * count, [*calls, *quiet]) as did:
        pass
    # A landing beside another one says that it is busy, or finds nothing. A git of ours can fail
    # beside a gc, which is said and costs a lease: then the same command again goes on.
    bad = [d["err"] for d in did if d.get("code", 0) not in (0, 1, 4, 5)]
    assert not bad, bad[0]
    assert gitmill(repo.path, "run").code in (0, 5)
    shared(repo, tasks)
    assert len(repo.git("rev-list", "main").split()) == 1 + count


@pytest.mark.slow
def test_a_users_git_harms_no_run(repo: Repo):
    """Loops of commit, gc, pack-refs and worktree prune beside a run that lands without a checkout."""
    repo.git("switch", "-q", "-c", "mine")
    repo.unfence()
    tasks = [new_task(repo.path, f"T{n}", f"echo {n} > f{n}; rm -rf .git") for n in range(2)]
    with crowd(repo.path, 120, [("command", "run"), *NUISANCES]) as did:
        pass
    run = next(d for d in did if "code" in d)
    assert run["code"] == 0, run["err"]
    assert {d["argv"][0] for d in did if d.get("runs", 0) > d.get("failed", 0)} == {
        "commit", "gc", "pack-refs", "worktree",
    }  # fmt: skip
    shared(repo, tasks)


def shared(repo: Repo, tasks: list[str]) -> None:
    """Each task landed once and whole, whoever did it."""
    mill = Mill.open(repo.path)
    items = mill.snapshot().items
    assert {items[task].status for task in tasks} == {Status.LANDED}
    assert chain(mill)["landed"] == len(tasks)
    for number in range(len(tasks)):
        assert repo.git("show", f"main:f{number}") == str(number)
    assert len(repo.git("notes", "--ref=gitmill", "list").splitlines()) == len(tasks)
    healthy(repo)


@pytest.mark.slow
def test_a_ref_that_is_removed_takes_no_move_of_the_users_with_it(repo: Repo):
    """Beside `git pack-refs`: libgit2 would write the packed refs back as they were before.

    Many refs make that moment long; of 650 moves of main two were lost by it in half a minute.
    """
    head = repo.git("rev-parse", "main")
    refs = "".join(f"create refs/many/{n} {head}\n" for n in range(20_000))
    git = ["git", "-C", str(repo.path)]
    subprocess.run([*git, "update-ref", "--stdin"], input=refs, text=True, check=True)
    stop = threading.Event()

    def pack() -> None:
        while not stop.is_set():
            subprocess.run([*git, "pack-refs", "--all"], check=False, capture_output=True)

    def remove() -> None:
        objects, number = Repository.open(repo.path).objects, 0
        while not stop.is_set():
            number += 1
            ref = f"refs/gitmill/rescue/{number % 5}"
            with suppress(RefMovedError):  # packing holds the lock for longer than git waits
                objects.swap([Move(ref, head, objects.ref(ref))])
                objects.swap([Move(ref, None, head)])

    threads = [threading.Thread(target=work) for work in (pack, remove)]
    for thread in threads:
        thread.start()
    tree, at, until = repo.tree(), head, time.monotonic() + 30
    try:
        while time.monotonic() < until:
            new = repo.git("commit-tree", tree, "-p", at, "-m", "mine")
            subprocess.run([*git, "update-ref", "refs/heads/main", new, at], check=False,
                           capture_output=True)  # fmt: skip
            now = repo.git("rev-parse", "main")
            assert now in (new, at), "main went back"
            at = now
    finally:
        stop.set()
        for thread in threads:
            thread.join()
