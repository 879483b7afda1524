"""Revert landed work: a task with the reverse patch, which lands through the queue.

Its id is derived from the landed commit, so two clones that revert it at the same time make one
item. The person who asks for the revert creates, claims and approves it in one move of the state
branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.core import changes, pipeline
from gitmill.core.change import Change, Outcome, Work
from gitmill.core.document import Document
from gitmill.core.ids import Kind, derived_id
from gitmill.core.item import REVERT, Item, Reviewed, is_command
from gitmill.core.lifecycle import WORKING, Event, Status
from gitmill.core.plans.plan import APPROVED, FrozenPlan
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Verdict, VerdictWord
from gitmill.errors import CannotUndoError, LeasedError, NotReadyError, RevertConflictError
from gitmill.git.objects import Commit, write_commit
from gitmill.git.replay import Conflict, replay
from gitmill.hints import Blank, Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, creation_time, draft_created, draft_step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.leases import new_lease
from gitmill.workspace.work import patch_of

LEASE = 60.0  # seconds; the next commit releases it
_DONE = frozenset({Status.APPROVED, Status.QUEUED})


@dataclass
class _Revert:
    """A revert in the making."""

    mill: Mill
    id: str
    item: Item  # the landed item to revert
    title: str
    onto: str
    criteria: tuple[str, ...]
    plan: FrozenPlan
    work: str = ""
    claim: str = ""


def revert(mill: Mill, item_id: str, onto: str, *, criteria: Sequence[str] = ()) -> Item:
    """Return the approved task that reverts a landed item, made now unless it exists.

    `onto` is the commit of the target that the item landed on.

    Raises `RevertConflictError` with the files when later landings depend on the change,
    `CannotUndoError` when the target does not contain it, `NotReadyError` when nothing can verify
    the revert, `LeasedError` while the revert is worked on. Nothing was changed then.
    """
    snapshot = mill.snapshot()
    item = snapshot.item(item_id)
    task_id = derived_id(Kind.TASK, f"{REVERT}:{item.id}:{item.landed}")
    known = snapshot.items.get(task_id)
    if known is not None and known.status in _DONE:
        return known
    if known is not None and known.status in WORKING:
        raise LeasedError(
            f"{task_id} already reverts {item.id}",
            hints=[Hint("see", Gitmill("task", "show", task_id))],
        )
    tip = mill.target_tip(snapshot)
    draft = _Revert(
        mill, task_id, item, one_line(f"Revert: {item.title}"), tip,
        tuple(known.criteria if known and not criteria else criteria),
        compile_at(mill, tip, all_types()),
    )  # fmt: skip
    _refuse_unchecked(draft)
    draft.work = _reverse_commit(draft, onto)
    draft.claim = mill.new_token()
    return _commit_events(draft)


def _commit_events(revert: _Revert) -> Item:
    """Commit the four events in one move of the state branch."""
    events = [revert.mill.new_token() for _ in range(4)]
    builds = [_begin, _ready, _claim, _approve]
    return revert.mill.store.commit(
        *(
            lambda at, build=build, event=event: build(revert, at, event)
            for build, event in zip(builds, events, strict=True)
        )
    ).item(revert.id)


def _refuse_unchecked(revert: _Revert) -> None:
    policy = policy_at(revert.mill, revert.onto)
    if not policy.checks and not any(is_command(criterion) for criterion in revert.criteria):
        item_id = revert.item.id
        raise NotReadyError(
            f"nothing can verify the revert of {item_id}: it has no check and no `$` criterion",
            hints=[
                Hint(
                    "add a criterion:",
                    Gitmill("undo", item_id, "--criterion", "$ python -m pytest -q"),
                ),
                Hint("or commit `[checks]` in .gitmill/config.toml"),
            ],
        )


def _reverse_commit(revert: _Revert, before: str) -> str:
    """Return the commit on the target's tip that reverses the landed patch."""
    mill, item = revert.mill, revert.item
    git, target = mill.repository.git, mill.snapshot().control.target
    on_target = git.run("merge-base", "--is-ancestor", item.landed, revert.onto, check=False)
    if on_target.returncode != 0:
        raise CannotUndoError(
            f"{item.id} landed as {item.landed[:10]}, which is no longer on {target}",
            hints=[Hint("reopen it with", Gitmill("task", "reopen", item.id))],
        )
    before = before or git.out("rev-parse", f"{item.landed}^")
    ident = mill.repository.ident(mill.now())
    reverts, trailer = f"This reverts commit {item.landed}.", f"Gitmill-Item: {revert.id}"
    lines = [mill.store.redactor.text(revert.title), "", reverts, "", trailer, ""]
    # The reverse commit is written right on top of the landed one and replayed as any work is.
    reverse = write_commit(
        mill.store.backend,
        Commit(mill.tree_of(before), (item.landed,), ident, ident, "\n".join(lines)),
    )
    moved = replay(
        git, base=item.landed, tip=reverse, onto=revert.onto, committer=ident,
        scratch=mill.repository.private / "scratch",
    )  # fmt: skip
    if isinstance(moved, Conflict):
        raise _conflict(item, moved)
    if moved.tip == revert.onto:
        raise CannotUndoError(
            f"{target} no longer contains the change of {item.id}, so there is nothing to revert",
            hints=[Hint("reopen it with", Gitmill("task", "reopen", item.id))],
        )
    return moved.tip


def _conflict(item: Item, conflict: Conflict) -> RevertConflictError:
    return RevertConflictError(
        f"the revert of {item.id} conflicts with later landings; nothing was changed",
        evidence=[*conflict.paths[:5], *(["…"] if len(conflict.paths) > 5 else [])],
        hints=[
            Hint(
                "revert it by hand with",
                Shell(f"git revert {item.landed[:10]}"),
                ";",
                Gitmill("recover"),
                "detects it",
            ),
            Hint(
                "or describe the result you want with",
                Gitmill("task", "new", Blank('"What to do"')),
            ),
        ],
    )


# -- the four events, each on the state after the one before ---------------------------------------


def _begin(revert: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    """Create the task, or reopen it after an earlier try that did not land."""
    mill, item = revert.mill, at.items.get(revert.id)
    if item is not None:
        if item.status not in (Status.CANCELLED, Status.BLOCKED, Status.WAITING):
            return None
        return _step(revert, at, event_id, changes.reopened(item), "reopened")
    birth = {
        "id": revert.id, "kind": Kind.TASK, "created": creation_time(mill.now()),
        "by": mill.person, "parent": revert.item.id,
        "source": f"{REVERT}:{revert.item.id}:{revert.item.landed}",
    }  # fmt: skip
    text = {
        "title": revert.title, "priority": revert.item.priority, "risk": revert.item.risk,
        "criteria": revert.criteria,
    }  # fmt: skip
    fields = changes.created(birth, text, event_id=event_id, now=timestamp(mill.now()))
    body = (
        f"\nRevert commit {revert.item.landed} of {revert.item.id} ({revert.item.title}) and keep "
        "everything that landed later.\n"
    )
    document = Document.new(fields, body, layout.item_path(revert.id))
    return draft_created(document, revert.id, event_id=event_id, by=mill.person, extra={})


def _ready(revert: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    if at.item(revert.id).status is not Status.DRAFT:
        return None
    return _step(revert, at, event_id, changes.readied(), "ready")


def _claim(revert: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    item = at.item(revert.id)
    if item.status in _DONE:
        return None  # another process has just made it
    lease = new_lease(revert.mill, revert.mill.person, LEASE, claim=revert.claim, process=False)
    change = changes.claimed_to_revert(
        item, criteria=revert.criteria, stage=revert.plan.first.name, plan=revert.plan.hash12,
        lease=lease,
    )  # fmt: skip
    return _step(
        revert, at, event_id, change, "reverse patch made", target=revert.onto,
        files={layout.plan_path(revert.plan.hash12): revert.plan.render().encode()},
    )  # fmt: skip


def _approve(revert: _Revert, at: Snapshot, event_id: str) -> StateCommit | None:
    mill, item = revert.mill, at.item(revert.id)
    if item.status in _DONE:
        return None
    patch = patch_of(mill, revert.onto, revert.work)
    stage = _approving_stage(revert.plan, item)
    facts = {
        "base": revert.onto, "work": revert.work, "tree": mill.tree_of(revert.work), "patch": patch,
    }  # fmt: skip
    log = RunLog(
        item=revert.id, stage=stage, by=mill.person, started=timestamp(mill.now()),
        verdict=Verdict(VerdictWord.PASS, f"the reverse of {revert.item.landed[:10]}"),
        claim=revert.claim, plan=revert.plan.hash12, facts=facts,
    )  # fmt: skip
    number = item.attempt + 1
    outcome = Outcome(
        stage=stage, counters=item.counters, run=layout.run_path(revert.id, number, REVERT),
        work=Work(base=revert.onto, commit=revert.work, builder=mill.person),
        approval=Reviewed(revert.work, patch, mill.person, number, stage),
    )  # fmt: skip
    return _step(
        revert, at, event_id, changes.approved(item, outcome),
        f"reverts {revert.item.id}, approved", run=(REVERT, log.document(number)),
        refs={f"{layout.WORK}{revert.id}": revert.work}, extra={"Reverts": revert.item.landed},
    )  # fmt: skip


def _approving_stage(plan: FrozenPlan, item: Item) -> str:
    """Return the stage whose pass approves the item."""
    name = plan.first.name
    while (after := pipeline.next_after_pass(plan, item, name)) != APPROVED:
        if not pipeline.is_stage(plan, after):
            break
        name = after
    return name


def _step(
    revert: _Revert, at: Snapshot, event_id: str, change: Change, subject: str, **more: Any
) -> StateCommit:
    person = revert.mill.person
    claims = change.event in (Event.CLAIMED, Event.APPROVED)
    step = Step(
        change=change, subject=f"{subject} ({person.partition(' <')[0]})", by=person,
        claim=revert.claim if claims else None, **more,
    )  # fmt: skip
    return draft_step(
        revert.mill.store.backend, at, revert.id, step, event_id=event_id, now=revert.mill.now()
    )
