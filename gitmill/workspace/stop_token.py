"""A request to stop, handed down to whatever runs commands or waits.

It is noted at any time and obeyed where nothing is half done: while an agent or a check runs, and
between two actions. So every lease is released, and git is never killed while it moves the user's
checkout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gitmill.errors import GitmillError


class StopToken:
    """Whether its holders were asked to stop; a token that nobody requests stops nothing.

    A request becomes `KeyboardInterrupt` inside `interruptible` and at `raise_if_requested`, in
    each thread that was given the token.
    """

    def __init__(self) -> None:
        self._requested = False
        self._raises = False  # whether the main thread is inside `interruptible`
        self._cancels: list[Callable[[], None]] = []

    def request(self) -> None:
        """Ask for the stop, from any thread."""
        self._requested = True
        for cancel in tuple(self._cancels):
            cancel()

    def request_by_signal(self, _number: int, _frame: object) -> None:
        """Ask for the stop as a signal handler, which runs between two steps of the main thread."""
        self.request()
        if self._raises:
            raise KeyboardInterrupt

    def raise_if_requested(self) -> None:
        """Raise `KeyboardInterrupt` if the stop was requested."""
        if self._requested:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible(self, cancel: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let a request interrupt the body: `cancel` must end whatever it waits for.

        In the main thread a signal also interrupts it at any point.
        """
        is_main = threading.current_thread() is threading.main_thread()
        self._cancels.append(cancel)
        try:
            self._raises = self._raises or is_main
            self.raise_if_requested()
            yield
            self.raise_if_requested()
        finally:
            if is_main:
                self._raises = False
            self._cancels.remove(cancel)


class InnerToken(StopToken):
    """A token for a part of what another one is handed down to, for a reason of its own.

    Its request becomes the error that `error` returns; a request of the `outer` token is obeyed
    too, and becomes `KeyboardInterrupt`.
    """

    def __init__(self, outer: StopToken, error: Callable[[], Exception]) -> None:
        super().__init__()
        self._outer, self._error = outer, error

    @property
    def is_requested(self) -> bool:
        """Whether this token was requested, and not only the outer one."""
        return self._requested

    def raise_if_requested(self) -> None:
        """Raise the error of the token that was requested, the outer one's first."""
        self._outer.raise_if_requested()
        if self._requested:
            raise self._error()

    @contextmanager
    def interruptible(self, cancel: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let a request of either token interrupt the body, as `StopToken` does."""
        with self._outer.interruptible(cancel):
            self._cancels.append(cancel)
            try:
                self.raise_if_requested()
                yield
                self.raise_if_requested()
            finally:
                self._cancels.remove(cancel)


@contextmanager
def requested_once(token: StopToken, is_due: Callable[[], bool], *, every: float) -> Iterator[None]:
    """Request a token once `is_due`, which a thread asks `every` so many seconds in the body.

    An error of gitmill or of the system is no answer; the thread asks again.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            with suppress(GitmillError, OSError):  # no answer: it is asked again
                if is_due():
                    token.request()
                    return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
