"""Frozen plans: all rules of an attempt in one content-addressed document."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property
from itertools import groupby
from typing import Any

from gitmill.config.values import Network, Permission, When, command_line
from gitmill.core.document import Document
from gitmill.core.ids import Kind
from gitmill.core.item import Risk
from gitmill.core.product import Product
from gitmill.core.verdict import VerdictWord
from gitmill.errors import BadDocumentError
from gitmill.hints import Gitmill, Hint

FORMAT = 1
APPROVED, DONE, WAITING, BLOCKED = "approved", "done", "waiting", "blocked"
ENDS = (APPROVED, DONE, WAITING, BLOCKED)  # the targets of edges that do not lead to a stage
AUTHOR = "author"  # in `distinct_from`: the agent that wrote the work, at any stage


class Performer(StrEnum):
    """Who performs a stage. A mechanical stage runs under the claim of the stage before it."""

    AGENT = "agent"
    GITMILL = "gitmill"
    PERSON = "person"


@dataclass(frozen=True)
class PlannedAgent:
    """An agent that can serve a stage; with a `command` it is a program named in the policy."""

    name: str
    command: tuple[str, ...] = ()
    model: str = ""
    options: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Its command line from the policy, in the form of `AgentPolicy.line`."""
        return command_line(self.command, self.options)


@dataclass(frozen=True)
class PlannedStage:
    """One stage with all settings resolved.

    `agents` are in order of preference: the first available one runs the stage. It must not have
    run a stage named in `distinct_from` for the same work.

    `attempts` is the number of attempts per round; a round ends when the item is returned, and
    `returns` of the limits bounds the rounds. If a verdict other than pass leads to a stage without
    attempts left, the item is blocked; passes never form a cycle. A stage of type person has no
    attempts (0). Times are in seconds, 0 is none.
    `edges` has every verdict that the stage can give, with a stage's name or one of `ENDS`.
    `network` is None if the stage does not set it. `produces` is None for a stage without an agent,
    and in plans of versions that had no such key. `settings` are the keys that only its type has.
    """

    name: str
    type: str
    role: str
    agents: tuple[PlannedAgent, ...]
    permission: Permission
    timeout: int
    idle: int
    attempts: int
    approvals: int
    distinct_from: tuple[str, ...]
    edges: Mapping[VerdictWord, str]
    prompt: str = ""
    network: Network | None = None
    produces: Product | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def performer(self) -> Performer:
        """Who performs the stage, which a plan shows without the code of the stage's type."""
        if self.agents:
            return Performer.AGENT
        return Performer.GITMILL if self.attempts else Performer.PERSON

    @property
    def agent(self) -> str:
        """The name of the preferred agent, empty if the stage has none."""
        return self.agents[0].name if self.agents else ""

    @property
    def product(self) -> Product:
        """What the stage produces; an older plan shows it by the permission of its agents."""
        if self.produces is not None:
            return self.produces
        writes = bool(self.agents) and self.permission is not Permission.READ_ONLY
        return Product.WORK if writes else Product.VERDICT

    @property
    def is_authoring(self) -> bool:
        """Whether the stage produces work or a document."""
        return self.product is not Product.VERDICT


@dataclass(frozen=True)
class PlannedCheck:
    """A command of the policy that must exit 0."""

    name: str
    command: str
    timeout: int
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class PlannedSanity:
    """The limits for every change; patterns are as in `.gitignore`."""

    max_files: int
    max_lines: int
    max_file_size: int
    protected: tuple[str, ...]
    forbidden_lines: tuple[str, ...]


@dataclass(frozen=True)
class PlannedLimits:
    """Bounds on the counters of an item."""

    returns: int
    attempts: int
    aborts: int


@dataclass(frozen=True)
class FrozenPlan:
    """A compiled loop. With `item_criteria`, a checks stage runs only the item's own commands."""

    mode: str
    loop: str
    serves: Kind
    stages: tuple[PlannedStage, ...]
    checks: tuple[PlannedCheck, ...]
    item_criteria: bool
    sanity: PlannedSanity
    gates: Mapping[str, When]
    limits: PlannedLimits
    format: int = FORMAT

    @property
    def first(self) -> PlannedStage:
        """The first stage of an item."""
        return self.stages[0]

    @property
    def product(self) -> Product:
        """What the loop produces: work, a document, or only the verdict that ends it."""
        return next((s.product for s in self.stages if s.is_authoring), Product.VERDICT)

    def stage(self, name: str) -> PlannedStage:
        """Return the stage of that name. Raises `KeyError` if the plan has none."""
        return {stage.name: stage for stage in self.stages}[name]

    def asks(self, stage: str, risk: Risk) -> bool:
        """Whether the gate of this person stage asks a person about an item of this risk."""
        when = self.gates[stage]
        return when is When.ALWAYS or (when is When.HIGH_RISK and risk is Risk.HIGH)

    @cached_property
    def hash12(self) -> str:
        """The plan's name: the first 12 hexadecimal digits of the document's SHA-256."""
        return hashlib.sha256(self.render().encode()).hexdigest()[:12]

    def render(self) -> str:
        """Return the plan as one document; the same plan gives the same bytes."""
        fields = asdict(self)
        fields["gates"] = dict(sorted(fields["gates"].items()))
        for stage in fields["stages"]:
            stage["edges"] = {
                word: stage["edges"][word] for word in VerdictWord if word in stage["edges"]
            }
            del stage["prompt"]
            for key in ("network", "produces"):
                if stage[key] is None:
                    del stage[key]
            if not stage["settings"]:
                del stage["settings"]
        ordered = {key: fields[key] for key in _KEYS}
        return Document.new(ordered, self._body()).text

    @classmethod
    def parse(cls, text: str, *, path: str = "plan") -> FrozenPlan:
        """Read a rendered plan.

        Raises `BadDocumentError` unless rendering the result reproduces the text, so an edited
        plan is refused as a whole.
        """
        document = Document(text, path)
        refusal = BadDocumentError(
            f"{path}: this is not a plan that gitmill compiled",
            hints=[Hint("compile it again with", Gitmill("compile"))],
        )
        try:
            text.encode()
            fields = {key: document.value(key) for key in document.fields}
            plan = _with_prompts(_adapter().validate_python(fields), document.body)
        except (ValueError, RecursionError, BadDocumentError):
            raise refusal from None
        if plan.format != FORMAT or plan.render() != text:
            raise refusal
        return plan

    def settings(self) -> dict[str, Any]:
        """Return the part of the policy that the plan contains."""
        fields = asdict(self)
        checks = {
            check["name"]: {"command": check["command"], "timeout": check["timeout"],
                            "inputs": list(check["inputs"])}
            for check in fields["checks"]
        }  # fmt: skip
        return {
            "checks": checks, "sanity": fields["sanity"], "gates": fields["gates"],
            "limits": fields["limits"],
        }  # fmt: skip

    def _body(self) -> str:
        words = list(VerdictWord)
        rows = [["stage", "type", "agent", "permission", "tries", *words]]
        rows.append(["---"] * len(rows[0]))
        for s in self.stages:
            edges = [s.edges.get(word, "-") for word in words]
            tries = str(s.attempts) if s.attempts else "-"
            may = s.permission if s.agents else "-"
            who = ", ".join(agent.name for agent in s.agents) or "-"
            rows.append([s.name, s.type, who, may, tries, *edges])
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        prompts = "".join(_section(s) for s in self.stages if s.prompt)
        return f"\n# Plan of the loop {self.loop} in mode {self.mode}\n\n{table}{prompts}"

    def mermaid(self) -> str:
        """Return stages and edges as a Mermaid flow chart."""
        shapes = {
            Performer.AGENT: "[{}]", Performer.GITMILL: "[/{}/]", Performer.PERSON: "{{{{{}}}}}",
        }  # fmt: skip
        lines = ["flowchart TD"]
        lines += [f"    {_node(s.name)}{shapes[s.performer].format(s.name)}" for s in self.stages]
        ends = {to for stage in self.stages for to in stage.edges.values() if to in ENDS}
        lines += [f"    {_node(end)}([{end}])" for end in ENDS if end in ends]
        for stage in self.stages:
            edges = sorted(stage.edges.items(), key=lambda edge: edge[1])
            for to, group in groupby(edges, key=lambda edge: edge[1]):
                words = ", ".join(word for word, _ in group)
                lines.append(f"    {_node(stage.name)} -->|{words}| {_node(to)}")
        return "\n".join(lines) + "\n"


_KEYS = (
    "format", "mode", "loop", "serves", "gates", "limits", "checks", "item_criteria", "sanity",
    "stages",
)  # fmt: skip


def _node(name: str) -> str:
    # Mermaid has reserved words, such as `end`.
    return "s_" + name.replace("-", "_")


def _section(stage: PlannedStage) -> str:
    longest = max((len(run) for run in re.findall("`+", stage.prompt)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n## Prompt of {stage.name}\n\n{fence}jinja\n{stage.prompt}\n{fence}\n"


def _with_prompts(plan: FrozenPlan, body: str) -> FrozenPlan:
    stages, at = [], max(0, body.find("\n## Prompt of "))
    for stage in plan.stages:
        title = f"\n## Prompt of {re.escape(stage.name)}\n\n"
        prompt = re.compile(title + r"(`{3,})jinja\n(.*?)\n\1\n", re.DOTALL).match(body, at)
        at = prompt.end() if prompt else at
        stages.append(replace(stage, prompt=prompt[2]) if prompt else stage)
    return replace(plan, stages=tuple(stages))


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415  (building it takes longer than most commands)

    return TypeAdapter(FrozenPlan)
