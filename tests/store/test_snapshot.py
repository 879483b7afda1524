"""Reading the state: prefixes, damaged files, the emergency stop."""

from __future__ import annotations

import pytest

from gitmill.core.trailers import EventRecord
from gitmill.errors import AmbiguousItemError, BadDocumentError, NoSuchItemError
from gitmill.flows.init import init
from gitmill.git.objects import GITLINK, Entry
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store import layout
from gitmill.store.snapshot import Control
from gitmill.store.transaction import StateCommit
from tests.support.cli import gitmill
from tests.support.repos import Sandbox


@pytest.fixture
def mill(sandbox: Sandbox) -> Mill:
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    numbers = iter(range(1000))
    randoms = {0: b"\x01\x02\x03\x04\x05", 1: b"\x01\x02\x03\x04\x06", 2: b"\x01\x02\x03\x04\x05"}

    def random(size: int) -> bytes:
        if size != 16:
            return next(numbers).to_bytes(size, "big")
        made = randoms[random.calls]
        random.calls += 1
        return made + b"\x07" * 11

    random.calls = 0
    opened = Mill.open(repo.path)
    opened.random = random
    for title in ("One", "Two", "Three"):
        new_task(opened, NewTask(title=title))
    return opened


def write(mill: Mill, path: str, text: str) -> None:
    record = EventRecord(event="board", id="e", by="test")
    mill.store.commit(lambda _: StateCommit("by hand", record, {path: text.encode()}))


def test_an_id_that_is_taken_grows_by_a_character(mill: Mill):
    assert sorted(mill.snapshot().items) == ["t-12345", "t-123457", "t-12346"]


def test_any_unique_beginning_names_an_item_with_or_without_its_letter(mill: Mill):
    snapshot = mill.snapshot()
    for typed in ("t-12346", "12346", " T-12346 "):
        assert snapshot.resolve(typed).title == "Two"
    assert snapshot.resolve("t-12345").title == "One"  # whole, though another one begins like it
    with pytest.raises(AmbiguousItemError) as ambiguous:
        snapshot.resolve("t-123")
    assert ambiguous.value.evidence[0].startswith("t-12345  draft")
    for typed in ("t-9", "", "x", "../x", "g-12345"):
        with pytest.raises(NoSuchItemError):
            snapshot.resolve(typed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "no front matter\n",
            "tasks/zz/t-zzzzz.md:1: expected front matter between two lines `---`",
        ),
        ("---\nid: t-zzzzz\n---\n", "tasks/zz/t-zzzzz.md:1: the key kind is missing"),
        ("---\nid: t-zzzzz\nid: t-zzzzz\n---\n", "tasks/zz/t-zzzzz.md:3: duplicate key id"),
        ("---\n<<<<<<< ours\n---\n", "tasks/zz/t-zzzzz.md:2: expected `key: value`"),
    ],
)
def test_a_damaged_file_is_named_and_blocks_nothing_else(mill: Mill, text: str, said: str):
    write(mill, "tasks/zz/t-zzzzz.md", text)
    snapshot = mill.snapshot()
    assert len(snapshot.items) == 3
    assert [error.message for error in snapshot.broken.values()] == [said]
    with pytest.raises(BadDocumentError, match="t-zzzzz"):
        snapshot.item("t-zzzzz")
    folder = mill.repository.top
    assert folder is not None
    shown = gitmill(folder, "status")
    assert (shown.code, said in shown.err) == (0, True)
    assert gitmill(folder, "status").err == shown.err  # a warning is not kept away by a cache


def test_a_file_must_have_the_name_of_its_id(mill: Mill):
    text = mill.snapshot().item("t-12346").document.text
    write(mill, "tasks/zz/t-zzzzz.md", text)
    snapshot = mill.snapshot()
    assert "id must be the file's own name, not t-12346" in str(*snapshot.broken.values())
    assert snapshot.item("t-12346").title == "Two"


def test_reading_a_damaged_item_raises_its_error(mill: Mill):
    write(mill, "tasks/zz/t-zzzzz.md", "---\nid: t-zzzzz\n---\n")
    snapshot = mill.snapshot()
    for typed in ("t-zzzzz", "zzzzz", "t-z", "z"):
        with pytest.raises(BadDocumentError, match="the key kind is missing"):
            snapshot.resolve(typed)
    with pytest.raises(NoSuchItemError):
        snapshot.resolve("y")


ITEM = (
    "---\nid: {id}\nkind: {kind}\ntitle: x\nstatus: draft\nevent: e\n"
    "created: 2026-01-02T03:04:05Z\nsince: 2026-01-02T03:04:05Z\n---\n"
)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("tasks/zz/notes.txt", "x\n", ":1: expected front matter between two lines `---`"),
        ("tasks/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="task"),
         ":2: id must be the file's own name, not t-zzzzz"),
        ("tasks/yy/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="task"),
         ":2: id must be the file's own name, not t-zzzzz"),
        ("goals/zz/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="task"),
         ":2: id must be the file's own name, not t-zzzzz"),
        ("tasks/zz/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="goal"),
         ":3: kind must be task, as in its id, not goal"),
        ("tasks/zz/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="task").replace("Z\n", "\n"),
         ':7: created must be a time such as 2026-01-02T03:04:05Z, not "2026-01-02T03:04:05"'),
        ("tasks/zz/t-zzzzz.md", ITEM.format(id="t-zzzzz", kind="task\ndue: 2026-99-99"),
         ":4: due: not YAML"),
    ],
)  # fmt: skip
def test_whatever_lies_in_a_folder_of_items_is_named(mill: Mill, path: str, text: str, said: str):
    write(mill, path, text)
    snapshot = mill.snapshot()
    assert {path: error.message for path, error in snapshot.broken.items()} == {path: path + said}
    assert len(snapshot.items) == 3
    assert list(mill.snapshot().files("tasks/zz")) == [path] * path.startswith("tasks/zz")


def test_another_repository_in_a_folder_of_items_is_named(mill: Mill):
    link = Entry("", GITLINK, "12" * 20)
    record = EventRecord(event="board", id="e", by="test")
    mill.store.commit(lambda _: StateCommit("by hand", record, {"tasks/zz/t-zzzzz.md": link}))
    assert list(mill.snapshot().broken) == ["tasks/zz/t-zzzzz.md"]
    assert len(mill.snapshot().items) == 3


def test_items_of_all_kinds_are_read_and_folders_beside_them_are_not(mill: Mill):
    for name, kind in (("a-zzzzz", "analysis"), ("g-zzzzz", "goal"), ("p-zzzzz", "plan")):
        write(mill, layout.item_path(name), ITEM.format(id=name, kind=kind))
    for path in ("runs/zz/t-zzzzz/001-build.md", "inbox/t-zzzzz.md", "frozen/0.md", "tasks.md"):
        write(mill, path, "no item\n")
    snapshot = mill.snapshot()
    assert sorted(set(snapshot.items) - {"t-12345", "t-123457", "t-12346"}) == [
        "a-zzzzz", "g-zzzzz", "p-zzzzz",
    ]  # fmt: skip
    assert snapshot.broken == {}
    assert snapshot.resolve("g-z").kind == "goal"
    with pytest.raises(AmbiguousItemError):
        snapshot.resolve("zzzzz")


def test_a_snapshot_stays_as_it_was(mill: Mill):
    before = mill.snapshot()
    write(mill, "tasks/12/t-12346.md", "gone\n")
    write(mill, "note.txt", "new\n")
    assert before.item("t-12346").title == "Two"
    assert before.read("note.txt") is None
    assert mill.snapshot().read("note.txt") == b"new\n"
    assert before.files("tasks/12") == [
        "tasks/12/t-12345.md", "tasks/12/t-123457.md", "tasks/12/t-12346.md",
    ]  # fmt: skip
    assert before.files("no/such") == before.files("format") == []


# control.md


def control(mill: Mill, text: str) -> Control:
    write(mill, layout.CONTROL, text)
    return mill.snapshot().control


def test_control_reads_the_committed_document(mill: Mill):
    read = control(
        mill,
        "---\n# stop!\ntarget: 1.10\npaused: yes\nqueue_paused: on  # red\nreason: no\n---\n",
    )
    assert (read.target, read.paused, read.queue_paused, read.reason) == ("1.10", True, True, "no")
    read = control(mill, "---\ntarget: main\nqueue_reason: later\n---\n")
    assert (read.paused, read.queue_paused, read.reason) == (False, False, "")
    assert read.queue_reason == "later"
    read = control(mill, "")
    assert (read.target, read.paused, read.reason) == ("main", False, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("paused: true\n", "control.md:1: expected front matter between two lines `---`"),
        ('---\npaused: "true"\n---\n', "control.md:2: paused must be true or false"),
        ("---\ntarget: main\npaused: 1\n---\n", "control.md:3: paused must be true or false"),
        ("---\npaused:\n---\n", "control.md:2: paused must be true or false"),
        ("---\npaused: true\npaused: false\n---\n", "control.md:3: duplicate key paused"),
        ("---\n<<<<<<< ours\npaused: true\n---\n", "control.md:2: expected `key: value`"),
    ],
)
def test_an_emergency_stop_that_is_not_understood_stops(mill: Mill, text: str, said: str):
    write(mill, layout.CONTROL, text)
    with pytest.raises(BadDocumentError) as refused:
        _ = mill.snapshot().control.paused
    assert refused.value.message == said
