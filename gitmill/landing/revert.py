"""Take back what has landed: a task with the opposite patch, which lands through the queue.

Its id is derived from the landed commit, so that two clones that do it at once make one item. It is
made, claimed and approved by whoever asked for it, in one move of the state branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gitmill.core import pipeline
from gitmill.core.document import Document
from gitmill.core.ids import Kind, derived_id
from gitmill.core.item import Item, frozen_hash, is_command
from gitmill.core.lifecycle import WORKING, Event, Status
from gitmill.core.plans.plan import APPROVED, FrozenPlan
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.errors import CannotUndoError, LeasedError, NotReadyError, RevertConflictError
from gitmill.git.objects import Commit, write_commit
from gitmill.git.replay import Conflict, replay
from gitmill.mill import Mill
from gitmill.people.decisions import BEGUN
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, creation_time, draft_created, draft_step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.leases import new_lease
from gitmill.workspace.work import patch_of

SOURCE = "revert"
LEASE = 60.0  # seconds; it is given back by the commit that follows
_DONE = frozenset({Status.APPROVED, Status.QUEUED})


@dataclass
class _Revert:
    """What is known of a revert to be made."""

    mill: Mill
    id: str
    item: Item  # what is taken back
    title: str
    onto: str
    criteria: tuple[str, ...]
    plan: FrozenPlan
    work: str = ""
    claim: str = ""


def revert(mill: Mill, item_id: str, onto: str, *, criteria: Sequence[str] = ()) -> Item:
    """Return the approved task that takes a landing back; the one that is there if there is one.

    `onto` is the commit of the target that the item landed on.

    Raises `RevertConflictError` with the files when what landed later stands on it,
    `CannotUndoError` when nothing of it is on the target, `NotReadyError` when no check could go
    red, `LeasedError` while it is being worked on. Then nothing was changed.
    """
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    name = derived_id(Kind.TASK, f"{SOURCE}:{item.id}:{item.landed}")
    known = snapshot.items.get(name)
    if known is not None and known.status in _DONE:
        return known
    if known is not None and known.status in WORKING:
        raise LeasedError(
            f"{name} takes {item.id} back already", hints=[f"see `gitmill task show {name}`"]
        )
    tip = mill.target_tip(snapshot)
    now = _Revert(
        mill, name, item, one_line(f"Revert: {item.title}"), tip,
        tuple(known.criteria if known and not criteria else criteria), compile_at(mill, tip),
    )  # fmt: skip
    _refuse_unchecked(now)
    now.work = _opposite(now, onto)
    now.claim = mill.new_token()
    events = [mill.new_token() for _ in range(4)]
    builds = [_begin, _ready, _claim, _approve]
    return mill.store.commit(
        *(
            lambda at, build=build, event=event: build(now, at, event)
            for build, event in zip(builds, events, strict=True)
        )
    ).item(name)


def _refuse_unchecked(now: _Revert) -> None:
    policy = policy_at(now.mill, now.onto)
    if not policy.checks and not any(is_command(one) for one in now.criteria):
        raise NotReadyError(
            f"there is no check, so nothing could tell whether it is right without {now.item.id}",
            hints=[
                f"name one: `gitmill undo {now.item.id} --criterion '$ python -m pytest -q'`",
                "or commit `[checks]` in .gitmill/config.toml",
            ],
        )


def _opposite(now: _Revert, before: str) -> str:
    """Make the commit on the target's tip that reverses the landed patch, and return its id."""
    mill, landed = now.mill, now.item.landed
    git, target = mill.repository.git, mill.snapshot().control.target
    done = git.run("merge-base", "--is-ancestor", landed, now.onto, check=False)
    if done.returncode != 0:
        raise CannotUndoError(
            f"{now.item.id} landed as {landed[:10]}, which is not on {target} any more",
            hints=[f"begin it again with `gitmill task reopen {now.item.id}`"],
        )
    before = before or git.out("rev-parse", f"{landed}^")
    ident = mill.repository.ident(mill.now())
    lines = [now.title, "", f"This reverts commit {landed}.", "", f"Gitmill-Item: {now.id}", ""]
    # The opposite of a commit stands right behind it; from there it is replayed as any work is.
    back = write_commit(
        mill.store.backend, Commit(mill.tree_of(before), (landed,), ident, ident, "\n".join(lines))
    )
    moved = replay(
        git, base=landed, tip=back, onto=now.onto, committer=ident,
        scratch=mill.repository.private / "scratch",
    )  # fmt: skip
    if isinstance(moved, Conflict):
        raise RevertConflictError(
            f"taking {now.item.id} back conflicts with what landed later; nothing was changed",
            evidence=[*moved.paths[:5], *(["…"] if len(moved.paths) > 5 else [])],
            hints=[
                f"revert it by hand: `git revert {landed[:10]}`; `gitmill recover` notices it",
                "or describe what is to be: `gitmill task new`",
            ],
        )
    if moved.tip == now.onto:
        raise CannotUndoError(
            f"nothing of {now.item.id} is left on {target}, so there is nothing to take back",
            hints=[f"begin it again with `gitmill task reopen {now.item.id}`"],
        )
    return moved.tip


# -- the four events, each on the state that the one before leads to -------------------------------


def _begin(now: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    """Create the item, or begin it again where an earlier try has ended without landing."""
    mill, item = now.mill, at.items.get(now.id)
    if item is not None:
        if item.status not in (Status.CANCELLED, Status.BLOCKED, Status.WAITING):
            return None
        return _step(now, at, event_id, Event.REOPENED, "reopened", fields=dict.fromkeys(BEGUN))
    fields: dict[str, Any] = {
        "id": now.id,
        "kind": Kind.TASK.value,
        "title": now.title,
        "status": Status.DRAFT.value,
        "event": event_id,
        "created": creation_time(mill.now()),
        "since": timestamp(mill.now()),
        "by": mill.person,
        "priority": now.item.priority,
        "risk": now.item.risk.value,
        "criteria": list(now.criteria) or None,
        "parent": now.item.id,
        "source": f"{SOURCE}:{now.item.id}:{now.item.landed}",
    }
    body = (
        f"\nTake back commit {now.item.landed} of {now.item.id} ({now.item.title}): the project "
        "is to be as if it had not landed, with what landed later kept.\n"
    )
    document = Document.new(fields, body, layout.item_path(now.id))
    return draft_created(document, now.id, event_id=event_id, by=mill.person, extra={})


def _ready(now: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    if at.item(now.id).status is not Status.DRAFT:
        return None
    return _step(now, at, event_id, Event.READIED, "ready")


def _claim(now: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    item = at.item(now.id)
    if item.status in _DONE:
        return None  # somebody else has just made it
    fields: dict[str, Any] = dict.fromkeys(BEGUN) | {
        "plan": now.plan.hash12,
        "criteria": list(now.criteria) or None,
        "frozen": frozen_hash(now.criteria, item.script, item.paths),
        "lease": new_lease(now.mill, now.mill.person, LEASE, claim=now.claim, process=False),
    }
    return _step(
        now, at, event_id, Event.CLAIMED, "the opposite patch made",
        fields=fields, stage=now.plan.first.name,
        files={layout.plan_path(now.plan.hash12): now.plan.render().encode()},
    )  # fmt: skip


def _approve(now: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    mill, item = now.mill, at.item(now.id)
    if item.status in _DONE:
        return None
    patch, stage = patch_of(mill, now.onto, now.work), _last(now.plan, item)
    entry = {
        "commit": now.work, "patch": patch, "by": mill.person, "run": item.attempt + 1,
        "stage": stage,
    }  # fmt: skip
    log = RunLog(
        item=now.id, stage=stage, by=mill.person, started=timestamp(mill.now()),
        verdict=Verdict(VerdictWord.PASS, f"the opposite of {now.item.landed[:10]}"),
        claim=now.claim, plan=now.plan.hash12,
        facts={"base": now.onto, "work": now.work, "tree": mill.tree_of(now.work), "patch": patch},
    )  # fmt: skip
    fields = {
        "base": now.onto, "work": now.work, "builder": mill.person, "reviewed": [entry],
    }  # fmt: skip
    return _step(
        now, at, event_id, Event.APPROVED, f"takes {now.item.id} back, approved",
        fields=fields, stage=stage, run=(SOURCE, log.document(item.attempt + 1)),
        refs={f"{layout.WORK}{now.id}": now.work}, extra={"Reverts": now.item.landed},
    )  # fmt: skip


def _last(plan: FrozenPlan, item: Item) -> str:
    """Return the stage whose pass approves an item."""
    name = plan.first.name
    while (after := pipeline.next_after_pass(plan, item, name)) != APPROVED:
        if not pipeline.is_stage(plan, after):
            break
        name = after
    return name


def _step(
    now: _Revert, at: Snapshot, event_id: str, event: Event, subject: str, **more: Any
) -> StateCommit:
    person = now.mill.person
    claims = event in (Event.CLAIMED, Event.APPROVED)
    step = Step(
        event=event, subject=f"{subject} ({person.partition(' <')[0]})", by=person,
        claim=now.claim if claims else None, **more,
    )  # fmt: skip
    return draft_step(
        now.mill.store.backend, at, now.id, step, event_id=event_id, now=now.mill.now()
    )
