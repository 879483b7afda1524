"""Caches forget: what is rarely used, and what has aged; many threads can use one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitmill.attempts import agent_selection
from gitmill.caches import BoundedCache, Expiring
from gitmill.core.lifecycle import Event
from gitmill.core.plans.plan import PlannedAgent
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from tests.support.cli import begun
from tests.support.repos import Sandbox
from tests.support.steps import step
from tests.support.threads import together


@given(
    limit=st.integers(2, 20),
    keys=st.lists(st.integers(0, 30), max_size=200),
    room=st.integers(0, 9),
)
def test_a_bounded_cache_never_lies_and_never_holds_more_than_its_limit(limit, keys, room):
    cache: BoundedCache[int, str] = BoundedCache(limit)
    for key in keys:
        assert cache.get(key) in (None, str(key))
        cache.put(key, str(key))
        assert cache.get(key) == str(key)
        assert len(cache) <= limit
    cache.make_room(room)
    assert all(cache.get(key) in (None, str(key)) for key in keys)
    assert len(cache) <= max(limit, room)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_values_that_are_used_again_and_again_stay_where_there_is_room_for_them(count: int):
    cache: BoundedCache[int, int] = BoundedCache(2)
    cache.make_room(2 * count)
    for turn in range(5):
        missing = [n for n in range(count) if cache.get(n) is None]
        assert missing == ([] if turn else list(range(count)))
        for n in missing:
            cache.put(n, n)


def test_threads_that_share_a_cache_get_right_values():
    cache: BoundedCache[int, str] = BoundedCache(16)
    expiring, wrong = Expiring(str, 0.001), []

    def work(number: int) -> None:
        for turn in range(2000):
            key = (number * 7 + turn) % 97
            if cache.get(key) not in (None, str(key)) or expiring(key) != str(key):
                wrong.append(key)
            cache.put(key, str(key))

    together(8, work)
    assert wrong == []
    assert len(cache) <= 16


def test_an_answer_is_kept_for_its_time_and_asked_for_again_afterwards():
    asked = []

    def ask(name: str, more: int = 0) -> int:
        asked.append((name, more))
        return len(asked)

    kept = Expiring(ask, 0.2)
    assert (kept("a"), kept("a"), kept("b"), kept("a", more=1)) == (1, 1, 2, 3)
    time.sleep(0.25)
    assert kept("a") == 4
    kept.forget()
    assert kept("a") == 5
    for n in range(1000):
        kept(str(n))
    assert kept("a") == 1006  # no more answers are kept than there are programs


def test_an_error_is_no_answer():
    asked = []

    def ask() -> int:
        asked.append(1)
        if len(asked) == 1:
            raise OSError
        return 7

    kept = Expiring(ask, 60.0)
    with pytest.raises(OSError):  # noqa: PT011
        kept()
    assert kept() == 7


def test_the_items_of_old_states_are_dropped(sandbox: Sandbox):
    mill = Mill.open(begun(sandbox).path)
    item = new_task(mill, NewTask(title="T")).id
    mill.store._cache = BoundedCache(2)
    for number in range(12):
        mill.apply(item, step(Event.EDITED, subject=f"edit {number}", by=mill.person))
        assert mill.snapshot().items.keys() == {item}
    assert len(mill.store._cache) <= 4


def test_a_user_who_signs_in_during_a_run_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: Path
):
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\necho 2.1.329\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    agent = PlannedAgent("claude")
    assert agent_selection._probe(agent).signed_in is False
    (sealed / ".claude").mkdir()
    (sealed / ".claude/.credentials.json").write_text("{}")
    assert agent_selection._probe(agent).signed_in is True
