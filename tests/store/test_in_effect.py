"""The events still in effect after some were undone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitmill.core.trailers import EventRecord
from gitmill.store.history import UNDOES, Entry, in_effect


def entry(name: str, undoes: str = "") -> Entry:
    extra = {UNDOES: undoes} if undoes else {}
    return Entry(name, 0, "Ada", name, EventRecord(event="edited", id=name, extra=extra))


def counted(history: list[Entry]) -> list[str]:
    return [entry.commit for entry in in_effect(reversed(history))][::-1]


def test_an_undone_event_and_its_undoing_are_not_in_effect():
    history = [entry("a"), entry("b"), entry("u", "b")]
    assert counted(history) == ["a"]
    assert counted([*history, entry("v", "a")]) == []
    assert counted([*history, entry("c")]) == ["a", "c"]
    assert counted([entry("a"), entry("b"), entry("c"), entry("u", "b c")]) == ["a"]


def test_a_commit_by_hand_is_no_event():
    assert counted([entry("a"), Entry("h", 0, "Bo", "by hand", None), entry("b")]) == ["a", "b"]


@given(st.lists(st.integers(0, 3)))
def test_it_is_a_stack(moves: list[int]):
    """Zero undoes the last that counts, if there is one; anything else is a new event."""
    history: list[Entry] = []
    stack: list[str] = []
    for number, move in enumerate(moves):
        if move == 0 and stack:
            history.append(entry(f"u{number}", stack.pop()))
        else:
            history.append(entry(f"e{number}"))
            stack.append(f"e{number}")
    assert counted(history) == stack
