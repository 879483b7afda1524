"""Loops, modes and the plan that they compile to, now or as of a state commit."""

from __future__ import annotations

from gitmill.core.plans.loop import Loop
from gitmill.core.plans.mode import Mode, all_modes
from gitmill.core.plans.plan import FrozenPlan
from gitmill.history.time_travel import plan_as_of
from gitmill.mill import Mill
from gitmill.plans.frozen import compile_at, record_plan
from gitmill.plans.loops import loops_at, shipped_modes
from gitmill.plans.policy import policy_now


def current_loops(mill: Mill) -> dict[str, Loop]:
    """Return the loops at the tip of the target, by name."""
    return loops_at(mill, mill.target_tip(mill.snapshot()))


def current_modes(mill: Mill) -> tuple[dict[str, Mode], str]:
    """Return the modes at the tip of the target by name, and the name that the policy chose."""
    policy = policy_now(mill)
    return all_modes(shipped_modes(), policy), policy.mode


def current_plan(mill: Mill, *, mode: str | None = None) -> FrozenPlan:
    """Compile the tip of the target. Raises `CannotCompileError`."""
    return compile_at(mill, mill.target_tip(mill.snapshot()), mode=mode)


def past_plan(mill: Mill) -> FrozenPlan:
    """Return the last plan used before a state commit. Raises `NothingToDoError` without one."""
    return plan_as_of(mill, mill.snapshot())


def compile_plan(mill: Mill, *, mode: str | None, write: bool) -> tuple[FrozenPlan, bool]:
    """Compile the tip of the target; return the plan and whether it was recorded as new."""
    tip = mill.target_tip(mill.snapshot())
    plan = compile_at(mill, tip, mode=mode)
    return plan, write and record_plan(mill, plan, tip=tip)
