"""Values that belong to one thread: handles and processes that two threads must not share."""

from __future__ import annotations

import threading
import weakref
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
            self._local.owned = owned = _Owned(self._make())
            # Not `__del__`: garbage that is collected as a cycle is finalized in any order.
            weakref.finalize(owned, self._close, owned.value)
        return owned.value

    def drop(self) -> None:
        """Close the value of this thread, if it has one; the next `get` makes another."""
        self._local.owned = None


class _Owned(Generic[T]):
    """Holds the value of one thread; the interpreter drops it when the thread ends."""

    def __init__(self, value: T) -> None:
        self.value = value
