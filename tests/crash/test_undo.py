"""An undo ends before or after its Nth outside effect; what is left is done or as it was."""

from __future__ import annotations

import atexit
import shutil
import signal
from functools import cache

import pytest

from gitmill.core.document import Document
from tests.crash.test_chokepoints import (
    CHECKED_OUT,
    SHARE,
    every,
    points,
    sweep,
)
from tests.support.crash_cases import (
    Case,
    Server,
    Template,
    age_locks,
    check_checkout,
    check_history,
    check_leftovers,
    copied,
    document,
    events,
    statuses,
    template,
)
from tests.support.seeds import stride

BOOKS = {"event", "since", "attempt"}
UNDO = ("--criterion", "$ ! grep -q two a.txt")


def fields(item: Document) -> dict:
    return {key: item.value(key) for key in item.fields if key not in BOOKS}


@cache
def landed(server: Server, *, checked_out: bool) -> Template:
    """Return a repository with both tasks landed."""
    made = template(server, checked_out=checked_out)
    with copied(made, made.folder.with_name(f"{made.folder.name}-landed"), server) as case:
        assert case.run("run") == 0
        return _kept(case)


@cache
def built(server: Server) -> Template:
    """Return a repository whose first task was built, and whose review was undone."""
    made = template(server, checked_out=True)
    with copied(made, made.folder.with_name(f"{made.folder.name}-built"), server) as case:
        assert case.run("run", case.tasks[0], "--through", "approved") == 0
        assert case.run("undo", case.tasks[0]) == 0
        return _kept(case)


def _kept(case: Case) -> Template:
    shutil.rmtree(case.repo.git_dir / "worktrees", ignore_errors=True)
    folder = case.folder.with_name(f"{case.folder.name}-kept")
    shutil.copytree(case.folder, folder, ignore=shutil.ignore_patterns("home", "said-*"))
    atexit.register(shutil.rmtree, folder)
    return Template(folder, case.branch, case.tasks)


# -- of an event -----------------------------------------------------------------------------------


def event_undone(case: Case, failpoint: str) -> bool:
    """The build is undone as a whole or not at all, and its work is never lost."""
    first = case.tasks[0]
    before, work = fields(document(case, first)), document(case, first).text_value("work")
    code = case.run("undo", first, failpoint=failpoint)
    age_locks(case)
    assert code in (0, -signal.SIGKILL)
    if fields(document(case, first)) == before:
        assert code != 0
        assert case.repo.git("rev-parse", f"refs/gitmill/work/{first}") == work
        assert case.run("recover") == 0
        assert case.run("undo", first) == 0
    assert document(case, first).value("work") is None
    assert document(case, first).value("counters") is None
    assert case.repo.git("rev-parse", f"refs/gitmill/rescue/{first}/1") == work
    assert case.run("recover") == 0
    assert case.run("run") == 0
    assert statuses(case) == ["landed", "landed"]
    check_history(case)
    check_checkout(case)
    check_leftovers(case)
    return code != 0


@pytest.mark.slow
def test_an_undo_dies(tmp_path, server):
    assert sweep(built(server), tmp_path, server, every(stride(9)), event_undone) > 1


@pytest.mark.slow
def test_an_undo_dies_anywhere(tmp_path, server):
    assert sweep(built(server), tmp_path, server, every(1), event_undone) > 10


# -- of a landing ----------------------------------------------------------------------------------


def landing_undone(case: Case, failpoint: str) -> bool:
    """The landing is undone once, by the one task, with or without a second undo."""
    first, second = case.tasks
    code = case.run("undo", first, *UNDO, failpoint=failpoint)
    age_locks(case)
    assert code in (0, -signal.SIGKILL)
    begun = {told.record.item for told in events(case.repo)} - {first, second, ""}
    case.run("run")
    assert statuses(case)[1] == "landed"
    if begun:
        assert statuses(case)[0] == "waiting", "the next run finishes what was begun"
    else:
        assert case.run("undo", first, *UNDO) == 0
    check_reverted(case)
    return code != 0


def check_reverted(case: Case) -> None:
    repo, (first, second) = case.repo, case.tasks
    (back,) = {told.record.item for told in events(repo)} - {first, second, ""}
    check_history(case, also=[back])
    item = document(case, back)
    assert item.text_value("status") == "landed"
    assert document(case, first).text_value("status") == "waiting"
    assert document(case, first).text_value("reverted") == item.text_value("landed")
    named = repo.git("log", "--format=%(trailers:key=Gitmill-Item,valueonly)", "main").split()
    assert named == [back, second, first]
    assert repo.git("show", "main:a.txt") == "one"
    assert repo.git("show", "main:b.txt") == "new"
    said = [told.record.event for told in events(repo) if told.record.item == first]
    assert said[-1] == "reverted"
    assert said.count("reverted") == 1
    check_checkout(case)
    check_leftovers(case)


@pytest.mark.slow
@SHARE
@CHECKED_OUT
def test_an_undo_of_a_landing_dies_anywhere(tmp_path, server, checked_out, share):
    made = landed(server, checked_out=checked_out)
    assert sweep(made, tmp_path, server, points(share, 1), landing_undone) > 10
