"""Dependencies: met, unmet and never met ones, and the refusal of cycles."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.dependencies import check_after, never_met, unmet
from gitmill.core.lifecycle import Status
from gitmill.errors import BadDependencyError
from tests.support.hints import shown
from tests.support.items import by_id, item

IDS = [f"t-{letter * 5}" for letter in "abcdefgh"]


def error_lines(*args):
    with pytest.raises(BadDependencyError) as refused:
        check_after(*args)
    error = refused.value
    return [error.message, *error.evidence, *(f"hint: {hint}" for hint in shown(error.hints))]


@pytest.mark.parametrize("status", Status)
def test_a_dependency_is_met_by_landed_or_done(status):
    a, b = item("t-aaaaa", status=status.value), item("t-bbbbb", after=["t-aaaaa"])
    items = by_id(a, b)
    met = status in (Status.LANDED, Status.DONE)
    assert list(unmet(items, b)) == ([] if met else ["t-aaaaa"])
    assert list(never_met(items, b)) == (["t-aaaaa"] if status is Status.CANCELLED else [])


def test_an_unknown_dependency_is_unmet_but_not_hopeless():
    alone = item("t-bbbbb", after=["t-aaaaa"])
    assert list(unmet(by_id(alone), alone)) == ["t-aaaaa"]
    assert list(never_met(by_id(alone), alone)) == []


def test_a_dependency_has_to_exist():
    assert error_lines(by_id(item("t-aaaaa")), "t-bbbbb", ["t-aaaaa", "t-ccccc"]) == [
        "t-bbbbb cannot come after t-ccccc: there is no such item",
        "hint: see all with `gitmill task list`",
    ]


def test_a_circle_is_shown():
    items = by_id(
        item("t-aaaaa"),
        item("t-bbbbb", after=["t-aaaaa"]),
        item("t-ccccc", after=["t-bbbbb"]),
    )
    check_after(items, "t-ccccc", ["t-bbbbb", "t-aaaaa"])
    assert error_lines(items, "t-aaaaa", ["t-ccccc"]) == [
        "t-aaaaa cannot come after t-ccccc: they would wait for each other",
        "t-aaaaa after t-ccccc after t-bbbbb after t-aaaaa",
        "hint: see `gitmill task show t-ccccc`",
    ]
    assert error_lines(items, "t-aaaaa", ["t-aaaaa"])[1] == "t-aaaaa after t-aaaaa"


edges = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=20)


@given(edges)
def test_accepted_dependencies_always_leave_some_order(wanted):
    after = {name: [] for name in IDS}
    for one, other in wanted:
        items = by_id(*(item(name, after=before) for name, before in after.items()))
        try:
            check_after(items, one, [*after[one], other])
        except BadDependencyError:
            # rightly so: `one` is among what `other` waits for
            seen, new = set(), {other}
            while new:
                seen |= new
                new = {b for name in seen for b in after[name]} - seen
            assert one in seen
            continue
        after[one].append(other)
    status = dict.fromkeys(IDS, "ready")
    for _ in IDS:
        items = by_id(*(item(name, after=after[name], status=status[name]) for name in IDS))
        for name in IDS:
            if not unmet(items, items[name]):
                status[name] = "done"
    assert set(status.values()) == {"done"}


@given(edges)
def test_a_circle_that_came_in_by_hand_ends_the_search(wanted):
    after = {name: [b for a, b in wanted if a == name] for name in IDS}
    items = by_id(*(item(name, after=before) for name, before in after.items()))
    for one, other in wanted[:3]:
        try:
            check_after(items, one, [other])
        except BadDependencyError as error:
            chain = error.evidence[0].split(" after ")
            assert chain[0] == chain[-1] == one
            assert all(b in after[a] for a, b in pairwise(chain[1:]))
