"""Compile mode, loop, policy and agents to a frozen plan, or report every reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gitmill.config import MAX_APPROVALS, MAX_ATTEMPTS, POLICY_FILE, AgentPolicy, Limits, Policy
from gitmill.config.problems import nearest
from gitmill.config.values import Permission, When
from gitmill.core.ids import Kind
from gitmill.core.plans.loop import Loop, Stage
from gitmill.core.plans.mode import Mode, fill_roles
from gitmill.core.plans.plan import (
    AUTHOR,
    FrozenPlan,
    Performer,
    PlannedAgent,
    PlannedCheck,
    PlannedLimits,
    PlannedSanity,
    PlannedStage,
)
from gitmill.core.plans.stage_graph import Edges, Problem, StageDraft, resolve_edges
from gitmill.core.plans.stage_type import StageTypes
from gitmill.core.plans.template import check_prompt
from gitmill.core.product import Product
from gitmill.core.verdict import VerdictWord
from gitmill.errors import CannotCompileError
from gitmill.hints import Hint

AGENT_IDLE = 10 * 60  # seconds


@dataclass(frozen=True)
class AgentFacts:
    """The abilities of an agent; `roles` is None if it can serve any role.

    A mode finds `coding` agents by their roles, and other agents by their names alone.
    """

    name: str
    permissions: frozenset[Permission]
    roles: frozenset[str] | None = None
    coding: bool = False


def compile_plan(
    *,
    mode: Mode,
    loops: Mapping[str, Loop],
    policy: Policy,
    agents: Mapping[str, AgentFacts],
    types: StageTypes,
    kind: Kind = Kind.TASK,
) -> FrozenPlan:
    """Return the plan for the loop that serves a kind of item. The same input gives equal plans.

    Raises `CannotCompileError` with every problem, its file, and hints.
    """
    loop, mode = _serving(loops, kind), found_agents(mode, agents)
    drafts = tuple(_draft(stage, mode, policy, types) for stage in _staffed(loop, mode))
    edges, problems = resolve_edges(drafts) if loop.main else ({}, [])
    problems += [*_loop_problems(loop, drafts, policy), *_mode_problems(mode, loops, agents, types)]
    problems += _policy_problems(policy, agents)
    for draft in drafts:
        problems += [*_bounds(draft.stage), *_role_problems(draft, mode)]
        problems += [*_agent_problems(draft, agents), *_distinct(draft, drafts, mode)]
        problems += _prompt_problems(draft.stage)
    if problems:
        raise _refusal(loop, mode, problems)
    return _plan(loop, mode, policy, drafts, edges)


def found_agents(mode: Mode, agents: Mapping[str, AgentFacts]) -> Mode:
    """Return the mode with the names of the agents that its `*` stand for."""
    return fill_roles(mode, {name: facts.roles for name, facts in agents.items() if facts.coding})


def _serving(loops: Mapping[str, Loop], kind: Kind) -> Loop:
    serving = [loop for loop in loops.values() if loop.serves is kind]
    if len(serving) == 1:
        return serving[0]
    count = "no loop serves" if not serving else "more than one loop serves"
    raise CannotCompileError(
        f"{count} items of kind {kind}",
        evidence=[f"{loop.path}: serves {loop.serves}" for loop in serving or loops.values()],
        hints=[Hint(f"exactly one `loop.md` has `serves: {kind}`")],
    )


def _staffed(loop: Loop, mode: Mode) -> list[Stage]:
    """Return the stages except optional ones without an agent, and drop the edges to those."""
    dropped = {s.name for s in loop.stages if s.optional and s.is_side and s.role not in mode.roles}
    return [
        replace(stage, on={word: to for word, to in stage.on.items() if to not in dropped})
        for stage in loop.stages
        if stage.name not in dropped
    ]


def _refusal(loop: Loop, mode: Mode, problems: Sequence[Problem]) -> CannotCompileError:
    return CannotCompileError(
        f"the loop {loop.name} does not compile in mode {mode.name}",
        evidence=[f"{problem.where}: {problem.what}" for problem in problems],
        hints=[Hint(hint) for hint in dict.fromkeys(problem.hint for problem in problems) if hint],
    )


def _draft(stage: Stage, mode: Mode, policy: Policy, types: StageTypes) -> StageDraft:
    """Resolve the permission: the stage's, else the agent's, else the least that the role needs."""
    kind = types[stage.type]
    agents = mode.roles.get(stage.role, ()) if kind.performer is Performer.AGENT else ()
    default = Permission.WORKSPACE if stage.role == "builder" else Permission.READ_ONLY
    own = next((policy.agents[name].permission for name in agents if name in policy.agents), None)
    written = next((level for level in Permission if level == stage.permission), None)
    required = replace(
        stage,
        approvals=mode.approvals.get(stage.name, stage.approvals),
        distinct_from=mode.distinct_from.get(stage.name, stage.distinct_from),
    )
    return StageDraft(required, kind, written or own or default, agents)


def _guess(word: str, known: Sequence[str], label: str) -> str:
    close = nearest(word, known)
    return f"did you mean `{close}`?" if close else f"{label} {', '.join(known) or 'none'}"


def _loop_problems(loop: Loop, drafts: Sequence[StageDraft], policy: Policy) -> Iterator[Problem]:
    if not loop.main:
        hint = "add a file such as `10-build.md` beside it"
        yield Problem(loop.path, "the loop has no stage to begin with", hint)
    else:
        yield from _product_problems(loop, drafts)
    for draft in drafts:
        if problem := draft.type.problem(draft.name, policy):
            yield Problem(POLICY_FILE, *problem)


def _product_problems(loop: Loop, drafts: Sequence[StageDraft]) -> Iterator[Problem]:
    """Yield why the loop does not produce one thing: work, a document, or only its verdict."""
    authors = [draft for draft in drafts if draft.is_authoring and not draft.stage.is_side]
    product = authors[0].product if authors else Product.VERDICT
    if product is Product.VERDICT and loop.serves is Kind.TASK:
        hint = "give a stage of type agent `permission: workspace`"
        yield Problem(loop.path, "no stage of the loop can change files", hint)
        return
    if product is Product.WORK and loop.serves is not Kind.TASK:
        what = f"{authors[0].name} produces work, but the text of a {loop.serves} is a document"
        yield Problem(authors[0].stage.where("produces"), what, "add `produces: document`")
    for draft in drafts:
        if draft.is_authoring and draft.product is not product:
            what = f"{draft.name} produces {draft.product}, but the loop produces {product}"
            yield Problem(draft.stage.where("produces"), what, "a loop produces only one thing")
        if draft.type.inspects_work and product is not Product.WORK:
            what = f"a stage of type {draft.stage.type} inspects work, but the loop produces none"
            yield Problem(draft.stage.where("type"), what, "remove it from this loop")
        if draft.product is Product.WORK and draft.permission is Permission.READ_ONLY:
            what = f"{draft.name} produces work, but it may only read"
            yield Problem(draft.stage.where("permission"), what, "give it `permission: workspace`")


def _mode_problems(
    mode: Mode, loops: Mapping[str, Loop], agents: Mapping[str, AgentFacts], types: StageTypes
) -> Iterator[Problem]:
    """Yield the names in a mode that no loop has. All loops share the mode."""
    stages = [stage for loop in loops.values() for stage in loop.stages]
    performers = [(stage.name, types[stage.type].performer) for stage in stages]
    roles = sorted({stage.role for stage in stages if stage.role})
    gates = sorted({name for name, performer in performers if performer is Performer.PERSON})
    for role, served in mode.roles.items():
        if role not in roles:
            hint = _guess(role, roles, "the roles of the loops are")
            yield Problem(mode.path, f"no stage of any loop has the role {role}", hint)
        for agent in served:
            if agent not in agents:
                hint = _guess(agent, sorted(agents), "the agents are")
                what = f"the role {role} names {agent}, which is not an agent"
                yield Problem(mode.path, what, hint)
    acting = {name for name, performer in performers if performer is Performer.AGENT}
    for name in sorted({*mode.approvals, *mode.distinct_from} - acting):
        hint = _guess(name, sorted(acting), "the stages of type agent are")
        yield Problem(mode.path, f"no stage of type agent is called {name}", hint)
    for gate in mode.gates:
        if gate not in gates:
            hint = _guess(gate, gates, "the stages of type person are")
            yield Problem(mode.path, f"no stage of type person is called {gate}", hint)


def _policy_problems(policy: Policy, agents: Mapping[str, AgentFacts]) -> Iterator[Problem]:
    for name in policy.agents:
        if name not in agents:
            hint = _guess(name, sorted(agents), "the agents are")
            yield Problem(POLICY_FILE, f"agents.{name}: there is no such agent", hint)


def _bounds(stage: Stage) -> Iterator[Problem]:
    if stage.attempts is not None and not 1 <= stage.attempts <= MAX_ATTEMPTS:
        what = f"attempts must be 1 to {MAX_ATTEMPTS}, not {stage.attempts}"
        yield Problem(stage.where("attempts"), what, "for example `attempts: 3`")
    if stage.optional and not stage.is_side:
        what = f"{stage.name} is not a side stage, so it cannot be optional"
        yield Problem(stage.where("optional"), what, "give its file a number from 80 on")
    if not 1 <= stage.approvals <= MAX_APPROVALS:
        what = f"approvals must be 1 to {MAX_APPROVALS}, not {stage.approvals}"
        yield Problem(stage.where("approvals"), what, "for example `approvals: 2`")


def _role_problems(draft: StageDraft, mode: Mode) -> Iterator[Problem]:
    stage = draft.stage
    if not draft.is_agent:
        return
    if stage.permission is not None and stage.permission not in list(Permission):
        hint = _guess(stage.permission, list(Permission), "the permissions are")
        yield Problem(stage.where("permission"), f"there is no permission {stage.permission}", hint)
    if stage.role not in mode.roles:
        hint = _guess(stage.role, sorted(mode.roles), "its roles are")
        what = f"the mode {mode.name} has no agent for the role {stage.role}"
        yield Problem(stage.where("role"), what, hint)
    if draft.is_authoring and stage.approvals > 1:
        what = f"{stage.name} writes, so there is nothing to approve {stage.approvals} times"
        yield Problem(
            stage.where("approvals"), what, "set `approvals` at the stage that reviews it"
        )


def _agent_problems(draft: StageDraft, agents: Mapping[str, AgentFacts]) -> Iterator[Problem]:
    stage = draft.stage
    for agent in (agents[name] for name in draft.agents if name in agents):
        if agent.roles is not None and stage.role not in agent.roles:
            what = f"the agent {agent.name} cannot serve as {stage.role}"
            hint = f"it serves as {', '.join(sorted(agent.roles))}; give the role another agent"
            yield Problem(stage.where("role"), what, hint)
        if draft.permission not in agent.permissions:
            what = f"the agent {agent.name} cannot run with the permission {draft.permission}"
            hint = f"it can run with {', '.join(p for p in Permission if p in agent.permissions)}"
            yield Problem(stage.where("permission"), what, hint)


def _distinct(draft: StageDraft, drafts: Sequence[StageDraft], mode: Mode) -> Iterator[Problem]:
    """Yield the requirements that a mode cannot meet, whichever agent ran the other stage."""
    where, own = draft.stage.where("distinct_from"), set(draft.agents)
    acting = {d.name: [d] for d in drafts if d.type.performer is not Performer.GITMILL}
    acting.setdefault(AUTHOR, [d for d in drafts if d.is_authoring])
    hint_more = f"give the roles more agents in `[modes.{mode.name}]`"
    for name in draft.stage.distinct_from:
        others = [other for other in acting if other != draft.name]
        if name != draft.name and name not in others:
            hint = _guess(name, others, "the stages with an agent or a person are")
            what = f"{draft.name} cannot be distinct from {name}: it has no other agent"
            yield Problem(where, what, hint)
        elif name == draft.name and len(own) < draft.stage.approvals:
            what = f"{name} needs {draft.stage.approvals} different agents and has {len(own)}"
            yield Problem(where, what, hint_more)
    needed = draft.stage.approvals if draft.name in draft.stage.distinct_from else 1
    for name in sorted({*draft.stage.distinct_from} & {*acting} - {draft.name}):
        for agent in dict.fromkeys(agent for other in acting[name] for agent in other.agents):
            if own and len(own - {agent}) < needed:
                what = f"{draft.name} must not have the agent of {name}, but {agent} serves both"
                yield Problem(where, what, hint_more)


def _prompt_problems(stage: Stage) -> Iterator[Problem]:
    for problem in check_prompt(stage.prompt) if stage.prompt else []:
        where = f"{stage.path}:{stage.prompt_line + problem.line - 1}"
        yield Problem(where, problem.what, problem.hint)


def _plan(
    loop: Loop, mode: Mode, policy: Policy, drafts: Sequence[StageDraft], edges: Edges
) -> FrozenPlan:
    gates = {
        draft.name: mode.gates.get(draft.name, draft.stage.when or When.HIGH_RISK)
        for draft in sorted(drafts, key=lambda draft: draft.name)
        if draft.type.performer is Performer.PERSON
    }
    checks = (policy.checks or {}).items()
    limits = policy.limits.model_copy(update=dict(loop.limits))
    sanity = policy.sanity
    return FrozenPlan(
        mode=mode.name,
        loop=loop.name,
        serves=loop.serves,
        stages=tuple(_stage(draft, edges[draft.name], policy, limits) for draft in drafts),
        checks=tuple(PlannedCheck(n, c.command, c.timeout, c.inputs) for n, c in checks),
        item_criteria=policy.checks is None,
        sanity=PlannedSanity(
            max_files=sanity.max_files,
            max_lines=sanity.max_lines,
            max_file_size=sanity.max_file_size,
            protected=policy.protected_paths,
            forbidden_lines=sanity.forbidden_lines,
        ),
        gates=gates,
        limits=PlannedLimits(limits.returns, limits.attempts, limits.aborts),
    )


def _agent(name: str, policy: Policy) -> PlannedAgent:
    own = policy.agents.get(name, AgentPolicy())
    return PlannedAgent(name, own.command, own.model or "", own.options)


def _stage(
    draft: StageDraft, edges: Mapping[VerdictWord, str], policy: Policy, limits: Limits
) -> PlannedStage:
    own = policy.agents.get(draft.agents[0] if draft.agents else "", AgentPolicy())
    stage, performer = draft.stage, draft.type.performer
    timeout = stage.timeout or own.timeout or draft.type.timeout(policy)
    idle = stage.idle or own.idle if performer is Performer.AGENT else 0
    if performer is Performer.PERSON:
        timeout, attempts = 0, 0
    else:
        attempts = stage.attempts or limits.attempts
    return PlannedStage(
        name=stage.name,
        type=stage.type,
        role=stage.role,
        agents=tuple(_agent(name, policy) for name in draft.agents),
        permission=draft.permission,
        timeout=timeout,
        idle=min(AGENT_IDLE, timeout) if idle is None else idle,
        attempts=attempts,
        approvals=stage.approvals,
        distinct_from=stage.distinct_from,
        edges=edges,
        prompt=stage.prompt,
        network=stage.network,
        produces=draft.product if draft.is_agent else None,
        settings=stage.settings,
    )
