"""Caches that threads can share: one forgets what is rarely used, the other what has aged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, ParamSpec, TypeVar

K = TypeVar("K")
V = TypeVar("V")
P = ParamSpec("P")

FRESH = 60.0  # seconds that a fact about this machine, such as a program's version, counts
_ANSWERS = 64  # of one function; the arguments are programs and agents, of which there are few


class BoundedCache(Generic[K, V]):
    """The values used last, for facts that never change; `limit` is the most that it holds.

    Two halves: when the new one is full, it becomes the old one, and what was not used since then
    is dropped.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None if it is not known or was dropped."""
        value = self._new.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        with self._lock:
            if len(self._new) >= self._half:
                self._old, self._new = self._new, {}
            self._new[key] = value

    def make_room(self, limit: int) -> None:
        """Raise the limit, for a caller that is about to use so many values again and again."""
        self._half = max(self._half, limit // 2)


class Expiring(Generic[P, V]):
    """A function whose answers are kept for some seconds: facts that can change meanwhile.

    Two threads that ask for the same at the same time can both call it. Errors are not kept.
    """

    def __init__(self, ask: Callable[P, V], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._answers: dict[object, tuple[float, V]] = {}
        self._lock = threading.Lock()
        update_wrapper(self, ask)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """Return the answer to these arguments, which must be hashable."""
        key = (args, tuple(kwargs.items()))
        with self._lock:
            known = self._answers.get(key)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        answer = self._ask(*args, **kwargs)
        with self._lock:
            self._answers.pop(key, None)
            self._answers[key] = (time.monotonic() + self._seconds, answer)
            if len(self._answers) > _ANSWERS:
                del self._answers[next(iter(self._answers))]
        return answer

    def forget(self) -> None:
        """Drop all answers."""
        with self._lock:
            self._answers.clear()


def expires(seconds: float) -> Callable[[Callable[P, V]], Expiring[P, V]]:
    """Keep each answer of a function for some seconds."""
    return lambda ask: Expiring(ask, seconds)
