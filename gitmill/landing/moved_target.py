"""A target that moves while a candidate is checked: notice it at once, and say what was lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gitmill.core.item import Item
from gitmill.errors import TargetMovedError
from gitmill.landing.started import StartedLanding
from gitmill.mill import Mill
from gitmill.workspace.run_checks import landing_checks
from gitmill.workspace.stop_token import InnerToken, StopToken, requested_once

POLL = 0.1  # seconds between two looks at the target


@contextmanager
def until_moved(mill: Mill, landing: StartedLanding, stop: StopToken) -> Iterator[StopToken]:
    """Yield a token that also stops checks once the target has moved: their result is worthless.

    The next try then begins when the target's pause begins. Raises `TargetMovedError` after such a
    stop, and `KeyboardInterrupt` after a request of `stop`.
    """
    moved = TargetMovedError(f"{landing.ref} moved while this was being checked")
    token = InnerToken(stop, lambda: moved)

    def has_moved() -> bool:
        return mill.store.backend.ref(landing.ref) != landing.onto

    with requested_once(token, has_moved, every=POLL):
        yield token


def lost_because(mill: Mill, landing: StartedLanding) -> str:
    """Return why a landing was lost to its target: how long that rested, and the checks' time."""
    branch = landing.ref.removeprefix("refs/heads/")
    rested = f"{branch} moved {_seconds(time.monotonic() - landing.began)} after the landing began"
    times = _measured(mill, landing.item)
    checks = landing_checks(landing.policy, landing.item)
    took = sum(times.get(check.command, 0.0) for check in checks)
    return f"{rested}; its checks take at least {_seconds(took)}" if took else rested


def _measured(mill: Mill, item: Item) -> dict[str, float]:
    """Return the seconds that each check has taken in the item's attempts, by its command."""
    times: dict[str, float] = {}
    for log in mill.snapshot().run_logs(item.id):
        checks = log.value("checks")
        for check in checks if isinstance(checks, list) else ():
            if check.get("passed") and not check.get("cached"):
                times[check["command"]] = float(check["seconds"])
    return times


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
