"""The cool-down of an agent after an outage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.cooldown_rules import (
    BELIEVED,
    FIRST,
    LONGEST,
    SIGNED_OUT,
    UNAUTHORISED,
    Cooling,
    clock,
    next_cooling,
    parse,
    render,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def cool(before: Cooling | None = None, **more: Any) -> Cooling:
    told: dict[str, Any] = {
        "agent": "claude", "kind": "rate-limited", "why": "429", "now": NOW,
        "retry_after": None, "jitter": 1.0, "login": "",
    }  # fmt: skip
    return next_cooling(before, **(told | more))


def waits(one: Cooling) -> float:
    return (one.until - one.since).total_seconds()


def test_without_a_reset_time_the_wait_doubles_up_to_a_bound():
    seen, one, now = [], None, NOW
    for _ in range(9):
        one = cool(one, now=now)
        seen.append(waits(one))
        now = one.until
    assert seen == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_a_wait_is_never_above_its_bound_and_never_below_half_of_it(jitter, streak):
    before = Cooling("a", "overloaded", "", NOW - timedelta(hours=1), NOW, streak)
    full = min(LONGEST, FIRST * 2.0 ** min(streak, 10))
    assert full / 2 <= waits(cool(before, jitter=jitter)) <= full


def test_a_reset_time_is_believed_once():
    first = cool(retry_after=2)
    assert waits(first) == 2
    second = cool(first, now=first.until, retry_after=2)
    assert (second.streak, waits(second)) == (2, 60)
    third = cool(second, now=second.until, retry_after=3600)
    assert waits(third) == 3600


def test_a_reset_time_is_neither_nothing_nor_for_ever():
    assert waits(cool(retry_after=-5)) == 1
    assert waits(cool(retry_after=1e12)) == BELIEVED


def test_parallel_attempts_that_meet_one_outage_count_once():
    first = cool()
    other = cool(first, now=NOW + timedelta(seconds=1), jitter=0.0)
    assert other.streak == 1
    assert other.until == first.until


def test_yesterdays_outage_does_not_extend_the_streak():
    first = cool()
    assert cool(first, now=first.until + timedelta(days=2)).streak == 1


def test_signed_out_ends_with_a_new_login_or_after_an_hour():
    one = cool(kind=UNAUTHORISED, login="before", retry_after=1)
    assert waits(one) == SIGNED_OUT
    later = NOW + timedelta(minutes=5)
    assert not one.is_over(later, "before")
    assert one.is_over(later, "after")
    assert one.is_over(one.until, "before")
    assert not cool(login="before").is_over(NOW, "after"), "a limit does not end by signing in"


def test_a_clock_that_was_set_back_does_not_keep_an_agent_cold():
    assert cool().is_over(NOW - timedelta(seconds=1), "")


def test_cool_downs_survive_the_round_trip_and_other_text_gives_none():
    one = cool(why='it said "no" é', login="12345678")
    assert parse(render({"claude": one})) == {"claude": one}
    for text in ("", "{", "[]", '{"agents": 3}', '{"agents": {"a": {"until": "x"}}}'):
        assert parse(text) == {}


def test_a_time_names_its_day_when_it_is_another_one():
    assert clock(NOW + timedelta(hours=1), NOW) == "04:04 UTC"
    assert clock(NOW + timedelta(days=1), NOW) == "2026-01-03 03:04 UTC"
