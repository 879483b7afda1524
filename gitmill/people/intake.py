"""Create and edit tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gitmill.core import changes
from gitmill.core.change import CLAIMED_TEXT
from gitmill.core.dependencies import check_after
from gitmill.core.document import Document
from gitmill.core.ids import Kind, new_id
from gitmill.core.item import Item, Risk, is_command
from gitmill.core.lifecycle import Status
from gitmill.core.product import Product
from gitmill.errors import IllegalTransitionError, NotReadyError, UsageError
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill
from gitmill.people.refuse_secrets import refuse_secrets
from gitmill.plans.frozen import plan_of
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.events import Step, creation_time, draft_created, draft_step, timestamp
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.trust import item_commands, trust


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task as a user describes it. `after` holds ids or prefixes as typed."""

    title: str
    body: str = ""
    script: str = ""
    criteria: Sequence[str] = ()
    paths: Sequence[str] = ()
    after: Sequence[str] = ()
    labels: Sequence[str] = ()
    fixes_check: str = ""
    priority: int = 2
    risk: Risk = Risk.MEDIUM


def new_task(mill: Mill, task: NewTask, *, ready: bool = False, builder: str = "") -> Item:
    """Create a task as a draft, or make it ready immediately, for an agent `builder` if known.

    Raises `BadDependencyError`, `BadDocumentError`, `NotReadyError`, and `UsageError` for a check
    that the policy does not have; nothing is created then.
    """
    refuse_fields({"title": task.title, "paths": task.paths, "labels": task.labels})
    refuse_secrets(mill, asdict(task))
    event_id, random, now, person = mill.new_token(), mill.random(16), mill.now(), mill.person
    item_id = ""

    def build(snapshot: Snapshot) -> StateCommit:
        nonlocal item_id
        item_id = new_id(Kind.TASK, random, snapshot.items)
        after = [snapshot.resolve(typed).id for typed in task.after]
        check_after(snapshot.items, item_id, after)
        refuse_unknown_check(mill, snapshot, task.fixes_check)
        if ready:
            require_ready(mill, snapshot, Kind.TASK, task.criteria)
            require_script(task.script, builder, "ID")
        birth = {"id": item_id, "kind": Kind.TASK, "created": creation_time(now), "by": person}
        text = _text(task, after)
        fields = changes.created(birth, text, event_id=event_id, now=timestamp(now))
        body = f"\n{task.body.strip()}\n" if task.body.strip() else ""
        document = Document.new(fields, body, layout.item_path(item_id))
        return draft_created(document, item_id, event_id=event_id, by=person, extra={})

    item = mill.store.commit(build).item(item_id)
    trust(mill, item_commands(item).values())  # the user has just typed them
    return ready_task(mill, item.id, builder=builder) if ready else item


def refuse_unknown_check(mill: Mill, snapshot: Snapshot, name: str) -> None:
    """Raise `UsageError` for the name of a check that the policy does not have; empty is none."""
    known = policy_at(mill, mill.target_tip(snapshot)).checks or {}
    if name and name not in known:
        names = ", ".join(known) or "none"
        raise UsageError(
            f"the policy has no check {name}",
            evidence=[f"its checks: {names}"],
            hints=[Hint("see them with", Gitmill("config", "list"))],
        )


def _text(task: NewTask, after: Sequence[str]) -> dict[str, Any]:
    return {
        "title": task.title.strip(),
        "priority": task.priority,
        "risk": task.risk,
        "after": tuple(after),
        "paths": tuple(task.paths),
        "labels": tuple(task.labels),
        "criteria": tuple(task.criteria),
        "script": task.script,
        "fixes_check": task.fixes_check,
    }


def require_ready(mill: Mill, snapshot: Snapshot, kind: Kind, criteria: Sequence[str]) -> None:
    """Raise `NotReadyError` unless a check or a `$` criterion can verify the work of a task."""
    if kind is not Kind.TASK or any(is_command(criterion) for criterion in criteria):
        return
    if policy_at(mill, mill.target_tip(snapshot)).checks:
        return
    raise NotReadyError(
        "nothing can verify this task: it has no check and no `$` criterion",
        hints=[
            Hint(
                "add a criterion:",
                Gitmill("task", "edit", Blank("ID"), "--criterion", "$ python -m pytest -q"),
            ),
            Hint("or commit `[checks]` in .gitmill/config.toml"),
        ],
    )


def require_script(script: str, builder: str, item_id: str) -> None:
    """Raise `NotReadyError` when the agent `shell` builds this task, which has no script."""
    if builder == "shell" and not script.strip():
        raise NotReadyError(
            "the agent shell runs the script of a task, but this task has none",
            hints=[
                Hint(
                    "add one:",
                    Gitmill("task", "edit", item_id, "--script", "make fmt"),
                    ", or `@FILE`",
                ),
                Hint("or build it yourself:", Gitmill("task", "take", item_id)),
            ],
        )


_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_TITLE = 300  # characters


def refuse_fields(fields: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a title, path or label that a document cannot hold."""
    title = fields.get("title")
    if title is not None and not title.strip():
        raise UsageError(
            "a task needs a title",
            hints=[Hint(Gitmill("task", "new", Blank('"What to do"'), Blank("…")))],
        )
    if title is not None and (
        _CONTROL_CHARACTERS.search(title.strip()) or len(title.strip()) > _MAX_TITLE
    ):
        raise UsageError(
            f"a title is one line of at most {_MAX_TITLE} characters",
            hints=[Hint("put the rest into the text: `-m TEXT`, or `-m -` to read it")],
        )
    for name in ("paths", "labels"):
        for value in fields.get(name) or ():
            if not value.strip() or _CONTROL_CHARACTERS.search(value):
                raise UsageError(f"one of the {name} is not one line of text: {value!r}")
    for path in fields.get("paths") or ():
        if ".." in path.split("/"):
            raise UsageError(
                f"the path {path} leads out of the repository",
                hints=[
                    Hint(
                        "write it as in .gitignore, relative to the top of the repository: "
                        "`src/*.py`"
                    )
                ],
            )


def ready_task(mill: Mill, item_id: str, *, builder: str = "") -> Item:
    """Make a draft ready; an edit by someone else in the meantime does not prevent it.

    Without a `builder`, as when a person builds it, no agent needs a script to run.
    """
    event_id, now = mill.new_token(), mill.now()
    step = Step(change=changes.readied(), subject="ready", by=mill.person)

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        require_ready(mill, snapshot, item.kind, item.criteria)
        if item.kind is Kind.TASK:
            require_script(item.script, builder, item_id)
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    return mill.store.commit(build).item(item_id)


def edit_task(mill: Mill, item_id: str, fields: Mapping[str, Any], *, body: str | None) -> Item:
    """Set fields of an item; None removes a field.

    The frozen fields (criteria, script, paths), and the text if its loop writes it, can change only
    while the item is idle; this voids the work so far: the item begins again at its first stage.
    Raises `IllegalTransitionError`, `BadDependencyError`, `BadDocumentError`.
    """
    refuse_fields(fields)
    refuse_secrets(mill, {**fields, "body": body})
    event_id, now, person = mill.new_token(), mill.now(), mill.person

    def build(snapshot: Snapshot) -> StateCommit:
        item = snapshot.item(item_id)
        text = dict(fields)
        if "after" in text:
            text["after"] = [snapshot.resolve(typed).id for typed in text["after"] or []]
            check_after(snapshot.items, item_id, text["after"])
        refuse_unknown_check(mill, snapshot, text.get("fixes_check") or "")
        again = bool(CLAIMED_TEXT & text.keys() and item.frozen)
        if again or (body is not None and is_text_frozen(mill, item)):
            refuse_frozen(item)
        change = changes.edited(item, text, body=body, again=again)
        step = Step(change=change, subject=f"edited {', '.join(fields) or 'text'}", by=person)
        return draft_step(mill.store.backend, snapshot, item_id, step, event_id=event_id, now=now)

    item = mill.store.commit(build).item(item_id)
    if CLAIMED_TEXT & fields.keys():
        trust(mill, item_commands(item).values())  # the user has just typed them
    return item


def is_text_frozen(mill: Mill, item: Item) -> bool:
    """Whether the loop that the item has begun writes its text."""
    return bool(item.plan) and plan_of(mill, item).product is Product.DOCUMENT


def refuse_landing(item: Item) -> None:
    """Raise `IllegalTransitionError` for an approved item without work, such as a design."""
    if item.status is Status.APPROVED and not item.work:
        raise IllegalTransitionError(
            f"{item.id} has no work, so it cannot be landed",
            hints=[Hint("finish it with", Gitmill("run", item.id))],
        )


def refuse_frozen(item: Item) -> None:
    """Raise `IllegalTransitionError` unless the frozen fields of an item can change now."""
    if item.status in (Status.DRAFT, Status.READY, Status.BLOCKED):
        return
    what = "criteria, script and paths" if item.kind is Kind.TASK else "text"
    raise IllegalTransitionError(
        f"{item.id} is {item.status.value}, so its {what} cannot change",
        hints=[
            Hint("block it first:", Gitmill("task", "block", item.id, "-m", Blank('"why"'))),
            Hint(
                "then",
                Gitmill("task", "edit", item.id, Blank("…")),
                "and",
                Gitmill("task", "retry", item.id),
            ),
        ],
    )
