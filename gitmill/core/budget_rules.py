"""Budgets: the tokens, money, attempts and time that work may cost, and has cost.

An agent that does not say what it cost has not cost nothing: such attempts are counted, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gitmill.config.values import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A budget; None is no bound. `cost` in US dollars, `seconds` of wall time."""

    tokens: int | None = None
    cost: float | None = None
    attempts: int | None = None
    seconds: float | None = None

    def __bool__(self) -> bool:
        return (self.tokens, self.cost, self.attempts, self.seconds) != (None,) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What attempts cost; the money of `unpriced`, the tokens of `untold` ones are not known."""

    tokens: int = 0
    cost: float = 0.0
    attempts: int = 0
    seconds: float = 0.0
    unpriced: int = 0
    untold: int = 0

    def __add__(self, other: Self) -> Spent:
        return Spent(
            tokens=self.tokens + other.tokens,
            cost=round(self.cost + other.cost, 9),
            attempts=self.attempts + other.attempts,
            # As run logs have them, so that the order of adding up makes no difference.
            seconds=round(self.seconds + other.seconds, 2),
            unpriced=self.unpriced + other.unpriced,
            untold=self.untold + other.untold,
        )


NOTHING = Spent()


def spent_in(value: Mapping[str, Any]) -> Spent:
    """Return what one attempt spent, from the run log's `agent`, `usage`, `cost`, `seconds`.

    Nothing for a decision of a person.
    """
    if not value.get("agent"):
        return NOTHING
    cost = _number(value.get("cost"))
    tokens = tokens_of(value.get("usage"))
    return Spent(
        tokens=tokens or 0,
        cost=cost or 0.0,
        attempts=1,
        seconds=_number(value.get("seconds")) or 0.0,
        unpriced=int(cost is None),
        untold=int(tokens is None),
    )


def tokens_of(usage: object) -> int | None:
    """Return the tokens of a `usage`, input plus output; None if it has neither."""
    known = usage if isinstance(usage, Mapping) else {}
    counts = [_number(known.get(key)) for key in ("input", "output")]
    told = [int(count) for count in counts if count is not None]
    return sum(told) if told else None


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return value if good and isinstance(value, int | float) else None


def budget_exhausted(spent: Spent, bounds: Bounds) -> str:
    """Return the bound of a budget that is used up, so that no attempt may start; else empty."""
    return _told(spent, bounds, lambda used, bound: used >= bound)


def exceeded(spent: Spent, bounds: Bounds) -> str:
    """Return the bound of a budget that the running attempt exceeds; empty if none."""
    return _told(spent, bounds, lambda used, bound: used > bound)


def _told(spent: Spent, bounds: Bounds, over: Any) -> str:
    return "; ".join(text for used, bound, text in _parts(spent, bounds) if over(used, bound))


def against(spent: Spent, bounds: Bounds) -> str:
    """Return what of a budget has been spent, for people."""
    return ", ".join(text for _, _, text in _parts(spent, bounds))


def _parts(spent: Spent, bounds: Bounds) -> list[tuple[float, float, str]]:
    parts: list[tuple[float, float, str]] = []
    if bounds.tokens is not None:
        more = _unknown(spent.untold)
        text = f"{spent.tokens:,} of {bounds.tokens:,} tokens{more}"
        parts.append((spent.tokens, bounds.tokens, text))
    if bounds.cost is not None:
        text = f"${spent.cost:.2f} of ${bounds.cost:.2f}{_unknown(spent.unpriced)}"
        parts.append((round(spent.cost, 6), bounds.cost, text))
    if bounds.attempts is not None:
        text = f"{spent.attempts} of {bounds.attempts} attempts"
        parts.append((spent.attempts, bounds.attempts, text))
    if bounds.seconds is not None:
        used = format_duration(int(spent.seconds)) or "0s"
        text = f"{used} of {format_duration(int(bounds.seconds))}"
        parts.append((spent.seconds, bounds.seconds, text))
    return parts


def _unknown(count: int) -> str:
    return f" and {count} attempt{'s' if count > 1 else ''} of unknown cost" if count else ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The budget of one attempt: its own, and the rest of its item's and of the day's.

    `parts` has the name, the bounds and what had been spent before for each of them.
    """

    parts: tuple[tuple[str, Bounds, Spent], ...] = ()

    def over(self, *, tokens: int | None, cost: float | None) -> str:
        """Return why an attempt that has cost so much has to stop; empty when it need not."""
        here = Spent(tokens=tokens or 0, cost=cost or 0.0)
        for name, bounds, before in self.parts:
            if why := exceeded(before + here, Bounds(tokens=bounds.tokens, cost=bounds.cost)):
                return f"the budget of the {name}: {why}"
        return ""

    @property
    def seconds(self) -> float | None:
        """How long the attempt may take, at least a second; None without a bound."""
        left = [
            bounds.seconds - before.seconds
            for _, bounds, before in self.parts
            if bounds.seconds is not None
        ]
        return max(1.0, min(left)) if left else None
