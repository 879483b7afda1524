"""The history of the state branch, including commits made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gitmill.flows.init import init
from gitmill.git import trees
from gitmill.git.objects import Commit, Move, read_commit, write_commit
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store import history, layout
from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEA = "Bea <bea@example.com> 1767000000 +0100"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    return repo


@pytest.fixture
def mill(repo: Repo) -> Mill:
    times = (NOW + timedelta(minutes=n) for n in range(1000))
    return Mill(Mill.open(repo.path).repository, clock=lambda: next(times))


def by_hand(mill: Mill, message: str, path: str, *parents: str) -> str:
    """Commit as a person does, with git and without trailers."""
    backend = mill.store.backend
    tip = backend.ref(layout.STATE)
    tree = trees.edit(backend, read_commit(backend, tip).tree, {path: b"x\n"})
    new = write_commit(backend, Commit(tree, (tip, *parents), BEA, BEA, message))
    backend.swap([Move(layout.STATE, new, tip)])
    return new


def story(mill: Mill, item: str = "") -> list[tuple[str, str]]:
    entries = history.entries(mill.store.backend, mill.snapshot().commit, item)
    return [(e.record.event if e.record else "-", e.subject) for e in entries]


def test_the_history_is_newest_first_and_can_be_filtered_by_item(mill: Mill):
    one = new_task(mill, NewTask(title="One", script="true", criteria=["$ true"]), ready=True).id
    two = new_task(mill, NewTask(title="Two")).id
    assert story(mill) == [
        ("created", f"{two}: created, Two"),
        ("readied", f"{one}: ready"),
        ("created", f"{one}: created, One"),
        ("upgraded", "target main, format 1"),
        ("-", "gitmill state"),
    ]
    assert story(mill, one) == [
        ("readied", f"{one}: ready"),
        ("created", f"{one}: created, One"),
    ]
    assert story(mill, one[:-1]) == []


def test_a_commit_by_hand_is_a_persons(mill: Mill):
    task = new_task(mill, NewTask(title="One")).id
    new = by_hand(mill, "Fix a typo\n\nGitmill-Item: forged\n", "note.txt")
    first = next(history.entries(mill.store.backend, mill.snapshot().commit))
    assert first == history.Entry(new, 1767000000, "Bea", "Fix a typo", None)
    assert story(mill, task) == [("created", f"{task}: created, One")]


def test_a_merge_is_followed_along_its_first_parent(mill: Mill, repo: Repo):
    base = mill.snapshot().commit
    side = repo.git("commit-tree", f"{base}^{{tree}}", "-p", base, "-m", "their side")
    task = new_task(mill, NewTask(title="One")).id
    by_hand(mill, "Merge a pull request\n", "note.txt", side)
    assert [subject for _, subject in story(mill)] == [
        "Merge a pull request",
        f"{task}: created, One",
        "target main, format 1",
        "gitmill state",
    ]


def test_each_event_names_the_one_before_it(mill: Mill, repo: Repo):
    task = new_task(mill, NewTask(title="One", script="true", criteria=["$ true"]), ready=True).id
    assert gitmill(repo.path, "task", "edit", task, "--priority", "0").code == 0
    entries = list(history.entries(mill.store.backend, mill.snapshot().commit, task))
    records = [entry.record for entry in entries]
    assert [record.event for record in records] == ["edited", "readied", "created"]
    assert [record.after for record in records] == [records[1].id, records[2].id, ""]
    assert records[0].id == mill.snapshot().item(task).event
    assert [entry.author for entry in entries] == ["Ada"] * 3
    assert entries[1].seconds > entries[2].seconds >= NOW.timestamp()


def test_a_commit_with_a_message_that_is_not_utf_8_is_included(mill: Mill, repo: Repo):
    tip = mill.snapshot().commit
    head, _, message = mill.store.backend.read(tip)[1].partition(b"\n\n")
    data = head + b"\nencoding ISO-8859-1\n\nGr\xfc\xdfe " + message
    new = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=data)
    repo.git("update-ref", layout.STATE, new)
    assert story(mill)[0] == ("upgraded", "Gr\udcfc\udcdfe target main, format 1")
