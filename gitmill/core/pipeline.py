"""Choose the next item, and its next step after a verdict, by the frozen plan and the counters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gitmill.core.dependencies import unmet
from gitmill.core.ids import Kind
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.plans.plan import (
    APPROVED,
    AUTHOR,
    BLOCKED,
    DONE,
    WAITING,
    FrozenPlan,
    Performer,
    PlannedStage,
)
from gitmill.core.product import Product
from gitmill.core.verdict import Verdict, VerdictWord


@dataclass(frozen=True, slots=True)
class NextStep:
    """The effect of an outcome on its item: the event, the next stage, counters and the reason."""

    event: Event
    stage: str
    counters: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


def eligible(
    items: Mapping[str, Item],
    wanted: Collection[str] = (),
    *,
    kinds: Collection[Kind],
    tip: str = "",
    asked: Collection[str] = (),
) -> list[Item]:
    """Return the items that can be claimed now, in the order to take them.

    `kinds` are those that a loop serves. An item waits for unmet dependencies, for a running item
    with overlapping paths, and, unless it is one of those `asked` for by name, while a check that
    it needs is red at the target's `tip`. `wanted` restricts the choice to these ids.
    """
    running = [item for item in items.values() if item.status is Status.RUNNING]
    ready = [
        item
        for item in items.values()
        if item.status is Status.READY
        and item.kind in kinds
        and (not wanted or item.id in wanted)
        and not unmet(items, item)
        and (item.id in asked or not item.stands_red(tip))
        and not any(paths_overlap(item.paths, other.paths) for other in running)
    ]
    return sorted(ready, key=lambda item: (item.priority, item.created, item.id))


def paths_overlap(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether two lists of patterns can match the same file, judging by their literal prefixes."""
    others = [_literal(pattern) for pattern in theirs]
    return any(a[: len(b)] == b or b[: len(a)] == a for a in map(_literal, ours) for b in others)


def _literal(pattern: str) -> list[str]:
    parts = pattern.lstrip("/").rstrip("/").split("/")
    return parts[
        : next((n for n, p in enumerate(parts) if any(c in p for c in "*?[!")), len(parts))
    ]


def group(plan: FrozenPlan, first: str) -> list[PlannedStage]:
    """Return the stages of one attempt: the first, and the mechanical ones after it."""
    stages = [plan.stage(first)]
    while True:
        after = stages[-1].edges.get(VerdictWord.PASS, "")
        if not is_stage(plan, after) or plan.stage(after).performer is not Performer.GITMILL:
            return stages
        if any(stage.name == after for stage in stages):
            return stages
        stages.append(plan.stage(after))


def time_limit(plan: FrozenPlan, first: str) -> int:
    """Return the seconds that an attempt may take: the limits of its stages together."""
    return sum(stage.timeout for stage in group(plan, first))


def is_stage(plan: FrozenPlan, name: str) -> bool:
    """Whether an edge leads to a stage and not to an end of the loop."""
    return any(stage.name == name for stage in plan.stages)


def next_after_pass(plan: FrozenPlan, item: Item, stage: str) -> str:
    """Return the target of a pass: a stage or an end. Gates that are not required are skipped."""
    name = plan.stage(stage).edges[VerdictWord.PASS]
    while is_stage(plan, name) and not _wanted(plan, name, item):
        name = plan.stage(name).edges[VerdictWord.PASS]
    return name


def _wanted(plan: FrozenPlan, name: str, item: Item) -> bool:
    return plan.stage(name).performer is not Performer.PERSON or plan.asks(name, item.risk)


def next_step(plan: FrozenPlan, item: Item, head: str, at: str, verdict: Verdict) -> NextStep:
    """Return the effect of a verdict at stage `at` on an item whose attempt began at `head`.

    A stage's counter is the number of its attempts in this round. A return starts a new round, and
    `returns` bounds the rounds, so every cycle ends.
    """
    counters = dict(item.counters)
    counters[head] = counters.get(head, 0) + 1
    word, reason = verdict.word, verdict.summary
    if word is VerdictWord.PASS:
        return _pass(plan, item, at, counters)
    target = plan.stage(at).edges.get(word, BLOCKED)
    if word is VerdictWord.ASK or target == WAITING:
        return NextStep(Event.ASKED, at, counters, reason)
    if target == BLOCKED:
        return NextStep(Event.BLOCKED, at, counters, reason)
    if word is VerdictWord.RETURN:
        counters = new_round(item.counters)
    target, why = _with_attempts_left(plan, target, counters)
    if why:
        return NextStep(Event.BLOCKED, target, counters, f"{why}: {reason}" if reason else why)
    event = Event.RETURNED if word is VerdictWord.RETURN else Event.FAILED
    return NextStep(event, target, counters, reason)


def waits_for_target(item: Item, at: str, reason: str) -> NextStep:
    """Return the step of an attempt at whose checks no item is to blame: it stays at the checks."""
    return NextStep(Event.RELEASED, at, item.counters, reason)


def nothing_to_do(item: Item, at: str) -> NextStep:
    """Return the step of a build that changed nothing, on a tree that meets every criterion."""
    counters = dict(item.counters) | {at: item.count(at) + 1}
    return NextStep(Event.FINISHED, at, counters, "nothing to do: its criteria hold already")


def already_there(item: Item, at: str) -> NextStep:
    """Return the step of an attempt whose work, replayed, is on the target already."""
    return NextStep(Event.FINISHED, at, item.counters, "already on the target")


def _pass(plan: FrozenPlan, item: Item, at: str, counters: Mapping[str, int]) -> NextStep:
    after = next_after_pass(plan, item, at)
    before = sum(entry.stage == at for entry in item.reviewed)
    if is_review(plan, at) and plan.stage(at).approvals > before + 1:
        # Another reviewer reads the same work, which is not another attempt.
        return NextStep(Event.APPROVAL_COUNTED, at, item.counters)
    if after in (APPROVED, DONE):
        return NextStep(Event.APPROVED if after == APPROVED else Event.FINISHED, at, counters)
    if after in (WAITING, BLOCKED):
        event = Event.ASKED if after == WAITING else Event.BLOCKED
        return NextStep(event, at, counters, f"{at} passed, and the loop ends here")
    if plan.stage(after).performer is Performer.PERSON:
        return NextStep(Event.ASKED, after, counters, "it needs a person's approval")
    if is_side(plan, at):
        after, why = _with_attempts_left(plan, after, counters)
        if why:
            return NextStep(Event.BLOCKED, after, counters, why)
    return NextStep(Event.ADVANCED, after, counters)


def _with_attempts_left(
    plan: FrozenPlan, target: str, counters: Mapping[str, int]
) -> tuple[str, str]:
    """Return the next stage with attempts left, and why there is none (else empty).

    A stage without attempts left passes the item along its `fail` edge.
    """
    seen: list[str] = []
    at, why = target, attempts_exhausted(plan, target, counters)
    while why:
        seen.append(at)
        at = plan.stage(at).edges.get(VerdictWord.FAIL, BLOCKED)
        if at in seen or not is_stage(plan, at):
            return target, why
        why = attempts_exhausted(plan, at, counters)
    return at, ""


def is_side(plan: FrozenPlan, name: str) -> bool:
    """Whether a stage is off the path of passes, so that only other verdicts lead to it."""
    at = plan.first.name
    while is_stage(plan, at):
        if at == name:
            return False
        at = plan.stage(at).edges.get(VerdictWord.PASS, "")
    return True


def is_review(plan: FrozenPlan, name: str) -> bool:
    """Whether a pass of the stage is an approval of the work."""
    stage = plan.stage(name)
    judges = stage.performer is Performer.AGENT and not stage.is_authoring
    return judges and plan.product is not Product.VERDICT and not is_side(plan, name)


def excluded_agents(plan: FrozenPlan, item: Item, stage: PlannedStage) -> set[str]:
    """Return the agents that did, for the current work, a stage of `distinct_from`."""
    authors = {AUTHOR, *(other.name for other in plan.stages if other.is_authoring)}
    done = {item.builder} if item.builder and authors & {*stage.distinct_from} else set()
    approved = (entry for entry in item.reviewed if entry.stage in stage.distinct_from)
    return done | {entry.by.partition("@")[0] for entry in approved}


def new_round(counters: Mapping[str, int]) -> dict[str, int]:
    """Return the counters after a return: one more return, the attempts of all stages reset."""
    aborts = {key: counters[key] for key in ("aborts",) if key in counters}
    return aborts | {"returns": counters.get("returns", 0) + 1}


def attempts_exhausted(plan: FrozenPlan, target: str, counters: Mapping[str, int]) -> str:
    """Return why an item cannot enter a stage again, empty if it can."""
    limit = plan.stage(target).attempts
    if limit and counters.get(target, 0) >= limit:
        return f"all {limit} attempts at {target} are used up"
    if counters.get("returns", 0) > plan.limits.returns:
        return f"it was returned more than {plan.limits.returns} times"
    return ""


def authoring(plan: FrozenPlan, at: str) -> str:
    """Return the stage that work returns to: along the `return` edge, else the author's stage."""
    edge = plan.stage(at).edges.get(VerdictWord.RETURN, "")
    if is_stage(plan, edge):
        return edge
    names = [stage.name for stage in plan.stages]
    authors = [stage.name for stage in plan.stages if stage.is_authoring]
    earlier = [name for name in authors if names.index(name) <= names.index(at)]
    return (earlier or authors)[-1]


def reviewing(plan: FrozenPlan) -> str:
    """Return the stage where work with a changed patch starts its full review again.

    That is the stage after the author's, or the author's if no stage follows it.
    """
    author = plan.stage(authoring(plan, plan.stages[-1].name))
    after = author.edges.get(VerdictWord.PASS, "")
    return after if is_stage(plan, after) else author.name
