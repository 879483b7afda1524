"""Anchor the state branch: by hand, or after landings as the policy wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gitmill.config.values import Anchor as When
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.errors import GitmillError, NothingToDoError
from gitmill.history.anchors import Anchor, has_anchor_of_today, make_anchor
from gitmill.mill import Mill
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.plans.policy import policy_now


def anchor(mill: Mill, why: str = "") -> Anchor:
    """Sign a tag of the state's tip.

    Raises `HoldsSecretError`, `CannotSignError`, and `NothingToDoError` if it has one already.
    """
    refuse_secrets(mill, {"message": why})
    return make_anchor(mill, why)


def anchor_landings(mill: Mill, items: Iterable[Item], report: Callable[[str], None]) -> None:
    """Anchor the state after a command that landed items, if the policy wants it.

    `report` receives a warning if that fails: what has landed has landed.
    """
    if not any(item.status is Status.LANDED for item in items):
        return
    try:
        when = policy_now(mill).audit.anchor
        if when is When.OFF or (when is When.DAY and has_anchor_of_today(mill)):
            return
        make_anchor(mill)
    except NothingToDoError:
        return
    except (GitmillError, OSError) as error:  # a warning, for what has landed has landed
        evidence = error.evidence[-1:] if isinstance(error, GitmillError) else ()
        why = "; ".join([str(error), *evidence])
        report(f"warning: the state branch has no anchor of these landings: {why}")
