"""Fill the prompt of a stage for one attempt, within a size limit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitmill.attempts.stage_types import all_types
from gitmill.core.document import Document
from gitmill.core.excerpt import cut, excerpt
from gitmill.core.item import Item
from gitmill.core.plans.plan import PlannedAgent, PlannedStage
from gitmill.core.plans.prompt import (
    Convention,
    FailedCheck,
    JudgingCheck,
    LastRun,
    PromptValues,
    render_prompt,
)
from gitmill.core.product import Product
from gitmill.core.red_target import red_checks
from gitmill.core.runlog import read_findings
from gitmill.core.verdict import Finding, VerdictWord
from gitmill.git import trees
from gitmill.git.objects import Backend
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot

# The files in which repositories describe how to work in them.
CONVENTIONS = (
    "AGENTS.md", "CLAUDE.md", "GEMINI.md", "CONTRIBUTING.md", "CONTRIBUTING.rst",
    ".github/CONTRIBUTING.md", "docs/CONTRIBUTING.md",
)  # fmt: skip
CONVENTION_LIMIT = 12_000  # characters of one such document
FINDINGS_LIMIT = 50
_WHOLE = "the current directory has the whole change"


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """The text for an agent.

    `prompt` is complete; `followup` is the shorter text for a resumed `session`. `earlier` is the
    number of findings that the prompt asks to be answered.
    """

    prompt: str
    followup: str = ""
    session: str = ""
    earlier: int = 0


def fill_prompt(
    mill: Mill,
    item: Item,
    stage: PlannedStage,
    who: PlannedAgent,
    findings: tuple[Finding, ...],
    *,
    nonce: str,
    limit: int,
) -> FilledPrompt:
    """Return the filled prompt of an attempt. `findings` are the ones that a builder has to fix.

    A reviewer gets the findings of its stage's last round, and a new session each time. Raises
    `AttemptError` when the template fails on this item.
    """
    snapshot = mill.snapshot()
    log = _last_log(snapshot, item, stage.name)
    earlier = 0
    if not stage.is_authoring:
        findings = _to_resolve(log)
        earlier = len(findings)
    values = _values(mill, snapshot, item, stage, findings[:FINDINGS_LIMIT], nonce)
    prompt = _fitting(stage.prompt, values, limit)
    session = _session(log, who) if stage.is_authoring else ""
    followup = _fitting(stage.prompt, replace(values, resumed=True), limit) if session else ""
    return FilledPrompt(prompt, followup, session, earlier)


def feedback(snapshot: Snapshot, item: Item) -> tuple[Finding, ...]:
    """Return the findings that an author has to settle: those of the run log sent back to it."""
    log = snapshot.run_log(item.feedback)
    return read_findings(log) if log is not None else ()


def _values(
    mill: Mill,
    snapshot: Snapshot,
    item: Item,
    stage: PlannedStage,
    findings: tuple[Finding, ...],
    nonce: str,
) -> PromptValues:
    failed: tuple[FailedCheck, ...] = ()
    last: LastRun | None = None
    if (log := snapshot.run_log(item.feedback)) is not None:
        failed, last = _failed(log), _last(log)
    tip = mill.target_tip(snapshot)
    diff = _diff(mill, item) if not stage.is_authoring else ""
    changes = mill.changes(item.base, item.work) if diff else []
    return PromptValues(
        item=item,
        produces=stage.product,
        attempt=item.count(stage.name) + 1,
        of=stage.attempts,
        target=snapshot.control.target,
        nonce=nonce,
        findings=findings,
        commands=_commands(mill, snapshot, item, tip) if stage.product is Product.WORK else (),
        checks=failed,
        diff=diff,
        changed=tuple(change.path for change in changes),
        answer=item.answer,
        conventions=_conventions(mill.store.backend, mill.tree_of(tip)),
        last=last,
    )


def _commands(mill: Mill, snapshot: Snapshot, item: Item, tip: str) -> tuple[JudgingCheck, ...]:
    """Return the checks that judge the work of an item, as its frozen plan has them."""
    red = red_checks(snapshot.items.values(), tip)
    plan = plan_for(mill, snapshot, item, tip, all_types())
    return tuple(JudgingCheck(c.name, c.command, c.name in red) for c in plan.checks)


def _fitting(template: str, values: PromptValues, limit: int) -> str:
    """Render within `limit` characters: a prompt that is too long gets a shorter diff."""
    prompt = render_prompt(template, values)
    if len(prompt) <= limit or not values.diff:
        return prompt
    room = limit - len(render_prompt(template, replace(values, diff="")))
    return render_prompt(template, replace(values, diff=cut(values.diff, room, where=_WHOLE)))


def _last_log(snapshot: Snapshot, item: Item, stage: str) -> Document | None:
    """Return the run log of the item's last attempt at a stage."""
    paths = (layout.run_path(item.id, number, stage) for number in range(item.attempt, 0, -1))
    return next((log for path in paths if (log := snapshot.run_log(path)) is not None), None)


def _to_resolve(log: Document | None) -> tuple[Finding, ...]:
    if log is None or log.value("verdict") != VerdictWord.RETURN:
        return ()
    return read_findings(log)[:FINDINGS_LIMIT]


def _session(log: Document | None, who: PlannedAgent) -> str:
    """Return the session that the same agent can resume: one that ended normally."""
    if log is None or log.value("agent") != who.name or log.value("exit") != "completed":
        return ""
    return str(log.value("session") or "")


def _last(log: Document) -> LastRun:
    stages = log.value("stages")
    ended = stages[-1] if isinstance(stages, list) and stages else {}
    texts = {key: str(log.value(key) or "") for key in ("exit", "by", "summary")}
    at = str(ended.get("stage", "")) if isinstance(ended, dict) else ""
    return LastRun(at or str(log.value("stage")), output=excerpt(log.body.strip()), **texts)


def _failed(log: Document) -> tuple[FailedCheck, ...]:
    """Return the red checks of a run log; their output is in its findings."""
    findings = read_findings(log)
    return tuple(
        FailedCheck(name, str(check.get("command")), excerpt(_output_of(name, findings)))
        for check in log.value("checks") or []
        if isinstance(check, dict) and not check.get("passed")
        for name in [str(check.get("name"))]
    )


def _output_of(check: str, findings: tuple[Finding, ...]) -> str:
    texts = (f.message for f in findings if f.message.startswith(f"check {check} "))
    return next(texts, "").partition("\n")[2]


def _conventions(backend: Backend, tree: str) -> tuple[Convention, ...]:
    files = ((path, trees.read_file(backend, tree, path)) for path in CONVENTIONS)
    return tuple(
        Convention(path, cut(data.decode("utf-8", "replace"), CONVENTION_LIMIT))
        for path, data in files
        if data is not None
    )


def _diff(mill: Mill, item: Item) -> str:
    if not item.work:
        return ""
    return mill.repository.git.run(
        "diff", "--no-ext-diff", "--no-textconv", "--no-color", item.base, item.work, "--"
    ).stdout.decode("utf-8", "replace")
