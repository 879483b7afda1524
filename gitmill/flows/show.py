"""Read the state, the board, the history and the work of an item."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gitmill.core.item import Item
from gitmill.core.trailers import EventRecord
from gitmill.errors import MissingObjectError
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.store import history, layout
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit

if TYPE_CHECKING:
    from gitmill.core.board import Board


def read(mill: Mill) -> Snapshot:
    """Return the state, for reading only."""
    return mill.store.snapshot(writing=False)


def board(snapshot: Snapshot) -> Board:
    """Return the board of a state."""
    from gitmill.core.board import build_board  # noqa: PLC0415  (most reads show no board)

    control = snapshot.control
    no_reason = "no reason given"
    return build_board(
        snapshot.items,
        paused=(control.reason or no_reason) if control.paused else "",
        queue_paused=(control.queue_reason or no_reason) if control.queue_paused else "",
    )


def events(
    mill: Mill, snapshot: Snapshot, *, item: str = "", limit: int = 0
) -> list[history.Entry]:
    """Return the events of all items or of one, newest first; all when `limit` is 0."""
    entries = history.entries(mill.repository.reader, snapshot.commit, item)
    return list(islice(entries, limit or None))


def diff(mill: Mill, item: Item) -> str:
    """Return the work of an item as a patch, empty when there is none."""
    if not item.work:
        return ""
    if mill.repository.git.run("cat-file", "-e", item.work, check=False).returncode != 0:
        raise MissingObjectError(
            f"the work of {item.id} is no longer in this repository",
            evidence=[item.work],
            hints=[Hint("see its record:", Gitmill("task", "show", item.id))],
        )
    return mill.repository.git.run(
        "diff", "--no-ext-diff", "--stat", "-p", item.base, item.work, "--"
    ).text


def redraw(mill: Mill) -> None:
    """Write the board to the state branch if it has changed, for people who browse the branch."""
    from gitmill.core.board import markdown  # noqa: PLC0415  (most reads show no board)

    event_id = mill.new_token()

    def build(snapshot: Snapshot) -> StateCommit | None:
        text = markdown(board(snapshot)).encode("utf-8", "replace")
        if snapshot.read(layout.BOARD) == text:
            return None
        record = EventRecord(event="board", id=event_id, by=mill.user)
        return StateCommit("board", record, {layout.BOARD: text})

    mill.store.commit(build)
