"""The edges of a loop: where each verdict leads, and that every way goes on and ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from gitmill.config.problems import nearest
from gitmill.config.values import Permission
from gitmill.core.frozen import APPROVED, BLOCKED, ENDS, WAITING, StageType
from gitmill.core.loop import Stage
from gitmill.core.verdict import VerdictWord

V = VerdictWord
Edges = Mapping[str, Mapping[VerdictWord, str]]
_SAYS = {
    StageType.SANITY: (V.PASS, V.RETURN, V.ASK, V.FAIL),
    StageType.CHECKS: (V.PASS, V.RETURN, V.FAIL),
    StageType.PERSON: (V.PASS, V.RETURN),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a loop does not compile."""

    where: str
    what: str
    hint: str = ""


@dataclass(frozen=True)
class Draft:
    """A stage with the permission and the agent that mode and policy give it."""

    stage: Stage
    permission: Permission
    agent: str = ""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def is_agent(self) -> bool:
        """Whether an agent carries it out."""
        return self.stage.type is StageType.AGENT

    @property
    def is_authoring(self) -> bool:
        """Whether it is an agent that changes files."""
        return self.is_agent and self.permission is not Permission.READ_ONLY

    @property
    def says(self) -> tuple[VerdictWord, ...]:
        """The verdicts that it can give; an author sends work back only where its stage says so."""
        if self.is_authoring:
            return tuple(word for word in V if word is not V.RETURN or word in self.stage.on)
        return _SAYS.get(self.stage.type, tuple(V))


def resolve_edges(drafts: Sequence[Draft]) -> tuple[Edges, list[Problem]]:
    """Return where each verdict of each stage leads, and all that is wrong with that."""
    problems = [problem for draft in drafts for problem in _declared(draft, drafts)]
    edges: dict[str, dict[VerdictWord, str]] = {}
    for draft in drafts:
        edges[draft.name] = {}
        for word in draft.says:
            to = draft.stage.on.get(word) or _default(word, draft, drafts)
            if to is None:
                problems.append(_no_way(word, draft))
            else:
                edges[draft.name][word] = to
    if not problems:  # a graph with wrong edges would be blamed for them again
        problems += [*_unreachable(drafts, edges), *_endless(drafts, edges)]
    return edges, problems


def _declared(draft: Draft, drafts: Sequence[Draft]) -> Iterator[Problem]:
    stages = [other.name for other in drafts]
    for word, to in draft.stage.on.items():
        where = draft.stage.where("on", word)
        if word not in list(V):
            known, close = ", ".join(V), nearest(word, list(V))
            hint = f"did you mean `{close}`?" if close else f"the verdicts are {known}"
            yield Problem(where, f"there is no verdict {word}", hint)
        elif word not in draft.says:
            hint = f"it can say {', '.join(draft.says)}"
            yield Problem(where, f"a stage of type {draft.stage.type} never says {word}", hint)
        elif to not in stages and (to not in ENDS or to == APPROVED or word == V.PASS):
            close = nearest(to, stages)
            ends = "" if word == V.PASS else f"; {word} may also lead to {BLOCKED} or {WAITING}"
            hint = f"did you mean `{close}`?" if close else f"the stages are {', '.join(stages)}"
            what = f"{word} leads to {to}, which is not a stage of this loop"
            yield Problem(where, what, hint + ends)


def _default(word: VerdictWord, draft: Draft, drafts: Sequence[Draft]) -> str | None:
    at = list(drafts).index(draft)
    if word is V.PASS and not draft.stage.is_side:
        later = [other.name for other in drafts[at + 1 :] if not other.stage.is_side]
        return next(iter(later), APPROVED)
    if word is V.RETURN and not draft.stage.is_side:
        return next((other.name for other in reversed(drafts[:at]) if other.is_authoring), None)
    return {V.ASK: WAITING, V.FAIL: draft.name, V.IMPOSSIBLE: BLOCKED}.get(word)


def _no_way(word: VerdictWord, draft: Draft) -> Problem:
    why = "no earlier stage writes anything"
    if draft.stage.is_side:
        why = "a side stage has to say where it leads"
    what = f"the verdict {word} of {draft.name} has no way on: {why}"
    return Problem(draft.stage.where("on"), what, f"add `on: {{{word}: STAGE}}`")


def _unreachable(drafts: Sequence[Draft], edges: Edges) -> Iterator[Problem]:
    forward = {name: set(ways.values()) for name, ways in edges.items()}
    first = next(draft.name for draft in drafts if not draft.stage.is_side)
    reached = _closure(first, forward)
    leading = _closure(APPROVED, _reversed(forward))
    for draft in drafts:
        where = draft.stage.where("on")
        if draft.name not in reached:
            hint = f"lead to it from another stage with `on: {{fail: {draft.name}}}`"
            yield Problem(where, f"no verdict of any stage leads to {draft.name}", hint)
        elif draft.name not in leading:
            hint = "let `pass` lead on to a later stage"
            yield Problem(where, f"no way leads from {draft.name} to the end of the loop", hint)


def _reversed(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    ends = set(arrows).union(*arrows.values())
    return {end: {start for start in arrows if end in arrows[start]} for end in ends}


def _closure(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    reached, todo = {start}, [start]
    while todo:
        new = arrows.get(todo.pop(), set()) - reached
        reached |= new
        todo += new
    return reached


def _endless(drafts: Sequence[Draft], edges: Edges) -> Iterator[Problem]:
    """Find a cycle that no agent is part of: no tries bound it, and nothing changes in it.

    A stage's own repetition after `fail` is left out: its tries bound that one.
    """
    still = [draft.name for draft in drafts if not draft.is_agent]
    forward = {
        name: {
            to for word, to in edges[name].items() if to in still and (to, word) != (name, V.FAIL)
        }
        for name in still
    }
    arriving = _reversed(forward)
    try:
        TopologicalSorter({name: sorted(arriving[name]) for name in still}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        stage = next(draft.stage for draft in drafts if draft.name == cycle[0])
        what = f"nothing bounds the cycle {' -> '.join(cycle)}: no agent is part of it"
        yield Problem(stage.where("on"), what, "lead back to a stage that changes something")
