"""The edges of a loop: the target of each verdict, and whether every path continues and ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from gitmill.config.problems import nearest
from gitmill.config.values import Permission
from gitmill.core.plans.loop import Stage
from gitmill.core.plans.plan import APPROVED, BLOCKED, DONE, WAITING, Performer
from gitmill.core.plans.stage_type import StageType
from gitmill.core.product import Product
from gitmill.core.verdict import VerdictWord

V = VerdictWord
Edges = Mapping[str, Mapping[VerdictWord, str]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason why a loop does not compile."""

    where: str
    what: str
    hint: str = ""


@dataclass(frozen=True)
class StageDraft:
    """A stage with its type, and the permission and agents that mode and policy give it."""

    stage: Stage
    type: StageType
    permission: Permission
    agents: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def is_agent(self) -> bool:
        """Whether an agent runs the stage."""
        return self.type.performer is Performer.AGENT

    @property
    def product(self) -> Product:
        """What the stage produces; by default work, if its agent can change files."""
        if not self.is_agent:
            return Product.VERDICT
        writes = self.permission is not Permission.READ_ONLY
        return self.stage.produces or (Product.WORK if writes else Product.VERDICT)

    @property
    def is_authoring(self) -> bool:
        """Whether the stage produces work or a document."""
        return self.product is not Product.VERDICT

    @property
    def verdicts(self) -> tuple[VerdictWord, ...]:
        """The verdicts of the stage; an author can return work only if its `on` has `return`."""
        if self.is_authoring:
            return tuple(word for word in V if word is not V.RETURN or word in self.stage.on)
        return self.type.verdicts


def resolve_edges(drafts: Sequence[StageDraft]) -> tuple[Edges, list[Problem]]:
    """Return the target of each verdict of each stage, and all problems with them."""
    problems = [problem for draft in drafts for problem in _declared(draft, drafts)]
    edges: dict[str, dict[VerdictWord, str]] = {}
    for draft in drafts:
        edges[draft.name] = {}
        for word in draft.verdicts:
            to = draft.stage.on.get(word) or _default(word, draft, drafts)
            if to is None:
                problems.append(_no_way(word, draft))
            else:
                edges[draft.name][word] = to
    if not problems:  # wrong edges would cause further, misleading problems
        problems += [*_circles(drafts, edges), *_unreachable(drafts, edges)]
    return edges, problems


def _declared(draft: StageDraft, drafts: Sequence[StageDraft]) -> Iterator[Problem]:
    for word, to in draft.stage.on.items():
        wrong = _wrong_verdict(word, draft) or _wrong_end(VerdictWord(word), to, draft, drafts)
        if wrong:
            yield Problem(draft.stage.where("on", word), *wrong)


def _wrong_verdict(word: str, draft: StageDraft) -> tuple[str, str] | None:
    if word not in list(V):
        close = nearest(word, list(V))
        hint = f"did you mean `{close}`?" if close else f"the verdicts are {', '.join(V)}"
        return f"there is no verdict {word}", hint
    if word not in draft.verdicts:
        hint = f"its verdicts are {', '.join(draft.verdicts)}"
        return f"a stage of type {draft.stage.type} never gives the verdict {word}", hint
    return None


def _wrong_end(
    word: VerdictWord, to: str, draft: StageDraft, drafts: Sequence[StageDraft]
) -> tuple[str, str] | None:
    """Return why a verdict cannot lead there; only a pass may get past a gate."""
    stages = [other.name for other in drafts]
    if to not in stages and (to not in (BLOCKED, WAITING) or word is V.PASS):
        close = nearest(to, stages)
        ends = "" if word is V.PASS else f"; {word} can also lead to {BLOCKED} or {WAITING}"
        hint = f"did you mean `{close}`?" if close else f"the stages are {', '.join(stages)}"
        return f"{word} leads to {to}, which is not a stage of this loop", hint + ends
    if word is V.ASK and to != WAITING:
        return f"ask leads to {to}, but it always waits for a person", "leave `ask` out"
    main = [other.name for other in drafts if not other.stage.is_side]
    ahead = main[main.index(draft.name) + 1 :] if draft.name in main else []
    if word is not V.PASS and to in ahead:
        hint = f"an earlier stage, a side stage, {BLOCKED} and {WAITING} are possible"
        return f"{word} of {draft.name} leads to {to}, but only pass leads forward", hint
    return None


def _default(word: VerdictWord, draft: StageDraft, drafts: Sequence[StageDraft]) -> str | None:
    at = list(drafts).index(draft)
    if word is V.PASS and not draft.stage.is_side:
        later = [other.name for other in drafts[at + 1 :] if not other.stage.is_side]
        return next(iter(later), _end(drafts))
    if word is V.RETURN and not draft.stage.is_side:
        return next((other.name for other in reversed(drafts[:at]) if other.is_authoring), None)
    return {V.ASK: WAITING, V.FAIL: draft.name, V.IMPOSSIBLE: BLOCKED}.get(word)


def _end(drafts: Sequence[StageDraft]) -> str:
    """Return the end of the main path: work is approved for landing, all else is done."""
    makes_work = any(draft.product is Product.WORK for draft in drafts)
    return APPROVED if makes_work else DONE


def _no_way(word: VerdictWord, draft: StageDraft) -> Problem:
    why = "no earlier stage produces work or a document"
    if draft.stage.is_side:
        why = "a side stage has no default for it"
    what = f"the verdict {word} of {draft.name} leads to no stage: {why}"
    return Problem(draft.stage.where("on"), what, f"add `on: {{{word}: STAGE}}`")


def _unreachable(drafts: Sequence[StageDraft], edges: Edges) -> Iterator[Problem]:
    todo = [next(draft.name for draft in drafts if not draft.stage.is_side)]
    reached = set(todo)
    while todo:
        new = {to for to in edges[todo.pop()].values() if to in edges} - reached
        reached |= new
        todo += new
    for draft in drafts:
        if draft.name not in reached:
            what = f"no verdict of any stage leads to {draft.name}"
            hint = f"lead to it from another stage with `on: {{fail: {draft.name}}}`"
            yield Problem(draft.stage.where("on"), what, hint)


def _circles(drafts: Sequence[StageDraft], edges: Edges) -> Iterator[Problem]:
    """Yield the cycles that no counter bounds.

    Passes are not counted, so they must lead to an end. Every other cycle is bounded by the
    attempts of its stages, but without an agent in it each repetition has the same result. A stage
    that repeats itself after `fail` is allowed.
    """
    passes = {name: {ways[V.PASS]} for name, ways in edges.items()}
    unchanging = {
        draft.name: {
            to for word, to in edges[draft.name].items() if (to, word) != (draft.name, V.FAIL)
        }
        for draft in drafts
        if not draft.is_agent
    }
    for arrows, why, hint in (
        (passes, "passes never reach an end", "let `pass` lead to a later stage"),
        (unchanging, "no agent is part of it", "lead back to a stage that changes files"),
    ):
        if cycle := _cycle(arrows):
            stages = {draft.name: draft.stage for draft in drafts}
            closing = [name for name, to in pairwise(cycle) if to in stages[name].on.values()]
            where = stages[(closing or cycle)[0]].where("on")
            yield Problem(where, f"nothing bounds the cycle {' -> '.join(cycle)}: {why}", hint)


def _cycle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Return the stages of a cycle in order, with the first repeated at the end; empty if none."""
    predecessors = {name: [other for other in arrows if name in arrows[other]] for name in arrows}
    try:
        TopologicalSorter(predecessors).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []
