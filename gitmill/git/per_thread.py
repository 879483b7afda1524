"""Values that belong to one thread: handles and processes that two threads must not share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerThread(Generic[T]):
    """One value for each thread, made when the thread first asks for it.

    `close` is called for a value when its thread ends, and for all values when this object is
    dropped. `make` must not refer to the owner of this object, which would then never be dropped.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], None]) -> None:
        self._make = make
        self._close = close
        self._local = threading.local()

    def get(self) -> T:
        """Return the value of this thread."""
        owned: _Owned[T] | None = getattr(self._local, "owned", None)
        if owned is None:
            self._local.owned = owned = _Owned(self._make(), self._close)
        return owned.value

    def drop(self) -> None:
        """Close the value of this thread, if it has one; the next `get` makes another."""
        self._local.owned = None


class _Owned(Generic[T]):
    """Closes its value when the last reference goes: the interpreter drops a thread's locals."""

    def __init__(self, value: T, close: Callable[[T], None]) -> None:
        self.value = value
        self._close = close

    def __del__(self) -> None:
        self._close(self.value)
