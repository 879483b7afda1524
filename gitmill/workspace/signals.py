"""Stop requests: Ctrl-C, a signal or `gitmill stop`.

A request is noted at any time and obeyed where nothing is half done: while an agent or a check
runs, and between two actions. So every lease is released, and git is never killed while it moves
the user's checkout.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gitmill.mill import Mill
from gitmill.supervision import processes
from gitmill.supervision.processes import ProcessFacts

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class StopFlag:
    """Whether this process was asked to stop, and whether it may stop immediately."""

    listening: bool = False
    stop: bool = False
    interruptible: bool = False

    def note(self, _number: int, _frame: object) -> None:
        """Handle a signal that means stop."""
        self.stop = True
        if self.interruptible:
            raise KeyboardInterrupt


_flag = StopFlag()


@contextmanager
def interruptible(mill: Mill) -> Iterator[None]:
    """Note signals that mean stop, and let `gitmill stop` find this process.

    They become `KeyboardInterrupt` inside `interruptible_section`, at `raise_if_stopped`, and at
    the end.
    """
    if _flag.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal that the parent process ignores stays ignored, as under `nohup` or a script's `&`.
    handled = [n for n in _NUMBERS if signal.getsignal(n) is not signal.SIG_IGN]
    _flag.listening, _flag.stop, _flag.interruptible = True, False, False
    old = {number: signal.signal(number, _flag.note) for number in handled}
    try:
        with _listed(mill):
            yield
        raise_if_stopped()
    finally:
        _flag.listening = False
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def interruptible_section() -> Iterator[None]:
    """Let a stop request interrupt the body at any point."""
    if not _flag.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        _flag.interruptible = True
        raise_if_stopped()
        yield
    finally:
        _flag.interruptible = False


def raise_if_stopped() -> None:
    """Raise `KeyboardInterrupt` if a stop was requested."""
    if _flag.listening and _flag.stop:
        raise KeyboardInterrupt


# -- workers of this repository --------------------------------------------------------------------


@contextmanager
def _listed(mill: Mill) -> Iterator[None]:
    path = _folder(mill) / f"{mill.new_token()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(processes.this_process())))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def workers(mill: Mill) -> set[ProcessFacts]:
    """Return the other processes of this machine that work in this repository now."""
    others = set()
    for path in _folder(mill).glob("*.json"):
        with suppress(FileNotFoundError, ValueError, TypeError):
            facts = ProcessFacts(**json.loads(path.read_text()))
            alive = processes.is_same_and_alive(facts)
            if alive is False:
                path.unlink(missing_ok=True)
            elif alive and facts.pid != os.getpid():
                others.add(facts)
    return others


def _folder(mill: Mill) -> Path:
    return mill.repository.private / "working"
