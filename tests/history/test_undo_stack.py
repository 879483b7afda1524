"""After any decisions in any order, undo restores the earlier states one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmill.core.lifecycle import Event, Status, is_transition
from gitmill.errors import CannotUndoError, GitmillError
from gitmill.flows import take
from gitmill.flows.init import init
from gitmill.flows.land_queue import dequeue, enqueue
from gitmill.history import undo, undo_target
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import NewTask, edit_task, new_task, ready_task
from gitmill.store.history import entries
from tests.support.repos import Sandbox
from tests.support.seeds import times

BOOKKEEPING = {"event", "since", "attempt"}
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
    "undo": lambda mill, task: undo.undo_event(mill, undo_target.target_for_item(mill, task)),
}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Mill:
    """Return one repository for all examples; each example has its own task."""
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


def contents(mill: Mill, task: str) -> dict[str, Any]:
    document = mill.snapshot().item(task).document
    fields = {key: document.value(key) for key in document.fields if key not in BOOKKEEPING}
    return fields | {"body": document.body}


def waiting(mill: Mill) -> str:
    """Make a task with work by a person that waits for another person's review."""
    task = new_task(
        mill, NewTask(title="T", script="true", criteria=["$ true", "prose"]), ready=True
    ).id
    _, folder = take.take(mill, task)
    Path(folder, "b.txt").write_text(task)
    take.submit(mill, task, "made", lambda _: None)
    from gitmill.attempts.attempt import run_stages
    from gitmill.attempts.claim import claim
    from gitmill.core.pipeline import group
    from gitmill.workspace.stop_token import StopToken

    now = claim(mill, task)
    run_stages(mill, now, group(now.plan, now.item.stage), lambda _: None, StopToken())
    assert mill.snapshot().item(task).status is Status.WAITING
    return task


@settings(max_examples=times(20))
@given(begun=st.booleans(), names=st.lists(st.sampled_from(sorted(DECISIONS)), max_size=14))
def test_repeated_undo_restores_every_earlier_state(mill: Mill, begun: bool, names: list[str]):  # noqa: FBT001
    if begun and not hasattr(mill, "spare"):
        mill.spare = waiting(mill)
    task = mill.spare if begun else new_task(mill, NewTask(title="T", criteria=["$ true"])).id
    start = contents(mill, task)
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
            assert contents(mill, task) == stack[-1]
        else:
            stack.append(contents(mill, task))
    commits = sum(1 for _ in entries(mill.store.backend, mill.snapshot().commit, task))
    while len(stack) > 1:
        stack.pop()
        undo.undo_event(mill, undo_target.target_for_item(mill, task))
        assert contents(mill, task) == stack[-1]
        commits += 1
    history = list(entries(mill.store.backend, mill.snapshot().commit, task))
    assert len(history) == commits, "nothing is removed"
    for entry in history:
        record = entry.record
        at = Status(record.status_before) if record.status_before else None
        assert is_transition(at, Event(record.event), Status(record.to))
    if not begun:
        undo.undo_event(mill, undo_target.target_for_item(mill, task))
        assert contents(mill, task)["status"] == "cancelled"
        with pytest.raises(CannotUndoError):
            undo_target.target_for_item(mill, task)
