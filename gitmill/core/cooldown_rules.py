"""When an agent may be used again after an outage or a limit of its service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

UNAUTHORISED = "unauthorised"
FIRST, LONGEST = 30.0, 1800.0  # seconds of the first and longest wait without a reset time
SIGNED_OUT = 3600.0  # seconds, unless a person signs in before
BELIEVED = 7 * 86400.0  # seconds; a reset time further away is cut to this
FORGOTTEN = 86400.0  # seconds after a cool-down; a later outage starts a new streak


@dataclass(frozen=True, slots=True)
class Cooling:
    """The cool-down of an agent: its reason and its end.

    `kind` is the exit of its last attempt, `streak` the number of outages in a row. `login` is a
    digest of its credentials: a change shows that a person signed in again.
    """

    agent: str
    kind: str
    why: str
    since: datetime
    until: datetime
    streak: int = 1
    login: str = ""

    def is_over(self, now: datetime, login: str) -> bool:
        """Whether the agent may be used again; also true when the clock was set back."""
        if self.kind == UNAUTHORISED and login != self.login:
            return True
        return not self.since <= now < self.until

    def describe(self, now: datetime) -> str:
        """Return the exit of its last attempt, the end of the cool-down and the agent's message."""
        message = f": {self.why}" if self.why else ""
        return f"{self.kind}, until {clock(self.until, now)}{message}"


def next_cooling(
    before: Cooling | None,
    *,
    agent: str,
    kind: str,
    why: str,
    now: datetime,
    retry_after: float | None,
    jitter: float,
    login: str = "",
) -> Cooling:
    """Return the cool-down of an agent after an outage; `jitter` is random, from 0 to 1.

    The first outage waits until the reset time that the service gave, if any. If the next attempt
    fails as well, the wait is at least the default one, which doubles each time. Parallel attempts
    that met the same outage count as one.
    """
    same = before is not None and before.since <= now < before.until and before.kind == kind
    recent = before is not None and now < before.until + timedelta(seconds=FORGOTTEN)
    streak = before.streak + (not same) if before is not None and recent else 1
    wait = min(LONGEST, FIRST * 2.0 ** min(streak - 1, 10)) * (1 + jitter) / 2
    if kind == UNAUTHORISED:
        wait = SIGNED_OUT
    elif retry_after is not None:
        given = min(max(retry_after, 1.0), BELIEVED)
        wait = given if streak == 1 else max(given, wait)
    until = now + timedelta(seconds=wait)
    if same and before is not None:
        until = max(until, before.until)
    return Cooling(agent, kind, why, now, until, streak, login)


def render(agents: Mapping[str, Cooling]) -> str:
    """Return the text that `parse` reads."""
    entries = {name: asdict(cooling) for name, cooling in sorted(agents.items())}
    for entry in entries.values():
        entry |= {key: entry[key].astimezone(UTC).isoformat() for key in ("since", "until")}
    return json.dumps({"agents": entries}, indent=1) + "\n"


def parse(text: str) -> dict[str, Cooling]:
    """Read the text that `render` wrote; any other text gives no cool-downs."""
    times = ("since", "until")
    try:
        return {
            name: Cooling(**entry | {
                key: datetime.fromisoformat(entry[key]).astimezone(UTC) for key in times
            })
            for name, entry in json.loads(text)["agents"].items()
        }  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def clock(time: datetime, now: datetime) -> str:
    """Return a time for screens, with the date only if it is not today."""
    time, now = time.astimezone(UTC), now.astimezone(UTC)
    return f"{time:%H:%M} UTC" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M} UTC"
