"""One attempt under way: its item, its claim, the stage at hand, the work so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitmill.agents import base as agents
from gitmill.agents.base import Agent, Report
from gitmill.attempts.monitor import AttemptMonitor
from gitmill.config import Policy
from gitmill.config.values import Permission
from gitmill.core.budget_rules import Allowance
from gitmill.core.change import Written
from gitmill.core.item import Item
from gitmill.core.pipeline import NextStep
from gitmill.core.plans.plan import FrozenPlan, PlannedAgent, PlannedStage
from gitmill.core.product import document_hash
from gitmill.core.red_target import OnTarget
from gitmill.core.runlog import StageResult
from gitmill.errors import GitmillError
from gitmill.mill import Mill
from gitmill.workspace import sandbox
from gitmill.workspace.open_workspace import Rights
from gitmill.workspace.run_checks import CheckResult
from gitmill.workspace.stop_token import InnerToken
from gitmill.workspace.without_work import Ask


@dataclass
class AttemptState:
    """One attempt from its claim to its record; each stage adds its results.

    `agent` is None when all stages are mechanical; `builder` is the person who built the work,
    empty when the agent did; `kept` is the ref that holds the work until it is recorded; `written`
    is the document that the attempt wrote. `stood_red` if the item waited for the target to move,
    `replayed` if its work was therefore replayed; `on_target` is how a red check ends without the
    work, if the item is not to blame for it, and `fault` the error that then stops the run.
    """

    item: Item
    plan: FrozenPlan
    policy: Policy
    claim: str
    agent: PlannedAgent | None = None
    allowance: Allowance = field(default_factory=Allowance)
    monitor: AttemptMonitor = field(init=False)  # from the first stage on
    stop: InnerToken = field(init=False)  # from the first stage on
    at: str = ""  # the name of the stage at hand
    base: str = ""
    work: str = ""
    kept: str = ""
    built: bool = False
    builder: str = ""
    written: Written | None = None
    stages: list[StageResult] = field(default_factory=list)
    results: list[CheckResult] = field(default_factory=list)
    checked: str = ""  # the commit that `results` are about
    done: NextStep | None = None  # the end of the item, if it needs no further stage
    stood_red: bool = False
    replayed: bool = False
    on_target: OnTarget | None = None
    fault: GitmillError | None = None
    report: Report | None = None

    @property
    def stage(self) -> PlannedStage:
        """The stage at hand."""
        return self.plan.stage(self.at)

    @property
    def document(self) -> str:
        """The hash of the item's document, written in this attempt or before; empty for none."""
        if self.written is not None:
            return document_hash(self.written.body)
        return document_hash(self.item.document.body) if self.item.is_written else ""

    @property
    def performer(self) -> PlannedAgent:
        """The agent of an attempt that has one."""
        assert self.agent is not None
        return self.agent

    @property
    def program(self) -> Agent:
        """The module that runs the agent."""
        return agents.program(self.performer.name, self.performer.command)

    @property
    def reads_prompt(self) -> bool:
        """Whether the agent is a model, or a program that talks to one."""
        return self.program.READS_PROMPT

    @property
    def rights(self) -> Rights:
        """What the stage at hand may do in its workspace."""
        return Rights(
            full=self.stage.permission is Permission.FULL,
            network=sandbox.network(self.policy, self.stage, model=self.reads_prompt),
            signed=self.stage.is_authoring or self.reads_prompt,
        )

    def without_work(self, mill: Mill, commit: str) -> Ask:
        """Return where to run a command without the work: on a commit of the target."""
        target = mill.snapshot().control.target
        return Ask(mill, self.policy, commit, target, self.claim, self.stop, self.stage)

    @property
    def number(self) -> int:
        """Which attempt at the stage this is, counted over all rounds, from 1."""
        return self.item.count("returns") + self.item.count(self.at) + 1

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that tell a command which attempt it belongs to."""
        return {"GITMILL_ITEM": self.item.id, "GITMILL_ATTEMPT": str(self.number)}
