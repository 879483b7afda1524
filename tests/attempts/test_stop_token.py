"""A stop reaches the threads that hold its token, wherever they are, and no others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.attempts.attempt import run_stages
from gitmill.attempts.claim import claim
from gitmill.core.lifecycle import Status
from gitmill.core.pipeline import group
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.workspace.signals import stop_on_signals, workers
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import begun
from tests.support.repos import Sandbox
from tests.support.threads import nothing_left

PATIENCE = 30.0


def wait(ready: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def attempt(mill: Mill, title: str, script: str, stop: StopToken, ended: dict[str, str]) -> None:
    """Make one attempt in a thread; `ended` gets how it ended."""
    item = new_task(mill, NewTask(title=title, script=script, criteria=["$ true"]), ready=True)
    state = claim(mill, item.id)
    try:
        stages = group(state.plan, state.item.stage)
        run_stages(mill, state, stages, lambda _: None, stop)
        ended[title] = "done"
    except KeyboardInterrupt:
        ended[title] = "stopped"


def test_a_stop_ends_the_attempts_of_its_token_and_no_other(sandbox: Sandbox, tmp_path: Path):
    mill = Mill.open(begun(sandbox).path)
    stop, other = StopToken(), StopToken()
    ended: dict[str, str] = {}
    go = tmp_path / "go"
    scripts = {
        "one": (f"touch {tmp_path}/one; sleep 60", stop),
        "two": (f"touch {tmp_path}/two; sleep 60", stop),
        "three": (f"touch {tmp_path}/three; while ! test -e {go}; do sleep 0.05; done", other),
    }
    threads = [
        threading.Thread(target=attempt, args=(mill, name, script, token, ended), daemon=True)
        for name, (script, token) in scripts.items()
    ]
    with nothing_left():
        for thread in threads:
            thread.start()
        wait(lambda: all((tmp_path / name).exists() for name in scripts))
        stop.request()
        for thread in threads[:2]:
            thread.join(PATIENCE)
        assert ended == {"one": "stopped", "two": "stopped"}
        go.touch()
        threads[2].join(PATIENCE)
        assert ended["three"] == "done"
    items = {item.title: item for item in mill.snapshot().items.values()}
    assert {items[name].status for name in ("one", "two")} == {Status.READY}
    assert not any(item.lease for item in items.values())


def test_a_signal_stops_the_main_thread_at_once_and_the_others_too(sandbox: Sandbox):
    mill = Mill.open(begun(sandbox).path)
    stopped = []

    def elsewhere(stop: StopToken) -> None:
        woken = threading.Event()
        try:
            with stop.interruptible(woken.set):
                woken.wait(PATIENCE)
        except KeyboardInterrupt:
            stopped.append("thread")

    old = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), stop_on_signals(mill) as stop:  # noqa: PT012
        thread = threading.Thread(target=elsewhere, args=(stop,), daemon=True)
        thread.start()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with stop.interruptible():
            time.sleep(PATIENCE)
    thread.join(PATIENCE)
    assert stopped == ["thread"]
    assert time.monotonic() - began < PATIENCE / 2
    assert signal.getsignal(signal.SIGTERM) is old
    assert workers(mill) == set()
    assert not list((mill.repository.private / "working").glob("*"))


def test_a_signal_waits_for_the_end_of_what_must_not_be_interrupted(sandbox: Sandbox):
    mill = Mill.open(begun(sandbox).path)
    done = []
    with pytest.raises(KeyboardInterrupt), stop_on_signals(mill) as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("first")
        with pytest.raises(KeyboardInterrupt):
            stop.raise_if_requested()
        with pytest.raises(KeyboardInterrupt), stop.interruptible():
            done.append("never")
        done.append("second")
    assert done == ["first", "second"]


def test_a_new_flow_is_not_stopped_by_the_signal_of_an_earlier_one(sandbox: Sandbox):
    mill = Mill.open(begun(sandbox).path)
    with pytest.raises(KeyboardInterrupt), stop_on_signals(mill):
        os.kill(os.getpid(), signal.SIGTERM)
    with stop_on_signals(mill) as stop, stop.interruptible():
        stop.raise_if_requested()


def test_signals_are_handled_in_the_main_thread_only(sandbox: Sandbox):
    mill = Mill.open(begun(sandbox).path)
    errors = []

    def listen() -> None:
        try:
            with stop_on_signals(mill):
                pass
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert errors == ["signal only works in main thread of the main interpreter"]
