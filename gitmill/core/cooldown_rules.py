"""When an agent may be asked again after an outage or a limit of its service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

UNAUTHORISED = "unauthorised"
FIRST, LONGEST = 30.0, 1800.0  # seconds of the first wait without a reset time, and of any such
SIGNED_OUT = 3600.0  # seconds, unless a person signs in before
BELIEVED = 7 * 86400.0  # a reset time further away than this is not believed
FORGOTTEN = 86400.0  # seconds after which an outage does not count as one of a row any more


@dataclass(frozen=True, slots=True)
class Cooling:
    """Why an agent is not asked, and until when.

    `kind` is how its last attempt ended, `streak` the number of outages in a row. `login` is a
    digest of its credentials: a change shows that it was signed in again.
    """

    agent: str
    kind: str
    why: str
    since: datetime
    until: datetime
    streak: int = 1
    login: str = ""

    def is_over(self, now: datetime, login: str) -> bool:
        """Whether it may be asked again; also when the clock was set back."""
        if self.kind == UNAUTHORISED and login != self.login:
            return True
        return not self.since <= now < self.until

    def told(self, now: datetime) -> str:
        """Return how its last attempt ended, when the cool-down ends, and its own message."""
        said = f": {self.why}" if self.why else ""
        return f"{self.kind}, until {clock(self.until, now)}{said}"


def cooled(
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
    """Return how an agent cools down after an outage; `jitter` is random, from 0 to 1.

    The reset time that its service gave is believed once; when the next attempt fails as well, the
    wait is at least the one that doubles each time. Attempts that ran side by side and met the same
    outage count as one.
    """
    same = before is not None and before.since <= now < before.until and before.kind == kind
    recent = before is not None and now < before.until + timedelta(seconds=FORGOTTEN)
    streak = before.streak + (not same) if before is not None and recent else 1
    wait = min(LONGEST, FIRST * 2.0 ** min(streak - 1, 10)) * (1 + jitter) / 2
    if kind == UNAUTHORISED:
        wait = SIGNED_OUT
    elif retry_after is not None:
        told = min(max(retry_after, 1.0), BELIEVED)
        wait = told if streak == 1 else max(told, wait)
    until = now + timedelta(seconds=wait)
    if same and before is not None:
        until = max(until, before.until)
    return Cooling(agent, kind, why, now, until, streak, login)


def render(agents: Mapping[str, Cooling]) -> str:
    """Return the text that `parse` reads."""
    told = {name: asdict(one) for name, one in sorted(agents.items())}
    for one in told.values():
        one |= {key: one[key].astimezone(UTC).isoformat() for key in ("since", "until")}
    return json.dumps({"agents": told}, indent=1) + "\n"


def parse(text: str) -> dict[str, Cooling]:
    """Read what `render` wrote; nothing from a text that is something else."""
    try:
        found = json.loads(text)["agents"]
        return {
            name: Cooling(**one | {
                key: datetime.fromisoformat(one[key]).astimezone(UTC) for key in ("since", "until")
            })
            for name, one in found.items()
        }  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def clock(time: datetime, now: datetime) -> str:
    """Return a time as a screen has it: the day only when it is another one."""
    time, now = time.astimezone(UTC), now.astimezone(UTC)
    return f"{time:%H:%M} UTC" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M} UTC"
