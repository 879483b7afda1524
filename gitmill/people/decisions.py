"""What a person decides: approve, return, answer, block, retry, cancel, reopen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gitmill.core import changes, pipeline
from gitmill.core.change import Change, Outcome
from gitmill.core.item import Item, Reviewed
from gitmill.core.lifecycle import Status
from gitmill.core.plans.plan import APPROVED, DONE
from gitmill.core.product import document_hash
from gitmill.core.runlog import RunLog
from gitmill.core.trailers import one_line
from gitmill.core.verdict import Finding, Verdict, VerdictWord
from gitmill.errors import IllegalTransitionError, UsageError
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill
from gitmill.people.intake import require_ready
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.plans.frozen import plan_of
from gitmill.plans.policy import POLICY, policy_at
from gitmill.store import layout
from gitmill.store.events import Step, timestamp
from gitmill.workspace.trust import item_commands, trust
from gitmill.workspace.work import patch_of


def approve(mill: Mill, item_id: str, why: str = "") -> Item:
    """Approve a waiting item: it moves past its stage, or its disputed landing is upheld."""
    refuse_secrets(mill, {"message": why})
    approved = _apply(mill, item_id, lambda item: approval_step(mill, item, why, by=mill.person))
    trust(mill, item_commands(approved).values())
    if approved.work and any(
        change.path == POLICY for change in mill.changes(approved.base, approved.work)
    ):
        trust(mill, policy_at(mill, approved.work).commands.values())
    return approved


def approval_step(mill: Mill, item: Item, why: str = "", *, by: str) -> Step:
    """Return the step that approves a waiting item, or upholds its disputed landing."""
    if item.disputed:
        return _step(by, item, "landing upheld", changes.upheld(item))
    _require_waiting(item, "approved")
    plan = plan_of(mill, item)
    if not (item.work or item.is_written):
        raise IllegalTransitionError(
            f"{item.id} has no work yet, so there is nothing to approve",
            evidence=[item.reason],
            hints=[Hint("answer it:", Gitmill("task", "answer", item.id, "-m", Blank('"…"')))],
        )
    verdict = Verdict(VerdictWord.PASS, why or "approved")
    number, after = item.attempt + 1, pipeline.next_after_pass(plan, item, item.stage)
    is_last = after in (APPROVED, DONE)
    outcome = Outcome(
        stage=item.stage if is_last else after,
        counters=item.counters,
        run=layout.run_path(item.id, number, item.stage),
        approval=_approval(mill, item, by, number),
    )
    passed = changes.approved if is_last else changes.advanced
    return Step(
        change=passed(item, outcome),
        subject=f"{item.stage} approved ({_name(by)})",
        by=by,
        after=item.event,
        run=(item.stage, _log(mill, item, verdict, by)),
    )


def _approval(mill: Mill, item: Item, by: str, number: int) -> Reviewed:
    """Return a person's approval of exactly the work, or of exactly the document."""
    if item.work:
        return Reviewed(item.work, patch_of(mill, item.base, item.work), by, number, item.stage)
    return Reviewed("", "", by, number, item.stage, document_hash(item.document.body))


def send_back(mill: Mill, item_id: str, why: str) -> Item:
    """Send a waiting item back to its author with a reason."""
    refuse_secrets(mill, {"message": why})
    _require_message(why, "return")
    return _apply(mill, item_id, lambda item: return_step(mill, item, why, by=mill.person))


def return_step(mill: Mill, item: Item, why: str, *, by: str) -> Step:
    """Return the step that sends an item back."""
    _require_waiting(item, "returned")
    plan = plan_of(mill, item)
    verdict = Verdict(VerdictWord.RETURN, why, (Finding(why),))
    outcome = Outcome(
        stage=pipeline.authoring(plan, item.stage),
        counters=pipeline.new_round(item.counters),
        run=layout.run_path(item.id, item.attempt + 1, item.stage),
        reason=one_line(why),
    )
    return Step(
        change=changes.returned(item, outcome),
        subject=f"{item.stage} returned ({_name(by)})",
        by=by,
        after=item.event,
        run=(item.stage, _log(mill, item, verdict, by)),
    )


def answer(mill: Mill, item_id: str, text: str) -> Item:
    """Answer the question of a waiting item; the same stage continues with the answer."""
    refuse_secrets(mill, {"message": text})
    _require_message(text, "answer")
    return _apply(mill, item_id, lambda item: answer_step(item, text, by=mill.person))


def answer_step(item: Item, text: str, *, by: str) -> Step:
    """Return the step that answers a waiting item."""
    _require_waiting(item, "answered")
    return _step(by, item, "answered", changes.answered(text))


def block(mill: Mill, item_id: str, why: str) -> Item:
    """Block an item; a worker that holds it notices that its lease is lost."""
    refuse_secrets(mill, {"message": why})
    _require_message(why, "block")
    return _apply(mill, item_id, lambda item: block_step(item, why, by=mill.person))


def block_step(item: Item, why: str, *, by: str) -> Step:
    """Return the step that blocks an item."""
    return _step(by, item, "blocked", changes.blocked(item, one_line(why, changes.REASON)))


def unblock(mill: Mill, item_id: str, *, reset: bool) -> Item:
    """Unblock an item; `reset` gives it all its attempts again."""
    return _apply(mill, item_id, lambda item: unblock_step(mill, item, reset=reset, by=mill.person))


def unblock_step(mill: Mill, item: Item, *, reset: bool, by: str) -> Step:
    """Return the step that unblocks an item."""
    require_ready(mill, mill.snapshot(), item.kind, item.criteria)
    subject = "retried with counters reset" if reset else "unblocked"
    return _step(by, item, subject, changes.unblocked(item, reset=reset))


def cancel(mill: Mill, item_id: str, why: str) -> Item:
    """Cancel an item; during a landing, the cancel takes effect if the landing fails."""
    refuse_secrets(mill, {"message": why})
    return _apply(mill, item_id, lambda item: cancel_step(item, why, by=mill.person))


def cancel_step(item: Item, why: str, *, by: str) -> Step:
    """Return the step that cancels an item, or requests it while the item is landing."""
    why = one_line(why, changes.REASON)
    if item.status is Status.LANDING:
        return _step(by, item, "cancel requested", changes.cancel_requested(why))
    return _step(by, item, "cancelled", changes.cancelled(why))


def reopen(mill: Mill, item_id: str) -> Item:
    """Restart an ended, blocked or waiting item at its first stage, on the current target."""
    return _apply(mill, item_id, lambda item: reopen_step(mill, item, by=mill.person))


def reopen_step(mill: Mill, item: Item, *, by: str) -> Step:
    """Return the step that reopens an item."""
    require_ready(mill, mill.snapshot(), item.kind, item.criteria)
    return _step(by, item, "reopened", changes.reopened(item))


def _apply(mill: Mill, item_id: str, step: Callable[[Item], Step]) -> Item:
    return mill.apply(item_id, step(mill.snapshot().item(item_id))).item(item_id)


def _step(by: str, item: Item, subject: str, change: Change) -> Step:
    return Step(change=change, subject=f"{subject} ({_name(by)})", by=by, after=item.event)


def _require_waiting(item: Item, decision: str) -> None:
    if item.reverted and item.status is Status.WAITING:
        raise IllegalTransitionError(
            f"{item.id} was reverted, so it cannot be {decision}",
            evidence=[item.reason],
            hints=[
                Hint("reopen it with", Gitmill("task", "reopen", item.id)),
                Hint("or cancel it with", Gitmill("task", "cancel", item.id)),
            ],
        )
    if item.disputed:
        raise IllegalTransitionError(
            f"the landing of {item.id} is disputed, so it cannot be {decision}",
            evidence=[item.reason],
            hints=[
                Hint("uphold the landing with", Gitmill("task", "approve", item.id)),
                Hint("or revert it with", Gitmill("undo", item.id)),
            ],
        )
    if item.status is Status.WAITING:
        return
    hint = {
        Status.RUNNING: Hint("follow it with", Gitmill("log", item.id)),
        Status.DRAFT: Hint("make it ready with", Gitmill("task", "ready", item.id)),
        Status.BLOCKED: Hint("retry it with", Gitmill("task", "retry", item.id)),
    }.get(item.status, Hint("see", Gitmill("task", "show", item.id)))
    raise IllegalTransitionError(
        f"{item.id} is {item.status.value}, so it cannot be {decision}", hints=[hint]
    )


def _require_message(text: str, verb: str) -> None:
    if not text.strip():
        hint = Hint("give one with", Gitmill("task", verb, Blank("ID"), "-m", Blank("TEXT")))
        raise UsageError("a message is required", hints=[hint])


def _name(person: str) -> str:
    return person.partition(" <")[0]


def _log(mill: Mill, item: Item, verdict: Verdict, by: str) -> Any:
    facts = {"base": item.base, "work": item.work} if item.work else {}
    if item.is_written:
        facts = {"base": item.base, "document": document_hash(item.document.body)}
    return RunLog(
        item=item.id, stage=item.stage, verdict=verdict, by=by,
        started=timestamp(mill.now()), plan=item.plan, facts=facts,
    ).document(item.attempt + 1)  # fmt: skip
