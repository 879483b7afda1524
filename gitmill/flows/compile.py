"""Loops, modes and the plan that they compile to, now or as of a state commit."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import getdoc

from gitmill import shells
from gitmill.attempts.stage_types import all_types, load
from gitmill.core.ids import Kind
from gitmill.core.plans.compile import found_agents
from gitmill.core.plans.loop import Loop
from gitmill.core.plans.mode import Mode, all_modes
from gitmill.core.plans.plan import FrozenPlan, Performer
from gitmill.core.verdict import VerdictWord
from gitmill.history.time_travel import plan_as_of
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at, facts, record_plan
from gitmill.plans.loops import loops_at, shipped_modes
from gitmill.plans.policy import policy_now


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A stage type as people use it: what it does, who performs it, its keys and verdicts."""

    name: str
    meaning: str
    performer: Performer
    keys: tuple[str, ...]
    verdicts: tuple[VerdictWord, ...]


def stage_types() -> list[StageFacts]:
    """Return the stage types by name."""
    facts = []
    for name, kind in all_types().items():
        own = kind.settings.model_fields if kind.settings else ()
        keys = tuple(sorted({*kind.keys, *own, "on"}))
        meaning = (getdoc(load(name)) or "").partition("\n")[0]
        facts.append(StageFacts(name, meaning, kind.performer, keys, kind.verdicts))
    return facts


def current_loops(mill: Mill) -> dict[str, Loop]:
    """Return the loops at the tip of the target, by name."""
    return loops_at(mill, mill.target_tip(mill.snapshot()), all_types())


def current_modes(mill: Mill) -> tuple[dict[str, Mode], str]:
    """Return the modes at the tip of the target by name, and the name that the policy chose."""
    policy = policy_now(mill)
    modes, known = all_modes(shipped_modes(), policy), facts(policy)
    return {name: found_agents(mode, known) for name, mode in modes.items()}, policy.mode


def current_plan(mill: Mill, kind: Kind = Kind.TASK) -> FrozenPlan:
    """Compile the loop for a kind at the tip of the target. Raises `CannotCompileError`."""
    return compile_at(mill, mill.target_tip(mill.snapshot()), all_types(), kind=kind)


def require_seen_failures(mill: Mill) -> None:
    """Raise `HiddenFailureError` for a line of the policy whose failure no shell here sees."""
    policy = policy_now(mill)
    for name in shells.of_checks(policy.worktree.shell).hides(policy.shell_lines):
        raise shells.hidden_failure(name)


def past_plan(mill: Mill) -> FrozenPlan:
    """Return the last plan used before a state commit. Raises `NothingToDoError` without one."""
    return plan_as_of(mill, mill.snapshot())


def compile_plan(
    mill: Mill, *, mode: str | None, kind: Kind, write: bool
) -> tuple[FrozenPlan, bool]:
    """Compile the tip of the target; return the plan and whether it was recorded as new."""
    tip = mill.target_tip(mill.snapshot())
    plan = compile_at(mill, tip, all_types(), mode=mode, kind=kind)
    return plan, write and record_plan(mill, plan, tip=tip)
