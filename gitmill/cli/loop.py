"""`gitmill loop …` and `gitmill compile`: loops, and the plan that they compile to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from gitmill.cli import output, session
from gitmill.core.ids import Kind
from gitmill.errors import UsageError
from gitmill.hints import Hint

if TYPE_CHECKING:
    from gitmill.core.plans.loop import Loop
    from gitmill.core.plans.plan import FrozenPlan
    from gitmill.mill import Mill

loop = typer.Typer(add_completion=False, no_args_is_help=False, help="Loops: the stages of work.")
verbs = typer.Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the loop.", metavar="LOOP")]


@verbs.callback()
def _verbs() -> None:
    """Commands of one word."""


@loop.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """List the loops when no verb is given."""
    if context.invoked_subcommand is None:
        list_loops()


def _loops(mill: Mill) -> dict[str, Loop]:
    from gitmill.flows.compile import current_loops

    return current_loops(mill)


def _plan(mill: Mill, name: str) -> FrozenPlan:
    """Return the plan of a loop as it compiles now; with `--at` the last plan used before that."""
    from gitmill.flows.compile import current_plan

    if output.past:
        plan = _past_plan(mill)
        _require_known(name, [plan.loop])
        return plan
    loops = _loops(mill)
    _require_known(name, loops)
    return current_plan(mill, loops[name].serves)


def _past_plan(mill: Mill) -> FrozenPlan:
    from gitmill.flows.compile import past_plan

    return past_plan(mill)


@loop.command("list")
def list_loops() -> None:
    """List the loops with their stages."""
    mill = session.mill()
    loops: list[tuple[str, Loop | FrozenPlan]]
    if output.past:
        plan = _past_plan(mill)
        loops = [(plan.loop, plan)]
    else:
        loops = list(_loops(mill).items())
    rows = [f"{name:<10} {loop.serves.value:<9} {_pipeline(loop)}" for name, loop in loops]
    entries = [
        {"name": name, "serves": loop.serves.value, "stages": [s.name for s in loop.stages]}
        for name, loop in loops
    ]
    output.answer(rows, {"loops": entries})


def _pipeline(loop: Loop | FrozenPlan) -> str:
    """Return the stages in order, with those that no `pass` leads to in brackets."""
    from gitmill.core import pipeline
    from gitmill.core.plans.plan import FrozenPlan

    if isinstance(loop, FrozenPlan):
        side = [stage.name for stage in loop.stages if pipeline.is_side(loop, stage.name)]
    else:
        side = [stage.name for stage in loop.stages if stage.is_side]
    main = " → ".join(stage.name for stage in loop.stages if stage.name not in side)
    return f"{main} ({', '.join(side)})" if side else main


@loop.command()
def show(
    name: Name = "deliver",
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flow chart.")] = False,
) -> None:
    """Show the stages of a loop as they compile now, and where each verdict leads."""
    mill = session.mill()
    plan = _plan(mill, name)
    if mermaid:
        text = plan.mermaid()
        output.answer(text.splitlines(), {"loop": name, "mermaid": text})
        return
    rows = []
    for stage in plan.stages:
        edges = ", ".join(f"{verdict.value} → {to}" for verdict, to in stage.edges.items())
        agents = ", ".join(agent.name for agent in stage.agents)
        who = f"{agents} ({stage.permission.value})" if agents else stage.type
        rows.append(f"{stage.name:<10} {who:<24} {edges}")
    entries = [
        {
            "name": stage.name, "type": stage.type, "agents": [a.name for a in stage.agents],
            "permission": stage.permission.value, "attempts": stage.attempts,
            "timeout": stage.timeout, "edges": {w.value: to for w, to in stage.edges.items()},
        }
        for stage in plan.stages
    ]  # fmt: skip
    output.answer(rows, {"loop": name, "plan": plan.hash12, "stages": entries})


@loop.command()
def check(name: Name = "deliver") -> None:
    """Compile a loop at the tip of the target, and show its errors."""
    from gitmill.flows.compile import require_seen_failures

    mill = session.mill()
    plan = _plan(mill, name)
    require_seen_failures(mill)
    output.answer([f"{name} compiles to {plan.hash12}"], {"loop": name, "plan": plan.hash12})


def _require_known(name: str, loops: Iterable[str]) -> None:
    if name not in loops:
        raise UsageError(f"there is no loop {name}", hints=[Hint(f"known: {', '.join(loops)}")])


@verbs.command("compile")
def compile_(
    mode: Annotated[str | None, typer.Option("--mode", help="Mode to compile for.")] = None,
    kind: Annotated[Kind, typer.Option("--kind", help="Kind of item.")] = Kind.TASK,
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing.")] = False,
) -> None:
    """Compile mode, loops and policy at the tip of the target into a frozen plan."""
    from gitmill.flows.compile import compile_plan

    plan, new = compile_plan(session.mill(), mode=mode, kind=kind, write=not check)
    stages = " → ".join(stage.name for stage in plan.stages)
    output.answer(
        [f"{plan.hash12}  mode {plan.mode}  {stages}"],
        {"plan": plan.hash12, "mode": plan.mode, "recorded": new, "document": plan.render()},
    )
