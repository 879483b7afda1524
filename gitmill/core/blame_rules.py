"""What an error costs the attempt or the landing that it ends: decided here and nowhere else.

| blame         | the item                          | the run               |
|---------------|-----------------------------------|-----------------------|
| item, agent   | loses an attempt, or an abort     | continues             |
| environment   | loses nothing, its lease ends     | stops with the error  |
| user          | the same                          | the same              |
| race          | the same                          | tries the item again  |

A target that moved during a landing is a race that never stops a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gitmill.errors import Blame, GitmillError, TargetMovedError

# Lost races of one item after which a run stops: more in a row are hardly accidents.
RACES = 3
# Landings of one item lost to a moving target after which a run tries the next item instead.
MOVES = 10


def blame_of(error: BaseException) -> Blame:
    """Return whose fault an error is.

    One that is not gitmill's comes from the machine, or from a bug, which no item should pay for.
    """
    return error.blame if isinstance(error, GitmillError) else Blame.ENVIRONMENT


def counts(error: BaseException) -> bool:
    """Whether an error costs its item an attempt or an abort."""
    return blame_of(error) in (Blame.ITEM, Blame.AGENT)


def is_refusal(error: BaseException) -> bool:
    """Whether an error is the answer to a request; else the machine failed to give one."""
    return blame_of(error) is not Blame.ENVIRONMENT


@dataclass
class Races:
    """The races that each item has lost in one run."""

    _lost: Counter[str] = field(default_factory=Counter)
    _moved: Counter[str] = field(default_factory=Counter)

    @property
    def outrun(self) -> list[str]:
        """The items whose landings the target outruns; the run is through with them."""
        return [item_id for item_id, lost in self._moved.items() if lost >= MOVES]

    def may_retry(self, item_id: str, error: BaseException) -> bool:
        """Note an error; return whether the run may go on and try the item again."""
        if isinstance(error, TargetMovedError):
            self._moved[item_id] += 1
            return True
        if blame_of(error) is not Blame.RACE:
            return False
        self._lost[item_id] += 1
        return self._lost[item_id] < RACES
