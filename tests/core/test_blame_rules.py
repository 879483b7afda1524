"""What an error costs, for every class of errors."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.blame_rules import MOVES, RACES, Races, blame_of, counts, is_refusal
from gitmill.errors import Blame, Exit, GitFailedError, GitmillError, LeasedError, TargetMovedError
from tests.support.faults import classes

ERRORS = st.sampled_from([*classes()]).map(lambda kind: kind("it broke"))


def test_a_class_of_errors_without_a_blame_cannot_be_defined():
    with pytest.raises(TypeError, match="blame"):

        class SilentError(GitFailedError):
            pass


def test_every_class_has_a_slug_of_its_own_and_none_takes_the_base():
    slugs = Counter(vars(kind)["slug"] for kind in classes())
    assert set(slugs.values()) == {1}
    assert not hasattr(GitmillError, "blame")


@given(ERRORS)
def test_only_the_item_and_its_agent_cost_an_attempt(error: GitmillError):
    assert counts(error) == (error.blame in (Blame.ITEM, Blame.AGENT))


@given(ERRORS.filter(lambda error: not isinstance(error, TargetMovedError)))
def test_only_a_race_is_tried_again_and_not_for_ever(error: GitmillError):
    races = Races()
    tries = [races.may_retry("t-k3f9x", error) for _ in range(RACES + 1)]
    is_race = error.blame is Blame.RACE
    assert tries == [is_race] * (RACES - 1) + [False, False]
    assert races.may_retry("t-00000", error) == is_race  # each item has its own
    assert races.outrun == []


def test_a_target_that_moves_stops_no_run_and_is_given_up_for_one_item_at_a_time():
    races, error = Races(), TargetMovedError("main moved")
    for _ in range(MOVES):
        assert races.outrun == []
        assert races.may_retry("t-k3f9x", error)
    assert races.may_retry("t-00000", error)
    assert races.outrun == ["t-k3f9x"]
    assert [races.may_retry("t-k3f9x", LeasedError("taken")) for _ in range(3)] == [
        True, True, False,
    ]  # fmt: skip


@given(ERRORS)
def test_busy_means_a_race_or_a_wait(error: GitmillError):
    waits = ("agent-cools", "day-budget", "not-now")
    assert (error.code is Exit.BUSY) == (error.blame is Blame.RACE or error.slug in waits)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("bug")])
def test_what_is_no_error_of_gitmill_costs_no_item_anything(error: Exception):
    assert blame_of(error) is Blame.ENVIRONMENT
    assert not counts(error)


@given(ERRORS)
def test_the_machine_refuses_nobody(error: GitmillError):
    assert is_refusal(error) == (error.blame is not Blame.ENVIRONMENT)
