"""The queue: what lost landings, priority, age, dependencies first; the next one can land now."""

from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.dependencies import unmet
from gitmill.core.lifecycle import Status
from gitmill.core.queue import FIRST, next_to_land, order
from tests.support.items import by_id, item

IDS = [f"t-{letter * 5}" for letter in "abcdef"]


def at(minute):
    return f"2026-01-02T03:{minute:02}:00Z"


def names(items):
    return [one.id for one in items]


def test_priority_comes_before_age_and_only_what_is_queued_is_in_it():
    items = by_id(
        item("t-aaaaa", status="queued", created=at(3)),
        item("t-bbbbb", status="queued", created=at(1)),
        item("t-ccccc", status="queued", created=at(2), priority=0),
        item("t-ddddd", status="approved", created=at(0), priority=0),
        item("t-eeeee", status="landing", created=at(0), priority=0),
    )
    assert names(order(items)) == ["t-ccccc", "t-bbbbb", "t-aaaaa"]
    assert next_to_land(items).id == "t-ccccc"
    assert next_to_land({}) is None


def test_what_lost_three_landings_to_a_moving_target_goes_first():
    items = by_id(
        item("t-aaaaa", status="queued", created=at(3), priority=4, counters={"moved": FIRST}),
        item("t-bbbbb", status="queued", created=at(1), priority=0, counters={"moved": FIRST - 1}),
        item("t-ccccc", status="queued", created=at(2), priority=0, counters={"aborts": 3}),
    )
    assert FIRST == 3
    assert names(order(items)) == ["t-aaaaa", "t-bbbbb", "t-ccccc"]


def test_a_dependency_comes_before_what_lost_three_landings():
    items = by_id(
        item("t-aaaaa", status="queued", priority=4),
        item("t-bbbbb", status="queued", after=["t-aaaaa"], counters={"moved": FIRST}),
    )
    assert names(order(items)) == ["t-aaaaa", "t-bbbbb"]


def test_a_dependency_lands_first_whatever_its_priority():
    items = by_id(
        item("t-aaaaa", status="queued", priority=4),
        item("t-bbbbb", status="queued", priority=0, after=["t-aaaaa"]),
        item("t-ccccc", status="queued", priority=3),
    )
    assert names(order(items)) == ["t-ccccc", "t-aaaaa", "t-bbbbb"]


def test_items_waiting_for_an_item_outside_the_queue_are_last_and_skipped():
    items = by_id(
        item("t-aaaaa", status="running"),
        item("t-bbbbb", status="queued", priority=1, after=["t-aaaaa"]),
        item("t-ccccc", status="queued", priority=0, after=["t-bbbbb"]),
        item("t-ddddd", status="queued", priority=4),
    )
    assert names(order(items)) == ["t-ddddd", "t-bbbbb", "t-ccccc"]
    assert next_to_land(items).id == "t-ddddd"
    del items["t-ddddd"]
    assert next_to_land(items) is None


some = st.builds(
    lambda status, priority, minute, after, moved: {
        "status": status.value, "priority": priority, "created": at(minute), "after": after,
        "counters": {"moved": moved},
    },
    st.sampled_from([Status.QUEUED, Status.QUEUED, Status.LANDED, Status.READY]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.lists(st.sampled_from(IDS), max_size=2),
    st.sampled_from([0, 0, FIRST - 1, FIRST]),
)  # fmt: skip


@given(st.lists(some, max_size=len(IDS)))
def test_the_order_is_one_of_the_queued_and_never_before_a_queued_dependency(fields):
    items = by_id(*(item(name, **told) for name, told in zip(IDS, fields, strict=False)))
    line = order(items)
    queued = {one.id for one in items.values() if one.status is Status.QUEUED}
    assert sorted(names(line)) == sorted(queued)
    place = {one.id: number for number, one in enumerate(line)}
    circular = circles(items, queued)
    for one in line:
        for other in set(one.after) & queued - circular:
            assert place[other] < place[one.id]
    first = next_to_land(items)
    free = [one for one in line if not unmet(items, one)]
    assert first == (free[0] if free else None)
    assert all(place_of(first) <= place_of(other) for other in free)
    assert order(dict(reversed(items.items()))) == line


def place_of(one):
    return (one.count("moved") < FIRST, one.priority, one.created, one.id)


def circles(items, queued):
    """Return the queued items that wait, over queued items, for one that waits for itself."""
    left = set(queued)
    while free := {name for name in left if not set(items[name].after) & left}:
        left -= free
    return left
