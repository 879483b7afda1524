"""A history replayed in two parts, with what fsck would remember between them."""

from __future__ import annotations

from pydantic import TypeAdapter

from gitmill.attempts.stage_types import all_types
from gitmill.mill import Mill
from gitmill.store.audit.replay_history import Line, audit
from gitmill.store.audit.replayed import Replayed
from gitmill.store.audit.report import AuditReport

ADAPTER = TypeAdapter(Replayed)


def in_two_parts(mill: Mill, line: Line, count: int) -> AuditReport:
    """Return the report of the commits after the first `count`."""
    first = Line(line.commits[count - 1], line.commits[:count])
    known = audit(mill.store.backend, first, all_types()).replayed
    return audit(
        mill.store.backend, line, all_types(), ADAPTER.validate_json(ADAPTER.dump_json(known))
    )
