"""What fsck has verified it does not verify again, and finds the same as if it did."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gitmill import __version__
from gitmill.attempts.stage_types import all_types
from gitmill.core.document import Document
from gitmill.flows.run import RunRequest, run
from gitmill.history.fsck import Verified, fsck
from gitmill.mill import Mill
from gitmill.people import control, decisions
from gitmill.people.intake import NewTask, new_task
from gitmill.store.audit.replay_history import audit, line_of
from gitmill.workspace.own_files import VERIFIED
from tests.history.conftest import History, silent
from tests.history.parts import in_two_parts
from tests.support.cli import gitmill
from tests.support.forge import STATE, Forgery

pytestmark = pytest.mark.forges


def verify(history: History, **how: object) -> Verified:
    return fsck(Mill.open(history.repo.path), **how)  # type: ignore[arg-type]


def found(verified: Verified) -> list[tuple[str, str]]:
    return [(fault.rule, fault.commit) for fault in verified.report.faults]


def memory(history: History) -> Path:
    return history.repo.git_dir / "gitmill" / VERIFIED


def land_another(history: History) -> None:
    mill = Mill.open(history.repo.path)
    task = NewTask(title="Another", script="echo d > d.txt", criteria=["$ test -e d.txt"])
    new_task(mill, task, ready=True)
    run(mill, RunRequest(), *silent())


def test_the_second_run_verifies_what_is_new(history: History):
    first = verify(history)
    assert (first.before, first.holds) == (0, True)
    second = verify(history)
    assert (second.before, second.holds, second.landings) == (first.commits, True, 2)
    land_another(history)
    third = verify(history)
    assert (third.before, third.holds, third.landings) == (first.commits, True, 3)
    assert len(third.report.landings) == 1, "only the new one was verified"
    again = verify(history, again=True)
    assert (again.before, again.holds, again.landings) == (0, True, 3)
    assert again.report.replayed == third.report.replayed


def test_each_commit_of_a_history_is_one_to_go_on_from(history: History):
    """After it the replay knows the same as one from the root, and asks to verify the same."""
    mill = Mill.open(history.repo.path)
    control.pause(mill, "lunch")
    decisions.reopen(mill, history.first)
    control.resume(mill)
    decisions.cancel(mill, history.first, "enough")
    line = line_of(mill.store.backend, mill.snapshot().commit)
    whole = audit(mill.store.backend, line, all_types())
    assert whole.faults == whole.unknown == []
    for count in range(1, len(line.commits)):
        rest = in_two_parts(mill, line, count)
        assert rest.replayed == whole.replayed, count
        assert rest.faults == []
        after = line.commits[count:]
        for name in ("landings", "reads", "reverts", "reverses", "already_there", "notices"):
            expected = [each for each in getattr(whole, name) if each.commit in after]
            assert getattr(rest, name) == expected, (count, name)


def test_a_fault_behind_what_is_remembered_is_found_and_nothing_is_remembered_of_it(
    history: History,
):
    verify(history)
    kept = memory(history).read_bytes()
    land_another(history)
    forgery = Forgery(history.repo)
    claimed = [one for one in forgery.commits if one.trailer("Event") == "claimed"][-1]
    claimed.say(By="Eve <eve@example.com>")
    forgery.write()
    for _ in range(2):
        verified = verify(history)
        assert found(verified)
        assert {commit for _, commit in found(verified)} == {forgery.oid(claimed)}
        assert verified.before == int(kept.partition(b'"commits":')[2].partition(b",")[0])
    assert memory(history).read_bytes() == kept


def test_a_rewritten_history_is_verified_from_its_root(history: History):
    verify(history)
    forgery = Forgery(history.repo)
    forged = forgery.find("queued", history.first).say(After="0123456789abcdef")
    forgery.write()
    verified = verify(history)
    assert (verified.before, found(verified)) == (0, [("broken-chain", forgery.oid(forged))])


def test_a_note_that_was_changed_since_is_found(history: History):
    verify(history)
    note = Document(history.repo.git("notes", "--ref=gitmill", "show", "main") + "\n")
    text = note.set("checks", ["eve"]).text.encode()
    history.repo.git("notes", "--ref=gitmill", "add", "-f", "-F", "-", "main", stdin=text)
    assert [rule for rule, _ in found(verify(history))] == ["note"]
    history.repo.git("notes", "--ref=gitmill", "remove", "main")
    assert [rule for rule, _ in found(verify(history))] == ["note"]


def test_a_landing_that_the_target_has_lost_since_is_found(history: History):
    verify(history)
    history.repo.git("reset", "-q", "--hard", "main~1")
    verified = verify(history)
    assert verified.before > 0
    assert ([rule for rule, _ in found(verified)], verified.landings) == (["not-on-target"], 1)


def test_a_commit_that_names_an_item_and_came_to_the_target_since_is_found(history: History):
    verify(history)
    history.repo.commit({"e.txt": "e\n"}, f"Not reviewed\n\nGitmill-Item: {history.first}")
    assert [rule for rule, _ in found(verify(history))] == ["not-landed"]


def test_a_notice_is_repeated(history: History):
    behind = Mill(
        Mill.open(history.repo.path).repository,
        clock=lambda: datetime.now(UTC) - timedelta(hours=1),
    )
    decisions.cancel(behind, history.fourth, "no")
    first = verify(history)
    assert [notice.rule for notice in first.report.notices] == ["clock"]
    second = verify(history)
    assert (second.before, second.report.notices) == (first.commits, first.report.notices)


def test_a_hand_edit_that_waits_is_applied_later(history: History):
    path = f"tasks/{history.third[2:4]}/{history.third}.md"
    document = Document(history.repo.git("show", f"{STATE}:{path}") + "\n").set("priority", 0)
    forgery = Forgery(history.repo)
    forgery.insert(forgery.commits[-1], message="by hand\n", files={path: document.to_bytes()})
    forgery.write()
    for _ in range(2):
        assert [notice.rule for notice in verify(history).report.notices] == ["hand-edit"]
    assert gitmill(history.repo.path, "task", "cancel", history.fourth, "-m", "no").code == 0
    verified = verify(history)
    assert (verified.holds, verified.report.notices) == (True, [])
    assert verified.before > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(path.read_bytes().replace(__version__.encode(), b"9.9.9")),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"commits":', b'"commits":1')),
        lambda path: path.unlink() or os.mkfifo(path),
        lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"),
        lambda path: path.unlink() or path.mkdir(),
        lambda path: path.unlink(),
    ],
    ids=["broken", "of another gitmill", "another number", "a FIFO", "a link", "a folder", "lost"],
)
def test_a_memory_that_cannot_be_used_is_made_again(
    history: History, spoil: Callable[[Path], object]
):
    verify(history)
    kept = memory(history).read_bytes()
    spoil(memory(history))
    verified = verify(history)
    assert (verified.before, verified.holds) == (0, True)
    assert memory(history).is_file()
    assert not memory(history).is_symlink()
    assert memory(history).read_bytes() == kept


def test_a_range_begins_no_later_than_asked(history: History):
    verify(history)
    land_another(history)
    new = verify(history, commits=f"{STATE}~2..")
    assert (new.commits, new.before, len(new.report.landings)) == (2, 0, 1)
    old = verify(history, since="main~1")
    assert (old.landings, old.holds) == (1, True)
    forgery = Forgery(history.repo)
    forgery.write()
    early = forgery.oid(forgery.find("created", history.first))
    assert len(verify(history, commits=f"{early}..").report.landings) == 3
    assert len(verify(history, commits=f"..{STATE}~2").report.landings) == 2


def test_the_screen_says_what_was_verified_before(history: History):
    gitmill(history.repo.path, "fsck")
    count = history.repo.git("rev-list", "--count", STATE)
    said = gitmill(history.repo.path, "fsck")
    assert said.out == f"{count} commits ({count} verified before), 4 items, 2 landings verified\n"
    assert gitmill(history.repo.path, "fsck", "--json").json["verified_before"] == int(count)
    said = gitmill(history.repo.path, "fsck", "--all")
    assert said.out == f"{count} commits, 4 items, 2 landings verified\n"
