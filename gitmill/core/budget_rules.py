"""Budgets: the tokens, money, attempts and time that work may cost, and has cost.

An agent that reports no cost is not free of charge: such attempts are counted and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gitmill.config.values import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A budget: None is no bound, `cost` is in US dollars, `seconds` are wall time."""

    tokens: int | None = None
    cost: float | None = None
    attempts: int | None = None
    seconds: float | None = None

    def __bool__(self) -> bool:
        return (self.tokens, self.cost, self.attempts, self.seconds) != (None,) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The cost of attempts: `unpriced` ones reported no money, `untold` ones no tokens."""

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
            # Rounded as in run logs, so that the order of addition makes no difference.
            seconds=round(self.seconds + other.seconds, 2),
            unpriced=self.unpriced + other.unpriced,
            untold=self.untold + other.untold,
        )


NOTHING = Spent()


def spent_in(value: Mapping[str, Any]) -> Spent:
    """Return the cost of one attempt, from the run log's `agent`, `usage`, `cost`, `seconds`.

    A person's decision costs nothing.
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
    reported = [int(count) for count in counts if count is not None]
    return sum(reported) if reported else None


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return value if good and isinstance(value, int | float) else None


def budget_exhausted(spent: Spent, bounds: Bounds) -> str:
    """Return the used-up bounds of a budget, which let no attempt start; empty if none."""
    return _bounds_met(spent, bounds, lambda used, bound: used >= bound)


def exceeded(spent: Spent, bounds: Bounds) -> str:
    """Return the bounds of a budget that the running attempt exceeds; empty if none."""
    return _bounds_met(spent, bounds, lambda used, bound: used > bound)


def _bounds_met(spent: Spent, bounds: Bounds, is_met: Any) -> str:
    return "; ".join(text for used, bound, text in _parts(spent, bounds) if is_met(used, bound))


def format_spent(spent: Spent, bounds: Bounds) -> str:
    """Return the spent part of each bound of a budget, for people."""
    return ", ".join(text for _, _, text in _parts(spent, bounds))


def _parts(spent: Spent, bounds: Bounds) -> list[tuple[float, float, str]]:
    parts: list[tuple[float, float, str]] = []
    if bounds.tokens is not None:
        text = f"{spent.tokens:,} of {bounds.tokens:,} tokens{_unknown(spent.untold)}"
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

    `parts` has the name, the bounds and the earlier spending of each of them.
    """

    parts: tuple[tuple[str, Bounds, Spent], ...] = ()

    def reason_to_stop(self, *, tokens: int | None, cost: float | None) -> str:
        """Return why an attempt with this cost must stop; empty if it can continue."""
        own = Spent(tokens=tokens or 0, cost=cost or 0.0)
        for name, bounds, before in self.parts:
            if why := exceeded(before + own, Bounds(tokens=bounds.tokens, cost=bounds.cost)):
                return f"the budget of the {name}: {why}"
        return ""

    @property
    def seconds(self) -> float | None:
        """The time limit of the attempt, at least a second; None without a bound."""
        remaining = [
            bounds.seconds - before.seconds
            for _, bounds, before in self.parts
            if bounds.seconds is not None
        ]
        return max(1.0, min(remaining)) if remaining else None
