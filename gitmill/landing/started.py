"""A landing under way, and the event that starts it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gitmill.config import Policy
from gitmill.core import changes
from gitmill.core.item import Item, Landing
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.events import Step
from gitmill.workspace.leases import new_lease
from gitmill.workspace.run_checks import landing_checks

LEASE = 3600.0  # seconds in addition to the checks' own time limits


@dataclass
class StartedLanding:
    """One landing under way."""

    item: Item
    ref: str
    onto: str
    policy: Policy
    candidate: str
    claim: str
    started: str
    began: float = field(default_factory=time.monotonic)


def start(mill: Mill, landing: StartedLanding) -> None:
    """Record the start in the state, with a lease for the time of the checks."""
    checks = landing_checks(landing.policy, landing.item)
    seconds = LEASE + 3 * sum(check.timeout for check in checks)
    step = Step(
        change=changes.land_started(
            landing=Landing(landing.candidate, landing.onto, landing.ref),
            lease=new_lease(mill, mill.user, seconds, claim=landing.claim),
        ),
        subject=f"landing on {landing.ref.removeprefix('refs/heads/')}",
        by=mill.user,
        claim=landing.claim,
        after=landing.item.event,
        target=landing.onto,
        refs={f"{layout.CANDIDATE}{landing.item.id}": landing.candidate},
        extra={"Candidate": landing.candidate, "Onto": landing.onto},
    )
    landing.item = mill.apply(landing.item.id, step).item(landing.item.id)
