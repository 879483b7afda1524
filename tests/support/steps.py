"""Steps that set any fields, for tests of what lies below the rules."""

from __future__ import annotations

from typing import Any

from gitmill.core.change import Change
from gitmill.core.lifecycle import Event
from gitmill.store.events import Step

KEEPS_LEASE = (Event.CLAIMED, Event.LAND_STARTED, Event.EDITED, Event.SPLIT)


def step(
    event: Event,
    *,
    fields: dict[str, Any] | None = None,
    stage: str | None = None,
    body: str | None = None,
    **more: Any,
) -> Step:
    """Return a step; a list in `fields` is as good as a tuple, and a run log is the first one."""
    changed = {n: tuple(v) if isinstance(v, list) else v for n, v in (fields or {}).items()}
    changed |= {} if event in KEEPS_LEASE else {"lease": None}
    changed |= {} if stage is None else {"stage": stage}
    changed |= {"attempt": changed.get("attempt", 1)} if more.get("run") else {}
    defaults = {"subject": event.value, "by": "me"}
    return Step(change=Change(event, changed, body), **defaults | more)
