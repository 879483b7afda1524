"""Who takes room on this machine, in lines for `gc` and `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from gitmill.core.board import age
from gitmill.git.disk import readable
from gitmill.workspace.disk_use import Kept

SHOWN = 10


def disk_lines(kept: Iterable[Kept], now: datetime, marks: Iterable[Kept] = ()) -> Iterator[str]:
    """Yield a line for each of the first ten: what it is, size, age, item; then how many more.

    `marks` are those that would be removed.
    """
    rows = list(kept)
    marked = {(one.kind, one.name) for one in marks}
    width = max((len(one.name) for one in rows[:SHOWN]), default=0)
    for one in rows[:SHOWN]:
        old = age(datetime.fromtimestamp(one.used, UTC), now)
        notes = [one.item] if one.item and one.item != one.name else []
        notes += ["in use"] if one.is_busy else []
        notes += ["would be removed"] if (one.kind, one.name) in marked else []
        line = f"{one.kind:<5}  {one.name:<{width}}  {readable(one.size):>9}  {old:>4}"
        yield f"{line}  {', '.join(notes)}".rstrip()
    if len(rows) > SHOWN:
        yield f"and {len(rows) - SHOWN} more"
