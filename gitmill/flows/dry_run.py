"""Preview the next attempts of a run without making them."""

from __future__ import annotations

from dataclasses import dataclass

from gitmill.agents import base as agents
from gitmill.attempts.agent_selection import choose
from gitmill.attempts.build import start_of
from gitmill.attempts.cooldown import cooling
from gitmill.attempts.prompts import feedback, fill_prompt
from gitmill.attempts.stage_types import all_types
from gitmill.core import pipeline
from gitmill.core.item import Item
from gitmill.core.plans.plan import FrozenPlan, PlannedAgent, PlannedStage
from gitmill.core.product import Product
from gitmill.core.verdict import Finding
from gitmill.errors import NothingToDoError, NotNowError
from gitmill.flows.run import RunRequest
from gitmill.flows.run_candidates import waiting
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.plans.frozen import plan_for
from gitmill.plans.loops import served_kinds
from gitmill.plans.policy import policy_now
from gitmill.store import layout

NONCE = "new for each attempt"


@dataclass(frozen=True, slots=True)
class Preview:
    """The next attempt of an item: its stages, the agent of the first, and the prompt.

    `refs` are the refs that the attempt can move, `landing` those that its landing would move.
    """

    item: Item
    stages: tuple[str, ...]
    agent: PlannedAgent | None
    permission: str
    session: str
    prompt: str
    refs: tuple[str, ...]
    landing: tuple[str, ...]


def preview(mill: Mill, request: RunRequest) -> list[Preview]:
    """Return the attempts that can start now, in order.

    Raises `NothingToDoError` when there are none, and the errors of compiling the loop.
    """
    snapshot = mill.snapshot()
    tip = mill.target_tip(snapshot)
    ready = pipeline.eligible(
        snapshot.items, request.wanted, kinds=served_kinds(mill, snapshot, all_types()), tip=tip,
        asked=request.wanted,
    )  # fmt: skip
    waits = {item.id for item, _ in waiting(mill, snapshot, asked=request.wanted)}
    ready = [item for item in ready if item.id not in waits][: request.limit or None]
    if not ready:
        hint = Hint("see what each item waits for:", Gitmill("status"))
        raise NothingToDoError("nothing is ready", hints=[hint])
    plans = {item.id: plan_for(mill, snapshot, item, tip, all_types()) for item in ready}
    return [_preview(mill, item, plans[item.id], request) for item in ready]


def _preview(mill: Mill, item: Item, plan: FrozenPlan, request: RunRequest) -> Preview:
    stages = pipeline.group(plan, item.stage or plan.first.name)
    try:
        agent = choose(plan, item, stages[0], cooling=cooling(mill), now=mill.now())
    except NotNowError:  # preview the first agent, even if it cannot start now
        agent = stages[0].agents[0]
    session, prompt = _input(mill, item, stages[0], agent) if agent else ("", "")
    refs = [layout.STATE]
    if any(stage.product is Product.WORK for stage in stages):
        refs += [f"{layout.WORK}{item.id}", f"{layout.RESCUE}{item.id}/"]
    landing: tuple[str, ...] = ()
    snapshot = mill.snapshot()
    if request.through == "landed" and plan.product is Product.WORK:
        landing = (mill.target_ref(snapshot), layout.NOTES, f"{layout.CANDIDATE}{item.id}")
    return Preview(
        item,
        tuple(stage.name for stage in stages),
        agent,
        stages[0].permission.value,
        session,
        prompt,
        tuple(refs),
        landing,
    )


def _findings(mill: Mill, item: Item, stage: PlannedStage) -> tuple[Finding, ...]:
    """Return the findings that the author of work or of a document would get."""
    if stage.product is Product.WORK:
        return start_of(mill, item).findings
    return feedback(mill.snapshot(), item) if stage.is_authoring else ()


def _input(mill: Mill, item: Item, stage: PlannedStage, agent: PlannedAgent) -> tuple[str, str]:
    """Return the session to resume, and the prompt or the script that would run."""
    if not agents.program(agent.name, agent.command).READS_PROMPT:
        return "", item.script if stage.is_authoring else "\n".join(item.criteria)
    policy = policy_now(mill)
    findings = _findings(mill, item, stage)
    filled = fill_prompt(
        mill, item, stage, agent, findings, nonce=NONCE, limit=policy.limits.prompt
    )
    return filled.session, filled.followup or filled.prompt
