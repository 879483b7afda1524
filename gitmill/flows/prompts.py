"""The prompt of a stage, filled with what this attempt is about."""

from __future__ import annotations

from gitmill.core.document import Document
from gitmill.core.frozen import PlannedStage
from gitmill.core.item import Item
from gitmill.core.prompt import FailedCheck, PromptValues, render_prompt
from gitmill.core.verdict import Finding
from gitmill.mill import Mill

DIFF_LIMIT = 400_000  # characters


def prompt_for(
    mill: Mill, item: Item, stage: PlannedStage, findings: tuple[Finding, ...], *, nonce: str
) -> str:
    """Return the prompt to send. Raises `AttemptError` when the template fails on this item."""
    snapshot = mill.snapshot()
    failed: tuple[FailedCheck, ...] = ()
    if item.feedback and (data := snapshot.read(item.feedback)) is not None:
        failed = _failed(Document.from_bytes(data, item.feedback))
    return render_prompt(
        stage.prompt,
        PromptValues(
            item=item,
            attempt=item.count(stage.name) + 1,
            of=stage.attempts,
            target=snapshot.control.target,
            nonce=nonce,
            findings=findings,
            checks=failed,
            diff=_diff(mill, item) if not stage.is_authoring else "",
            answer=item.answer,
        ),
    )


def _failed(log: Document) -> tuple[FailedCheck, ...]:
    return tuple(
        FailedCheck(str(check.get("name")), str(check.get("command")), log.body.strip())
        for check in log.value("checks") or []
        if isinstance(check, dict) and not check.get("passed")
    )


def _diff(mill: Mill, item: Item) -> str:
    if not item.work:
        return ""
    text = mill.repository.git.run(
        "diff", "--no-ext-diff", "--no-textconv", "--no-color", item.base, item.work, "--"
    ).stdout.decode("utf-8", "replace")
    if len(text) <= DIFF_LIMIT:
        return text
    return f"{text[:DIFF_LIMIT]}\n[{len(text) - DIFF_LIMIT} more characters were cut]"
