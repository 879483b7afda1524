"""Many threads of one process on one mill: nothing is lost, every byte is right, nothing is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gitmill.core.lifecycle import Event
from gitmill.flows.init import init
from gitmill.flows.open_mill import open_mill
from gitmill.git.libgit2 import Libgit2
from gitmill.git.objects import Move, read_commit
from gitmill.git.plumbing import Plumbing
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store import history
from gitmill.store.snapshot import Snapshot
from tests.support.cli import gitmill
from tests.support.repos import Sandbox
from tests.support.steps import step
from tests.support.threads import nothing_left, together

THREADS = 8
BACKENDS = {"sha1": Libgit2, "sha256": Plumbing}


def work(
    mill: Mill, number: int, items: list[str], blobs: dict[str, bytes], shared: Snapshot, turns: int
) -> list[str]:
    """Record events of all items and read in between; return the subjects of these events."""
    subjects = []
    for turn in range(turns):
        item = items[(number + turn) % len(items)]
        subject = f"thread {number} turn {turn}"
        after = mill.apply(item, step(Event.EDITED, subject=subject, by=mill.person))
        subjects.append(f"{item}: {subject}")
        assert after.item(item).id == item
        assert read_commit(mill.store.backend, after.commit).message.startswith(subjects[-1])
        for oid, data in list(blobs.items())[turn % 3 :: 3]:
            assert mill.store.backend.read(oid) == ("blob", data)
            assert mill.repository.reader.read(oid) == ("blob", data)
        assert shared.items.keys() == set(items)  # a snapshot of the main thread
        ref = f"refs/gitmill/rescue/{item}/{number}-{turn}"
        mill.store.move(Move(ref, after.commit, None))
        assert mill.store.backend.ref(ref) == after.commit
    return subjects


@pytest.mark.parametrize("object_format", BACKENDS)
@pytest.mark.parametrize(
    "turns", [4, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_eight_threads_commit_and_read_through_one_mill(
    sandbox: Sandbox, object_format: str, turns: int
):
    repo = sandbox.repo(object_format=object_format)
    init(Mill.open(repo.path))
    mill = Mill.open(repo.path)
    assert isinstance(mill.store.backend, BACKENDS[object_format])
    items = [new_task(mill, NewTask(title=f"T{n}")).id for n in range(4)]
    contents = [f"{n} ".encode() * (1 + 997 * n) for n in range(24)]
    blobs = {mill.store.backend.write("blob", data): data for data in contents}
    shared = mill.snapshot()
    for oid in blobs:  # the main thread's own processes and files
        mill.store.backend.read(oid)
        mill.repository.reader.read(oid)
    recorded: list[str] = []
    with nothing_left():
        together(
            THREADS, lambda number: recorded.extend(work(mill, number, items, blobs, shared, turns))
        )
    assert len(recorded) == THREADS * turns
    complete(mill, recorded)
    assert len(repo.git("for-each-ref", "refs/gitmill/rescue").splitlines()) == len(recorded)
    repo.git("fsck", "--strict", "--no-dangling")
    assert not list((repo.git_dir / "gitmill/stale").glob("*"))
    assert gitmill(repo.path, "fsck").code == 0


def complete(mill: Mill, recorded: list[str]) -> None:
    """Check that each event is there once, and follows the one before it of the same item."""
    last: dict[str, str] = {}
    subjects: Counter[str] = Counter()
    for entry in reversed(list(history.entries(mill.store.backend, mill.snapshot().commit))):
        record = entry.record
        if record is None or not record.item:
            continue
        assert record.after == last.get(record.item, "")
        last[record.item] = record.id
        subjects[entry.subject] += record.event == "edited"
    assert {subject: count for subject, count in subjects.items() if count} == Counter(recorded)
    assert {name: item.event for name, item in mill.snapshot().items.items()} == last


def test_hand_edits_are_applied_once_when_many_threads_write(sandbox: Sandbox, tmp_path: Path):
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    task = new_task(Mill.open(repo.path), NewTask(title="Old")).id
    place = tmp_path / "state"
    repo.git("worktree", "add", "-q", str(place), "gitmill/state")
    path = next(place.rglob(f"{task}.md"))
    path.write_text(path.read_text().replace("Old", "New"))
    repo.git("-C", str(place), "commit", "-qam", "by hand")
    repo.git("worktree", "remove", "--force", str(place))
    reported: list[str] = []
    mill = open_mill(repo.path, report=reported.append, writes=False)
    together(THREADS, lambda number: new_task(mill, NewTask(title=f"T{number}")))
    assert [line.partition(" (")[0] for line in reported] == [f"{task}: edited by hand"]
    titles = Counter(item.title for item in mill.snapshot().items.values())
    assert titles == Counter(["New", *(f"T{n}" for n in range(THREADS))])
