"""Whatever people decide in whatever order: undo goes back through it, one state after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.core.lifecycle import Event, Status, leads
from gitmill.errors import CannotUndoError, GitmillError
from gitmill.flows import person
from gitmill.flows.init import init
from gitmill.flows.queue import dequeue, enqueue
from gitmill.history import undo, undo_target
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import NewTask, edit_task, new_task, ready_task
from gitmill.store.history import entries
from tests.support.repos import Sandbox
from tests.support.seeds import times

BOOKS = {"event", "since", "attempt"}
DECISIONS: dict[str, Any] = {
    "title": lambda mill, task: edit_task(mill, task, {"title": "Other"}, body=None),
    "text": lambda mill, task: edit_task(mill, task, {"priority": 0}, body="\nMore.\n"),
    "criteria": lambda mill, task: edit_task(mill, task, {"criteria": ["$ false"]}, body=None),
    "ready": ready_task,
    "block": lambda mill, task: decisions.block(mill, task, "why"),
    "unblock": lambda mill, task: decisions.unblock(mill, task, reset=False),
    "retry": lambda mill, task: decisions.unblock(mill, task, reset=True),
    "cancel": lambda mill, task: decisions.cancel(mill, task, "why"),
    "reopen": decisions.reopen,
    "approve": decisions.approve,
    "return": lambda mill, task: decisions.send_back(mill, task, "no"),
    "answer": lambda mill, task: decisions.answer(mill, task, "yes"),
    "enqueue": enqueue,
    "dequeue": dequeue,
    "undo": lambda mill, task: undo.take_back(mill, undo_target.last_of(mill, task)),
}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Mill:
    """Return one repository for all examples; each has a task of its own."""
    root = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch:
        config = root / "gitconfig"
        config.write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        repo = Sandbox(root).repo(files={"a.txt": "a\n"})
    for name in ("user.name=Ada", "user.email=ada@example.com", "gitmill.durability=none"):
        repo.git("config", *name.split("="))
    mill = Mill.open(repo.path)
    init(mill)
    return mill


def stands(mill: Mill, task: str) -> dict[str, Any]:
    document = mill.snapshot().item(task).document
    fields = {key: document.value(key) for key in document.fields if key not in BOOKS}
    return fields | {"body": document.body}


def waiting(mill: Mill) -> str:
    """Make a task with work by a person that waits for another person's judgement."""
    task = new_task(
        mill, NewTask(title="T", script="true", criteria=["$ true", "prose"]), ready=True
    ).id
    _, folder = person.take(mill, task)
    Path(folder, "b.txt").write_text(task)
    person.submit(mill, task, "made", lambda _: None)
    from gitmill.attempts.attempt import carry, claim
    from gitmill.core.pipeline import group

    now = claim(mill, task)
    carry(mill, now, group(now.plan, now.item.stage), lambda _: None)
    assert mill.snapshot().item(task).status is Status.WAITING
    return task


@settings(max_examples=times(20))
@given(begun=st.booleans(), names=st.lists(st.sampled_from(sorted(DECISIONS)), max_size=14))
def test_undo_is_a_way_back_through_everything(mill: Mill, begun: bool, names: list[str]):  # noqa: FBT001
    if begun and not hasattr(mill, "spare"):
        mill.spare = waiting(mill)
    task = mill.spare if begun else new_task(mill, NewTask(title="T", criteria=["$ true"])).id
    start = stands(mill, task)
    stack = [start]
    for name in names:
        if name == "undo" and len(stack) == 1:
            continue
        try:
            DECISIONS[name](mill, task)
        except GitmillError:
            continue
        if name == "undo":
            stack.pop()
            assert stands(mill, task) == stack[-1]
        else:
            stack.append(stands(mill, task))
    commits = sum(1 for _ in entries(mill.store.backend, mill.snapshot().commit, task))
    while len(stack) > 1:
        stack.pop()
        undo.take_back(mill, undo_target.last_of(mill, task))
        assert stands(mill, task) == stack[-1]
        commits += 1
    told = list(entries(mill.store.backend, mill.snapshot().commit, task))
    assert len(told) == commits, "nothing is removed"
    for entry in told:
        record = entry.record
        at = Status(record.at) if record.at else None
        assert leads(at, Event(record.event), Status(record.to))
    if not begun:
        undo.take_back(mill, undo_target.last_of(mill, task))
        assert stands(mill, task)["status"] == "cancelled"
        with pytest.raises(CannotUndoError):
            undo_target.last_of(mill, task)
