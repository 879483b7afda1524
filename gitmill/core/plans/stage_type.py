"""Stage types: what compiling and fsck ask of one.

A type is one module of `attempts/stages/`. This package is below it, so the caller that compiles
a loop or audits a history hands the types down, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitmill.core.plans.plan import FrozenPlan, Performer
from gitmill.core.verdict import VerdictWord

if TYPE_CHECKING:
    from pydantic import BaseModel

    from gitmill.config import Policy
    from gitmill.core.item import Item
    from gitmill.core.runlog import Log

MECHANICAL_TIMEOUT = 10 * 60  # seconds


@dataclass(frozen=True, kw_only=True)
class StageType:
    """The rules of a type; its module has the code that runs its stages.

    `verdicts` are all that a stage can give; a verdict that is missing here gets no edge. `keys`
    are the keys of the front matter that apply to it, besides `type` and `on`; `settings` is a
    model of further keys, which the frozen plan stores for the run. `timeout` returns the default
    in seconds under a policy. `problem` returns why a stage of that name cannot be compiled under
    a policy, and a hint: an empty gate is an error, not a pass. `missing` yields what a run log
    lacks as evidence of a pass. With `drops_work`, no ref keeps work that the stage returns: it may
    hold a secret. With `inspects_work` it has no place in a loop that produces a document. With
    `asks_target` a red check of it is run without the work, too, where it may be red as well.
    """

    performer: Performer
    verdicts: tuple[VerdictWord, ...]
    keys: frozenset[str] = frozenset()
    settings: type[BaseModel] | None = None
    timeout: Callable[[Policy], int] = lambda _: MECHANICAL_TIMEOUT
    problem: Callable[[str, Policy], tuple[str, str] | None] = lambda _name, _policy: None
    missing: Callable[[FrozenPlan, Item, Log], Iterable[str]] = lambda _plan, _item, _run: ()
    drops_work: bool = False
    inspects_work: bool = False
    asks_target: bool = False


StageTypes = Mapping[str, StageType]
