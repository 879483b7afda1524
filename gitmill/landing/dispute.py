"""A landing that does not read back as it was tested: its item waits, and the queue is paused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from gitmill.core import changes
from gitmill.core.item import Item
from gitmill.core.lifecycle import DISPUTES_SINCE
from gitmill.core.trailers import one_line
from gitmill.errors import LandingBrokenError
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.people import control
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit


def dispute(mill: Mill, item: Item, problems: Sequence[str]) -> NoReturn:
    """Record that the landing of an item is disputed, and pause the queue, in one move.

    Under rules that know no dispute the item stays landed. Raises `LandingBrokenError`.
    """
    why = one_line(f"{item.id} did not land as it was tested: {problems[0]}")
    event_id, now = mill.new_token(), mill.now()
    pause = control.pausing_queue(mill, why)

    def draft(snapshot: Snapshot) -> StateCommit | None:
        landed = snapshot.item(item.id)
        if snapshot.rules < DISPUTES_SINCE or landed.event != item.event:
            return None
        step = Step(
            change=changes.disputed(landed, why),
            subject="disputed, it did not land as it was tested",
            by=mill.user,
        )
        return draft_step(mill.store.backend, snapshot, item.id, step, event_id=event_id, now=now)

    after = mill.store.commit(draft, pause)
    raise LandingBrokenError(
        f"{item.id} did not land as it was tested; the queue is paused",
        evidence=problems,
        hints=[
            Hint("see what landed:", Shell(f"git show {item.landed[:10]}")),
            *_ways_out(after.item(item.id)),
        ],
    )


def _ways_out(item: Item) -> list[Hint]:
    stays = (Gitmill("task", "approve", item.id), ", then") if item.disputed else ()
    return [
        Hint("if it may stay:", *stays, Gitmill("queue", "resume")),
        Hint(
            "if not:",
            Gitmill("undo", item.id),
            ", or build it again:",
            Gitmill("task", "reopen", item.id),
        ),
    ]
