"""Reading the state: prefixes, damaged files, the story."""

from __future__ import annotations

import pytest

from gitmill.core.trailers import EventRecord
from gitmill.errors import AmbiguousItemError, BadDocumentError, NoSuchItemError
from gitmill.flows.intake import NewTask, new_task
from gitmill.mill import Mill
from gitmill.store import history
from gitmill.store.transaction import Draft
from tests.support.cli import gitmill
from tests.support.repos import Sandbox


@pytest.fixture
def mill(sandbox: Sandbox) -> Mill:
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
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
    mill.store.commit(lambda _: Draft("by hand", record, {path: text.encode()}))


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
        ("---\nid: t-zzzzz\nid: t-zzzzz\n---\n", "tasks/zz/t-zzzzz.md:3: the key id stands twice"),
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


def test_the_story_is_told_newest_first_and_by_item(mill: Mill):
    tip = mill.snapshot().commit
    told = list(history.entries(mill.store.backend, tip))
    assert [e.record.event if e.record else None for e in told] == [
        "created", "created", "created", "upgraded", None,
    ]  # fmt: skip
    one = list(history.entries(mill.store.backend, tip, "t-12346"))
    assert [e.subject for e in one] == ["t-12346: created, Two"]
