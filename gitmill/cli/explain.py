"""The texts of `explain`: errors by their docstrings, rules of fsck, prompts, stage types."""

from __future__ import annotations

import inspect

from gitmill import errors
from gitmill.core.audit.event import RULES


def _errors() -> dict[str, type[errors.GitmillError]]:
    """Return the classes of errors by slug."""
    by_slug: dict[str, type[errors.GitmillError]] = {}
    pending = errors.GitmillError.__subclasses__()
    while pending:
        kind = pending.pop()
        by_slug[kind.slug] = kind
        pending += kind.__subclasses__()
    return dict(sorted(by_slug.items()))


def all_terms() -> dict[str, str]:
    """Return every term with its first sentence."""
    terms = {slug: (inspect.getdoc(kind) or "").split("\n")[0] for slug, kind in _errors().items()}
    return terms | {
        "fsck": "The rules of `gitmill fsck`.",
        "prompt": "The variables that the prompt of a stage may use.",
        "stage": "The types of stages, and the keys of each.",
    }


def is_known(term: str) -> bool:
    """Whether a term can be explained; `all_terms` lists the rules of fsck as one term."""
    return term in RULES or term in all_terms()


def _stage_types() -> list[str]:
    from gitmill.flows.compile import stage_types

    lines = []
    for each in stage_types():
        lines += [f"{each.name:<10} {each.meaning}", f"{'':<10} keys: {', '.join(each.keys)}"]
    return lines


def lines_of(term: str) -> list[str]:
    """Return the explanation of a known term."""
    if term == "prompt":
        from gitmill.core.plans.prompt import VARIABLES

        return [f"{name:<22} {meaning}" for name, meaning in VARIABLES.items()]
    if term == "stage":
        return _stage_types()
    if term == "fsck" or term in RULES:
        rows = RULES if term == "fsck" else {term: RULES[term]}
        head = "The rules of `gitmill fsck`:"
        return [head, *(f"{rule:<22} {meaning}" for rule, meaning in rows.items())]
    kind = _errors()[term]
    code = f"Exit code {int(kind.code)}; blame: {kind.blame.value}."
    return [*(inspect.getdoc(kind) or "").splitlines(), code]
