"""Budgets: counts, exceeded bounds and remainders; an unknown cost is reported, never 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.budget_rules import (
    NOTHING,
    Allowance,
    Bounds,
    Spent,
    budget_exhausted,
    exceeded,
    format_spent,
    spent_in,
)

LOG = {"agent": "claude", "usage": {"input": 100, "output": 20, "cached": 50}, "cost": 0.5}


def test_the_cost_is_read_from_a_run_log():
    assert spent_in(LOG | {"seconds": 3.5}) == Spent(tokens=120, cost=0.5, attempts=1, seconds=3.5)
    assert spent_in({"agent": "", "seconds": 9}) == NOTHING, "a person's decision costs nothing"


@pytest.mark.parametrize("cost", [None, "1.0", True, -1, float("nan"), float("inf")])
def test_an_invalid_cost_is_unknown_and_not_0(cost):
    spent = spent_in(LOG | {"cost": cost})
    assert (spent.cost, spent.unpriced, spent.untold) == (0, 1, 0)
    bounds = Bounds(cost=5.0, tokens=1000)
    assert format_spent(spent, bounds) == (
        "120 of 1,000 tokens, $0.00 of $5.00 and 1 attempt of unknown cost"
    )


@pytest.mark.parametrize("usage", [None, {}, [], "many", {"input": None}, {"cached": 5}])
def test_a_usage_without_counts_is_unknown(usage):
    assert spent_in(LOG | {"usage": usage}).untold == 1


def test_no_attempt_starts_at_a_bound_or_continues_beyond_it():
    spent = Spent(tokens=10, cost=1.0, attempts=2, seconds=60)
    for bounds, told in (
        (Bounds(tokens=10), "10 of 10 tokens"), (Bounds(cost=1.0), "$1.00 of $1.00"),
        (Bounds(attempts=2), "2 of 2 attempts"), (Bounds(seconds=60), "1m of 1m"),
    ):  # fmt: skip
        assert budget_exhausted(spent, bounds) == told
        assert exceeded(spent, bounds) == ""
    more = Bounds(tokens=11, cost=1.01, attempts=3, seconds=61)
    assert budget_exhausted(spent, more) == ""
    assert exceeded(spent + Spent(tokens=2), more) == "12 of 11 tokens"
    assert not Bounds()
    assert budget_exhausted(spent, Bounds()) == format_spent(spent, Bounds()) == ""


def test_cents_add_up():
    spent = sum((Spent(cost=0.1) for _ in range(10)), NOTHING)
    assert budget_exhausted(spent, Bounds(cost=1.0)), (
        "ten times 0.1 is 1 dollar, whatever floats say"
    )


def test_an_allowance_names_the_budget_that_is_exceeded():
    allowed = Allowance((
        ("attempt", Bounds(tokens=100), NOTHING),
        ("item", Bounds(cost=2.0), Spent(cost=1.5, unpriced=1)),
        ("day", Bounds(seconds=100, attempts=1), Spent(seconds=70)),
    ))  # fmt: skip
    assert allowed.reason_to_stop(tokens=100, cost=0.5) == ""
    assert (
        allowed.reason_to_stop(tokens=101, cost=None)
        == "the budget of the attempt: 101 of 100 tokens"
    )
    assert allowed.reason_to_stop(tokens=None, cost=0.6) == (
        "the budget of the item: $2.10 of $2.00 and 1 attempt of unknown cost"
    )
    assert allowed.seconds == 30
    assert Allowance().seconds is None
    assert Allowance((("day", Bounds(seconds=5), Spent(seconds=9)),)).seconds == 1


@given(st.lists(st.integers(0, 10**9), max_size=20), st.integers(1, 10**9))
def test_a_budget_of_tokens_is_never_overlooked(counts, bound):
    spent = NOTHING
    for count in counts:
        spent += spent_in({"agent": "a", "usage": {"input": count, "output": 0}})
    assert bool(budget_exhausted(spent, Bounds(tokens=bound))) == (sum(counts) >= bound)
