"""Signals that mean stop: Ctrl-C, a hang-up, `gitmill stop`; which processes it has to reach."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from gitmill import files
from gitmill.errors import PlantedFileError
from gitmill.mill import Mill
from gitmill.supervision import processes
from gitmill.supervision.processes import ProcessFacts
from gitmill.workspace.stop_token import StopToken

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(mill: Mill) -> Iterator[StopToken]:
    """Yield a token that signals request, and let `gitmill stop` find this process.

    A request that nothing has obeyed becomes `KeyboardInterrupt` at the end. Only the main thread
    can handle signals: a `ValueError` in any other one.
    """
    token = StopToken()
    # A signal that the parent process ignores stays ignored, as under `nohup` or a script's `&`.
    handled = [n for n in _NUMBERS if signal.getsignal(n) is not signal.SIG_IGN]
    old = {number: signal.signal(number, token.request_by_signal) for number in handled}
    try:
        with _listed(mill):
            yield token
        token.raise_if_requested()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


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
        with suppress(FileNotFoundError, PlantedFileError, ValueError, TypeError):
            facts = ProcessFacts(**json.loads(files.read_regular(path)))
            alive = processes.is_same_and_alive(facts)
            if alive is False:
                path.unlink(missing_ok=True)
            elif alive and facts.pid != os.getpid():
                others.add(facts)
    return others


def _folder(mill: Mill) -> Path:
    return mill.repository.private / "working"
