"""Find the stage types: the modules of `attempts/stages/`.

A module there is a type, and its file name is what people write after `type:`; no list has to be
extended. Modules whose names begin with `_` are shared by types.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from gitmill.attempts.state import AttemptState
from gitmill.core.plans.stage_type import StageType, StageTypes
from gitmill.core.verdict import Verdict
from gitmill.errors import CannotCompileError
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill

_PACKAGE = "gitmill.attempts.stages"
_MEMBERS = ("TYPE", "run")


class StageModule(Protocol):
    """The members of a stage type's module."""

    TYPE: StageType

    def run(self, mill: Mill, state: AttemptState) -> Verdict:
        """Run `state.stage` and return its verdict; results for the run log go into `state`.

        A stage that reads the work finds it in `state.base` and `state.work`.
        """
        ...


def names() -> tuple[str, ...]:
    """Return the names of the stage types."""
    modules = (module.name for module in iter_modules(import_module(_PACKAGE).__path__))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def load(name: str) -> StageModule:
    """Return a stage type's module. Raises `CannotCompileError`, also when it lacks a member."""
    if name not in names():
        raise CannotCompileError(
            f"there is no stage type {name}",
            hints=[
                Hint(
                    "a newer gitmill may have it; list the types with", Gitmill("explain", "stage")
                )
            ],
        )
    module = import_module(f"{_PACKAGE}.{name}")
    if missing := [member for member in _MEMBERS if not hasattr(module, member)]:
        raise CannotCompileError(
            f"the stage type {name} does not define {', '.join(missing)}",
            hints=[Hint(f"`StageModule` in {__file__} describes them")],
        )
    return cast("StageModule", module)


def all_types() -> StageTypes:
    """Return the rules of all stage types by name. Raises `CannotCompileError`."""
    return {name: load(name).TYPE for name in names()}


def require(needed: Iterable[str]) -> None:
    """Raise `CannotCompileError` unless all these types exist: a newer gitmill may have more."""
    for name in needed:
        load(name)
