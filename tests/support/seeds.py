"""How many cases of a sampled matrix are tried: a few fixed ones, N times as many with `--seeds N`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytest

Case = TypeVar("Case")
HELP = (
    "try N times as many seeds, crash points and generated examples as by default, always the same"
    " ones; 10 tries all that there are of most. Together with -m slow it is for a night"
)
_times = 1


def configure(config: pytest.Config) -> None:
    """Take over the option. Test modules ask when they are imported, which is later."""
    global _times  # noqa: PLW0603  (one option of the whole process)
    _times = max(1, int(config.getoption("--seeds")))


def times(count: int) -> int:
    """Return how many to try of what is tried `count` times by default."""
    return count * _times


def sampled(cases: Sequence[Case], count: int) -> list[Case]:
    """Return `count` cases from all over the given ones by default."""
    wanted = min(len(cases), times(count))
    return [cases[number * len(cases) // wanted] for number in range(wanted)]


def rest_slow(cases: Iterable[Any], count: int, *, rows: bool = False) -> list[Any]:
    """Return all cases as parameters: `count` from all over them, the rest marked `slow`.

    `rows`: a case is a row of several parameters.
    """
    cases = list(cases)
    kept = sampled(range(len(cases)), count)
    return [
        pytest.param(*(case if rows else [case]), marks=() if n in kept else pytest.mark.slow)
        for n, case in enumerate(cases)
    ]


def stride(width: int) -> int:
    """Return an odd step that is at most `width`: crash points take turns, before and after."""
    return max(1, width // _times) | 1
