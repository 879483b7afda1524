"""What a person decides: approve, return, answer, block, retry, cancel, reopen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitmill.core import pipeline
from gitmill.core.item import Item, as_json
from gitmill.core.lifecycle import Event, Status
from gitmill.core.plans.plan import APPROVED
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import IllegalTransitionError, UsageError
from gitmill.mill import Mill
from gitmill.people.intake import require_ready
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.plans.frozen import plan_of
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store import layout
from gitmill.store.events import Step, timestamp
from gitmill.workspace.trust import item_commands, trust
from gitmill.workspace.work import patch_of

# The fields that an item has only once work on it has begun.
PROGRESS_FIELDS = (
    "counters", "reviewed", "landed", "checked", "landing", "reverted", "frozen", "plan", "base",
    "work", "feedback", "returned", "bare", "reason", "answer", "cancel_requested", "stage",
    "builder",
)  # fmt: skip


def approve(mill: Mill, item_id: str, why: str = "") -> Item:
    """Approve a waiting item: it moves past the stage at which it waits."""
    refuse_secrets(mill, {"message": why})
    approved = _apply(mill, item_id, lambda item: approval_step(mill, item, why))
    trust(mill, item_commands(approved).values())
    if any(change.path == POLICY for change in mill.changes(approved.base, approved.work)):
        trust(mill, policy_at(mill, approved.work).commands.values())
    return approved


def approval_step(mill: Mill, item: Item, why: str = "") -> Step:
    """Return the step that approves a waiting item."""
    _require_waiting(item, "approved")
    plan = plan_of(mill, item)
    if not item.work:
        raise IllegalTransitionError(
            f"{item.id} has no work yet, so there is nothing to approve",
            evidence=[item.reason],
            hints=[f'answer it: `gitmill task answer {item.id} -m "…"`'],
        )
    verdict = Verdict(VerdictWord.PASS, why or "approved")
    patch = patch_of(mill, item.base, item.work)
    entry = {
        "commit": item.work, "patch": patch, "by": mill.person, "run": item.attempt + 1,
        "stage": item.stage,
    }  # fmt: skip
    after = pipeline.next_after_pass(plan, item, item.stage)
    done = after == APPROVED
    return Step(
        event=Event.APPROVED if done else Event.ADVANCED,
        subject=f"{item.stage} approved ({_name(mill)})",
        by=mill.person,
        stage=item.stage if done else after,
        after=item.event,
        fields={"reason": None, "reviewed": [*as_json(item.reviewed), entry]},
        run=(item.stage, _log(mill, item, verdict)),
    )


def send_back(mill: Mill, item_id: str, why: str) -> Item:
    """Send a waiting item back to its author with a reason."""
    refuse_secrets(mill, {"message": why})
    _require_message(why, "return")
    return _apply(mill, item_id, lambda item: return_step(mill, item, why))


def return_step(mill: Mill, item: Item, why: str) -> Step:
    """Return the step that sends an item back."""
    _require_waiting(item, "returned")
    plan = plan_of(mill, item)
    verdict = Verdict(VerdictWord.RETURN, why, (Finding(why),))
    return Step(
        event=Event.RETURNED,
        subject=f"{item.stage} returned ({_name(mill)})",
        by=mill.person,
        stage=pipeline.authoring(plan, item.stage),
        after=item.event,
        fields={
            "reason": one_line(why),
            "reviewed": None,
            "feedback": layout.run_path(item.id, item.attempt + 1, item.stage),
            "counters": pipeline.new_round(item.counters),
        },
        run=(item.stage, _log(mill, item, verdict)),
    )


def answer(mill: Mill, item_id: str, text: str) -> Item:
    """Answer the question of a waiting item; the same stage continues with the answer."""
    refuse_secrets(mill, {"message": text})
    _require_message(text, "answer")
    return _apply(mill, item_id, lambda item: answer_step(mill, item, text))


def answer_step(mill: Mill, item: Item, text: str) -> Step:
    """Return the step that answers a waiting item."""
    _require_waiting(item, "answered")
    fields = {"answer": text, "reason": None}
    return _step(mill, item, Event.ANSWERED, "answered", fields)


def block(mill: Mill, item_id: str, why: str) -> Item:
    """Block an item; a worker that holds it notices that its lease is lost."""
    refuse_secrets(mill, {"message": why})
    _require_message(why, "block")
    return _apply(mill, item_id, lambda item: block_step(mill, item, why))


def block_step(mill: Mill, item: Item, why: str) -> Step:
    """Return the step that blocks an item."""
    return _step(mill, item, Event.BLOCKED, "blocked", {"reason": one_line(why)})


def unblock(mill: Mill, item_id: str, *, reset: bool) -> Item:
    """Unblock an item; `reset` gives it all its attempts again."""
    return _apply(mill, item_id, lambda item: unblock_step(mill, item, reset=reset))


def unblock_step(mill: Mill, item: Item, *, reset: bool) -> Step:
    """Return the step that unblocks an item."""
    require_ready(mill, mill.snapshot(), item.criteria)
    fields: dict[str, Any] = {"reason": None}
    if reset:
        fields |= {"counters": None, "returned": None, "budget_after": item.attempt or None}
    subject = "retried with counters reset" if reset else "unblocked"
    return _step(mill, item, Event.UNBLOCKED, subject, fields)


def cancel(mill: Mill, item_id: str, why: str) -> Item:
    """Cancel an item; during a landing, the cancel takes effect if the landing fails."""
    refuse_secrets(mill, {"message": why})
    return _apply(mill, item_id, lambda item: cancel_step(mill, item, why))


def cancel_step(mill: Mill, item: Item, why: str) -> Step:
    """Return the step that cancels an item, or requests it while the item is landing."""
    if item.status is Status.LANDING:
        fields: dict[str, Any] = {"cancel_requested": True, "reason": why or None}
        return _step(mill, item, Event.EDITED, "cancel requested", fields)
    return _step(mill, item, Event.CANCELLED, "cancelled", {"reason": why or None})


def reopen(mill: Mill, item_id: str) -> Item:
    """Restart an ended, blocked or waiting item at its first stage, on the current target."""
    return _apply(mill, item_id, lambda item: reopen_step(mill, item))


def reopen_step(mill: Mill, item: Item) -> Step:
    """Return the step that reopens an item."""
    require_ready(mill, mill.snapshot(), item.criteria)
    fields = dict.fromkeys(PROGRESS_FIELDS) | {"budget_after": item.attempt or None}
    return _step(mill, item, Event.REOPENED, "reopened", fields)


def _apply(mill: Mill, item_id: str, step: Callable[[Item], Step]) -> Item:
    return mill.apply(item_id, step(mill.snapshot().item(item_id))).item(item_id)


def _step(mill: Mill, item: Item, event: Event, subject: str, fields: Mapping[str, Any]) -> Step:
    return Step(
        event=event, subject=f"{subject} ({_name(mill)})", by=mill.person, after=item.event,
        fields=fields,
    )  # fmt: skip


def _require_waiting(item: Item, decision: str) -> None:
    if item.reverted and item.status is Status.WAITING:
        raise IllegalTransitionError(
            f"{item.id} was reverted, so it cannot be {decision}",
            evidence=[item.reason],
            hints=[
                f"reopen it with `gitmill task reopen {item.id}`",
                f"or cancel it with `gitmill task cancel {item.id}`",
            ],
        )
    if item.status is Status.WAITING:
        return
    hint = {
        Status.RUNNING: f"follow it with `gitmill log {item.id}`",
        Status.DRAFT: f"make it ready with `gitmill task ready {item.id}`",
        Status.BLOCKED: f"retry it with `gitmill task retry {item.id}`",
    }.get(item.status, f"see `gitmill task show {item.id}`")
    raise IllegalTransitionError(
        f"{item.id} is {item.status.value}, so it cannot be {decision}", hints=[hint]
    )


def _require_message(text: str, verb: str) -> None:
    if not text.strip():
        raise UsageError(f"a message is required: `gitmill task {verb} ID -m TEXT`")


def _name(mill: Mill) -> str:
    return mill.person.partition(" <")[0]


def _log(mill: Mill, item: Item, verdict: Verdict) -> Any:
    facts = {"base": item.base, "work": item.work} if item.work else {}
    return RunLog(
        item=item.id, stage=item.stage, verdict=verdict, by=mill.person,
        started=timestamp(mill.now()), plan=item.plan, facts=facts,
    ).document(item.attempt + 1)  # fmt: skip
