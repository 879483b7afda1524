"""The texts of `explain`: errors by their docstrings, rules of fsck, variables of prompts."""

from __future__ import annotations

import inspect

from gitmill import errors
from gitmill.core.audit.event import RULES


def _errors() -> dict[str, type[errors.GitmillError]]:
    found: dict[str, type[errors.GitmillError]] = {}
    open_ = [errors.GitmillError]
    while open_:
        kind = open_.pop()
        found[kind.slug] = kind
        open_ += kind.__subclasses__()
    return dict(sorted(found.items()))


def all_words() -> dict[str, str]:
    """Return every term with its first sentence."""
    told = {slug: (inspect.getdoc(kind) or "").split("\n")[0] for slug, kind in _errors().items()}
    return told | {
        "fsck": "The rules of `gitmill fsck`.",
        "prompt": "The variables that the prompt of a stage may use.",
    }


def is_known(word: str) -> bool:
    """Whether a term can be explained; the list has all rules of fsck as one term."""
    return word in RULES or word in all_words()


def lines_of(word: str) -> list[str]:
    """Return the explanation of a known term."""
    if word == "prompt":
        from gitmill.core.plans.prompt import VARIABLES

        return [f"{name:<22} {meaning}" for name, meaning in VARIABLES.items()]
    if word == "fsck" or word in RULES:
        rows = RULES if word == "fsck" else {word: RULES[word]}
        head = "The rules of `gitmill fsck`:"
        return [head, *(f"{rule:<22} {meaning}" for rule, meaning in rows.items())]
    kind = _errors()[word]
    code = f"Exit code {int(kind.code)}."
    return [*(inspect.getdoc(kind) or "").splitlines(), code]
