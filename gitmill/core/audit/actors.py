"""Check who recorded an event: the holder of a lease, an agent of the frozen plan, or a person.

Names are what the writers of a history called themselves. They have to agree with each other and
with the plan; a history cannot show that somebody used another's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitmill.core.audit.event import AuditedEvent, Fault
from gitmill.core.item import Item, is_revert_task
from gitmill.core.lifecycle import STARTS, Event, Status
from gitmill.core.pipeline import excluded_agents, is_stage
from gitmill.core.plans.plan import FrozenPlan, PlannedStage
from gitmill.core.product import Product
from gitmill.core.runlog import Log
from gitmill.core.trailers import EventRecord, one_line

E = Event
GITMILL = "gitmill"  # performs the stages that have no agent
# Events that any user of the machine can record under a claim, to repair or to end the attempt.
_OF_ANYONE = frozenset({
    E.LAPSED, E.RELEASED, E.HELD, E.LAND_ABORTED, E.LANDED, E.EJECTED, E.RE_REVIEW,
})  # fmt: skip

# Events that only people record, and those that gitmill records in the name of a user of a machine.
_BY_PEOPLE = frozenset({
    "created", "readied", "edited", "answered", "queued", "unblocked", "reopened", "upheld",
    "undone", "paused", "resumed", "upgraded", "compiled", "put-back",
})  # fmt: skip
_BY_MACHINES = frozenset({
    "lapsed", "land-started", "land-aborted", "ejected", "re-review", "landed", "disputed",
    "checked",
})  # fmt: skip
_MACHINE = re.compile(r"[^@<>]+@[^@<>\s]+")


def name_faults(record: EventRecord) -> Iterator[Fault]:
    """Yield a fault if an event is by a machine that only people record, or the other way round."""
    person, machine = is_person(record.by), _MACHINE.fullmatch(record.by) is not None
    if record.version < 2 or not record.by:
        return
    by_people = record.event in _BY_PEOPLE or "Undoes" in record.extra
    if (by_people and not person) or (record.event in _BY_MACHINES and not machine):
        yield Fault("wrong-actor", f"{record.event} is not recorded by {record.by}")
    elif not (person or machine):
        yield Fault("wrong-actor", f"{record.by} is neither a person nor a user of a machine")


def actor_faults(turn: AuditedEvent) -> Iterator[Fault]:
    """Yield a fault for each name that the event, its lease and its run log do not share."""
    yield from name_faults(turn.record)
    yield from _holder(turn)
    if turn.event is E.CLAIMED and turn.plan is not None and not turn.is_undo:
        yield from _claimant(turn, turn.plan)
    if turn.run is not None and turn.plan is not None and turn.record.version >= 2:
        yield from _performers(turn, turn.plan, turn.run)
        if not turn.run.claim:
            yield from _decider(turn)


def _holder(turn: AuditedEvent) -> Iterator[Fault]:
    """Refuse a claim that another one uses; gitmill carries on the attempt of a person."""
    item = turn.after if turn.event in STARTS else turn.before
    lease = item.lease if item is not None else None
    if lease is None or not turn.record.claim or turn.event in _OF_ANYONE:
        return
    who, by = one_line(lease.who), one_line(turn.record.by)
    if by != who and not (not lease.pid and by.startswith(f"{GITMILL}@")):
        yield Fault("wrong-actor", f"it is by {by}, but {who} holds the claim")


def _claimant(turn: AuditedEvent, plan: FrozenPlan) -> Iterator[Fault]:
    """Refuse a claim by another than the stage's agents, gitmill if it has none, or a person."""
    before, lease = turn.before, turn.after.lease
    name = turn.after.stage
    if before is None or lease is None or not is_stage(plan, name):
        return
    stage = plan.stage(name)
    if not lease.pid:
        builds = stage.product is Product.WORK or is_revert_task(before)
        if not is_person(turn.record.by) or not builds:
            yield Fault("wrong-actor", f"{turn.record.by} cannot take {name}")
        return
    agent = lease.who.partition("@")[0]
    if agent not in _performers_of(stage):
        yield Fault("wrong-actor", f"the frozen plan does not let {agent} do {name}")
    elif agent in excluded_agents(plan, before, stage):
        yield Fault("wrong-actor", f"{name} needs another agent than {agent}, who did the work")


def _performers_of(stage: PlannedStage) -> set[str]:
    return {agent.name for agent in stage.agents} or {GITMILL}


def _performers(turn: AuditedEvent, plan: FrozenPlan, run: Log) -> Iterator[Fault]:
    """Refuse a stage that another than one of its agents, or gitmill, has performed."""
    before = turn.before
    if before is None or before.status is Status.LANDING:
        return  # a landing performs no stage
    if run.plan not in (turn.after.plan, before.plan):
        yield Fault("evidence", f"its run log follows the plan {run.plan or 'none'}")
    for (name, _), agent in zip(run.stage_results, run.performers, strict=True):
        if not is_stage(plan, name):
            continue  # reported with the outcome
        if agent not in _performers_of(plan.stage(name)):
            yield Fault("wrong-actor", f"the frozen plan does not let {agent} do {name}")
    is_reverts = "Reverts" in turn.record.extra
    if run.claim and not is_reverts and run.by.partition("@")[0] != (run.agent or GITMILL):
        yield Fault(
            "wrong-actor", f"its run log is by {run.by}, of the agent {run.agent or 'none'}"
        )


def _decider(turn: AuditedEvent) -> Iterator[Fault]:
    """Refuse a decision about an item that waits by another than a person."""
    waits = turn.before is not None and turn.before.status is Status.WAITING
    run = turn.run
    assert run is not None
    if waits and (not is_person(turn.record.by) or run.agent or run.stage_results):
        yield Fault("wrong-actor", f"{turn.record.by} is no person, who alone can decide this")


def is_person(by: str) -> bool:
    """Whether a name is a person's identity of git, `Name <address>`; trailers cut a long one."""
    return by.endswith((">", "…")) and " <" in f" {by}"


def has_person(item: Item) -> bool:
    """Whether a person is among those who approved the item's work."""
    return any(is_person(entry.by) for entry in item.reviewed if entry.commit == item.work)
