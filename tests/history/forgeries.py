"""The forged histories: each a function that changes a history and returns the commit to blame."""

from __future__ import annotations

from collections.abc import Callable

from tests.history.conftest import History
from tests.support.forge import Forgery, Written

Forge = Callable[[Forgery, History], Written]
CASES: dict[str, tuple[Forge, tuple[str, ...], str]] = {}


def forged(*rules: str, before: str = "") -> Callable[[Forge], Forge]:
    """Register a forgery with the rules that it breaks in its commit, and in one before that."""

    def register(forge: Forge) -> Forge:
        CASES[forge.__name__] = forge, rules, before
        return forge

    return register
