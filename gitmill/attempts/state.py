"""What an agent is sent to do, what it gets for that, and what it says."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from gitmill.agents import base as agents
from gitmill.agents.base import Agent, Attempt, Report
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.attempts.prompts import FilledPrompt, fill_prompt
from gitmill.config import Policy
from gitmill.config.values import Permission
from gitmill.core.item import Item
from gitmill.core.plans.plan import PlannedAgent, PlannedStage
from gitmill.core.verdict import Finding
from gitmill.mill import Mill
from gitmill.workspace import agent_homes, sandbox, secret_scan
from gitmill.workspace.run_checks import outside_paths
from gitmill.workspace.trust import item_commands, require_trusted
from gitmill.workspace.workspace import Rights, Workspace


@dataclass(frozen=True, slots=True)
class Errand:
    """One stage of an item, for one agent, under one claim."""

    item: Item
    policy: Policy
    stage: PlannedStage
    who: PlannedAgent
    claim: str
    witness: AttemptMonitor

    @property
    def program(self) -> Agent:
        """The module that runs it."""
        return agents.program(self.who.name, self.who.command)

    @property
    def reads_prompt(self) -> bool:
        """Whether it is a model that does the work, or something that talks to one."""
        return self.program.READS_PROMPT

    @property
    def rights(self) -> Rights:
        """What the place is for in which it works."""
        return Rights(
            full=self.stage.permission is Permission.FULL,
            network=sandbox.network(self.policy, self.stage, model=self.reads_prompt),
            signed=self.stage.is_authoring or self.reads_prompt,
        )

    @property
    def number(self) -> int:
        """Which attempt at the stage this is, counted over all rounds, from 1."""
        return self.item.count("returns") + self.item.count(self.stage.name) + 1

    @property
    def variables(self) -> dict[str, str]:
        """What its environment says of it."""
        return {"GITMILL_ITEM": self.item.id, "GITMILL_ATTEMPT": str(self.number)}


def ask(mill: Mill, errand: Errand, here: Workspace, findings: tuple[Finding, ...] = ()) -> Report:
    """Let the agent work in a place. `findings` are what a builder has to mend.

    Raises `UntrustedError` before anything runs that nobody has trusted here.
    """
    who, item = errand.who, errand.item
    named = {f"agents.{who.name}": who.line} if who.line else {}
    require_trusted(mill, item_commands(item) | named, item=item.id)
    if not errand.reads_prompt:
        return _run(mill, errand, here, findings)
    keeps = errand.stage.is_authoring
    with agent_homes.agents_own(mill, item.id, who.name, errand.program.LOGIN, keeps=keeps) as home:
        return _run(mill, errand, here.with_home(home), findings)


def _run(mill: Mill, errand: Errand, here: Workspace, findings: tuple[Finding, ...]) -> Report:
    item, stage, nonce = errand.item, errand.stage, mill.new_token()
    sent, limit = FilledPrompt(""), errand.policy.limits.prompt
    if errand.reads_prompt:
        sent = fill_prompt(mill, item, stage, errand.who, findings, nonce=nonce, limit=limit)
    began = time.monotonic()
    report = errand.program.run(
        _attempt(mill, errand, here, sent, nonce),
        _as_permitted(here, stage) if errand.reads_prompt else here.execute,
    )
    took = time.monotonic() - began
    report = errand.witness.judged(report, timeout=stage.timeout, took=took)
    said = report.verdict
    return report if said is None else replace(report, verdict=secret_scan.clean_verdict(said))


def _attempt(
    mill: Mill, errand: Errand, here: Workspace, sent: FilledPrompt, nonce: str
) -> Attempt:
    item, stage, who, witness = errand.item, errand.stage, errand.who, errand.witness
    needs = errand.program.NEEDS
    judged = outside_paths(mill, item, item.base, item.work) if item.work else ()
    prices = {model: price.model_dump() for model, price in errand.policy.prices.items()}
    return Attempt(
        item=item.id,
        title=item.title,
        role=stage.role,
        permission=stage.permission.value,
        number=errand.number,
        prompt=sent.prompt,
        followup=sent.followup,
        session=sent.session,
        earlier=sent.earlier,
        nonce=nonce,
        workdir=here.slot.path,
        scratch=here.slot.tmp,
        findings=here.findings,
        home=here.home,
        env={**here.env, **{name: os.environ[name] for name in needs if name in os.environ}},
        wall=witness.wall(stage.timeout),
        idle=stage.idle,
        transcript=witness.transcript,
        progress=witness.progress,
        spend=witness.spend,
        script=item.script,
        criteria=item.criteria,
        outside=judged if stage.role == "reviewer" else (),
        model=who.model,
        confined=here.sandbox is not None and stage.permission is not Permission.FULL,
        settings={"command": who.command, "options": who.options, "prices": prices},
    )


def _as_permitted(here: Workspace, stage: PlannedStage) -> agents.Execute:
    """Return what runs a command with the stage's rights, whatever an adapter says of it."""
    return lambda command: here.execute(replace(command, access=stage.permission.value))
