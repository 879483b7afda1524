"""Who waits while a check is red on the target, and what is the machine's fault."""

from __future__ import annotations

import pytest

from gitmill.core.ids import Kind
from gitmill.core.item import RedTarget
from gitmill.core.item_reader import read_item
from gitmill.core.pipeline import eligible
from gitmill.core.red_target import SET_UP, OnTarget, needed, read_on_target, red_checks
from tests.support.items import deliver, document

TIP, OLD = "a" * 40, "b" * 40
PLAN = deliver("[checks]\nlint = 'true'\ntest = 'true'\n")


def task(**fields):
    return read_item(document("\nText.\n", **{"status": "ready", **fields}))


WAITS = task(stage="checks", red_target={"check": "test", "commit": TIP})


def test_an_item_is_not_eligible_before_the_target_moves_unless_it_is_asked_for():
    items = {WAITS.id: WAITS}
    assert eligible(items, kinds=[Kind.TASK], tip=TIP) == []
    assert eligible(items, [WAITS.id], kinds=[Kind.TASK], tip=TIP) == []
    assert eligible(items, kinds=[Kind.TASK], tip=TIP, asked=[WAITS.id]) == [WAITS]
    assert eligible(items, kinds=[Kind.TASK], tip=OLD) == [WAITS]


def test_the_items_know_which_checks_are_red_on_a_tip():
    assert red_checks([WAITS, task()], TIP) == {"test": WAITS.id}
    assert red_checks([WAITS], OLD) == {}


@pytest.mark.parametrize(
    ("fields", "red", "waits"),
    [
        ({}, ["test"], "test"),
        ({"stage": "build"}, ["other", "lint"], "lint"),
        ({}, ["other"], ""),
        ({"fixes_check": "test"}, ["test"], ""),
        ({"fixes_check": "test"}, ["test", "lint"], "lint"),
        ({"stage": "review"}, ["test"], ""),
        ({"stage": "checks"}, ["test"], ""),
    ],
)
def test_a_build_waits_for_a_red_check_that_it_needs(fields, red, waits):
    assert needed(PLAN, task(**fields), red) == waits


@pytest.mark.parametrize(
    ("check", "with_work", "without", "same"),
    [
        ("test", 127, 127, True),
        ("test", 126, 126, True),
        ("test", 127, 126, False),
        ("test", 127, 1, False),
        ("test", 1, 127, False),
        ("test", 1, 1, False),
        (SET_UP, 1, 1, True),
        (SET_UP, 1, 2, False),
    ],
)
def test_only_the_same_failure_to_start_is_the_fault_of_the_machine(
    check, with_work, without, same
):
    found = OnTarget(check, TIP, without)
    assert found.is_same_fault(with_work) is same
    assert found.red_target(with_work) == (None if same else RedTarget(check, TIP))
    assert read_on_target(found.as_json()) == found


@pytest.mark.parametrize("value", ["text", {"check": "test"}, {"check": "t", "commit": "c"}, []])
def test_what_gitmill_did_not_write_is_not_read(value):
    with pytest.raises((TypeError, KeyError)):
        read_on_target(value)
    assert read_on_target(None) is None
