"""Run the agent of a stage: its prompt, its command, its report."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from gitmill.agents import base as agents
from gitmill.agents.base import Attempt, Report
from gitmill.attempts.prompts import FilledPrompt, fill_prompt
from gitmill.attempts.state import AttemptState
from gitmill.config.values import Permission
from gitmill.core.plans.plan import PlannedStage
from gitmill.core.verdict import Finding
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace import agent_homes
from gitmill.workspace.inspect_change import outside_paths
from gitmill.workspace.trust import item_commands, require_trusted
from gitmill.workspace.workspace import Workspace


def ask(
    mill: Mill, state: AttemptState, workspace: Workspace, findings: tuple[Finding, ...] = ()
) -> Report:
    """Run the agent in a workspace. `findings` are the ones that a builder has to fix.

    Raises `UntrustedError` before any command runs that is not trusted on this machine.
    """
    who, item = state.performer, state.item
    named = {f"agents.{who.name}": who.line} if who.line else {}
    require_trusted(mill, item_commands(item) | named, item=item.id)
    if not state.reads_prompt:
        return _run(mill, state, workspace, findings)
    keeps = state.stage.is_authoring
    with agent_homes.agent_home(mill, item.id, who.name, state.program.LOGIN, keeps=keeps) as home:
        return _run(mill, state, workspace.with_home(home), findings)


def _run(
    mill: Mill, state: AttemptState, workspace: Workspace, findings: tuple[Finding, ...]
) -> Report:
    item, stage, nonce = state.item, state.stage, mill.new_token()
    sent, limit = FilledPrompt(""), state.policy.limits.prompt
    if state.reads_prompt:
        sent = fill_prompt(mill, item, stage, state.performer, findings, nonce=nonce, limit=limit)
    started = time.monotonic()
    report = state.program.run(
        _attempt(mill, state, workspace, sent, nonce),
        _as_permitted(workspace, stage) if state.reads_prompt else workspace.execute,
    )
    took = time.monotonic() - started
    report = state.monitor.within_budget(report, timeout=stage.timeout, took=took)
    if report.verdict is None:
        return report
    return replace(report, verdict=secret_search.clean_verdict(report.verdict))


def _attempt(
    mill: Mill, state: AttemptState, workspace: Workspace, sent: FilledPrompt, nonce: str
) -> Attempt:
    item, stage, who, monitor = state.item, state.stage, state.performer, state.monitor
    needs = state.program.NEEDS
    reviewed = stage.role == "reviewer" and item.work
    outside = outside_paths(mill, item, item.base, item.work) if reviewed else ()
    prices = {model: price.model_dump() for model, price in state.policy.prices.items()}
    return Attempt(
        item=item.id,
        title=item.title,
        role=stage.role,
        permission=stage.permission.value,
        number=state.number,
        prompt=sent.prompt,
        followup=sent.followup,
        session=sent.session,
        earlier=sent.earlier,
        produces=stage.product,
        nonce=nonce,
        workdir=workspace.path,
        scratch=workspace.slot.tmp,
        findings=workspace.findings,
        home=workspace.home,
        env={**workspace.env, **{name: os.environ[name] for name in needs if name in os.environ}},
        wall=monitor.wall(stage.timeout),
        idle=stage.idle,
        transcript=monitor.transcript,
        progress=monitor.progress,
        spend=monitor.spend,
        script=item.script,
        criteria=item.criteria,
        outside=outside,
        model=who.model,
        confined=workspace.sandbox is not None and stage.permission is not Permission.FULL,
        shell_line=state.policy.worktree.shell,
        settings={"command": who.command, "options": who.options, "prices": prices},
    )


def _as_permitted(workspace: Workspace, stage: PlannedStage) -> agents.Execute:
    """Return an executor that enforces the stage's permission, whatever an adapter asks for."""
    return lambda command: workspace.execute(replace(command, access=stage.permission.value))
