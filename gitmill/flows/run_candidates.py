"""The items that a run can attempt next, and those that wait because a check is red."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gitmill.attempts.stage_types import all_types
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.core.pipeline import eligible
from gitmill.core.red_target import needed, red_checks, sentence
from gitmill.errors import GitmillError, RedTargetError
from gitmill.flows.run_summary import Summary
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.loops import served_kinds
from gitmill.plans.policy import policy_at
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.open_workspace import refused_folders


def candidates(
    mill: Mill, snapshot: Snapshot, wanted: Collection[str], summary: Summary
) -> list[Item]:
    """Return the eligible items that this run has not given up on, in their order."""
    note_red(mill, snapshot, wanted, summary)
    kinds, tip = served_kinds(mill, snapshot, all_types()), mill.target_tip(snapshot)
    asked = set(wanted) - summary.asked
    return [
        item
        for item in eligible(snapshot.items, wanted, kinds=kinds, tip=tip, asked=asked)
        if item.id not in summary.released
        if item.id not in summary.not_now
        if item.id not in summary.untrusted
    ]


def note_red(mill: Mill, snapshot: Snapshot, wanted: Collection[str], summary: Summary) -> None:
    """Note the items of a run that wait for the target to move in `summary.not_now`."""
    summary.clear_red()
    target = snapshot.control.target
    waits = list(waiting(mill, snapshot, asked=set(wanted) - summary.asked))
    finders = {check: item.id for item, check in waits if item.red_target is not None}
    unshared = _unshared(mill, snapshot) if waits else []
    for item, check in waits:
        if not wanted or item.id in wanted:
            asks = finders.get(check, item.id)  # its own run asks the target again
            summary.not_now[item.id] = red_target(check, target, asks, unshared)


def waiting(
    mill: Mill, snapshot: Snapshot, *, asked: Collection[str] = ()
) -> Iterator[tuple[Item, str]]:
    """Yield the items that wait for the target to move, each with its red check.

    Not built are also items that need a check that another one has found red, unless they are
    `asked` for by name.
    """
    tip = mill.target_tip(snapshot)
    red = red_checks(snapshot.items.values(), tip)
    for item in snapshot.items.values() if red else ():
        if item.red_target is not None and item.stands_red(tip):
            if item.status in (Status.READY, Status.QUEUED) and item.id not in asked:
                yield item, item.red_target.check
        elif item.status is Status.READY and item.id not in asked:
            check = _needed(mill, snapshot, item, tip, red)
            if check:
                yield item, check


def _needed(mill: Mill, snapshot: Snapshot, item: Item, tip: str, red: Collection[str]) -> str:
    try:
        return needed(plan_for(mill, snapshot, item, tip, all_types()), item, red)
    except GitmillError:  # a run reports it when it claims the item
        return ""


def _unshared(mill: Mill, snapshot: Snapshot) -> list[str]:
    """Return the dependency folders that the target's tree has to do without, with the reasons.

    There is none if the policy has a set-up, which makes them.
    """
    tip = mill.target_tip(snapshot)
    policy = policy_at(mill, tip)
    if policy.worktree.setup:
        return []
    return [f"not shared: {path}, {why}" for path, why in refused_folders(mill, policy, tip)]


def red_target(
    check: str, target: str, item_id: str, unshared: Sequence[str] = ()
) -> RedTargetError:
    """Return why an item cannot start now: a check that it needs is red on the target.

    `unshared` are the dependency folders of the checkout without which it may be red.
    """
    make = Hint("make what is not shared: `[worktree] setup` in .gitmill/config.toml, then",
                Gitmill("run"))  # fmt: skip
    fix = Gitmill("task", "new", Blank('"Fix it"'), "--fixes-check", check, "--ready")
    return RedTargetError(
        f"{sentence(check, target)}: what needs it waits until {target} moves",
        evidence=unshared,
        hints=[
            *([make] if unshared else []),
            Hint("let it be fixed:", fix),
            Hint(f"or fix {target}, or ask again with", Gitmill("run", item_id)),
        ],
    )
