"""A command's output: bounded in memory, bounded on disk, excess bytes only counted.

The supervisor imports this at every start, so it imports as little as possible.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Kept:
    """The first and the last `half` bytes of a stream."""

    def __init__(self, half: int) -> None:
        self._half = half
        self._head = bytearray()
        self._tail = bytearray()
        self._seen = 0

    def add(self, data: bytes) -> None:
        """Append the next bytes of the stream."""
        self._seen += len(data)
        room = self._half - len(self._head)
        if room:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Trim in large steps: each byte of the tail is then moved in memory only once.
        if len(self._tail) > 2 * self._half:
            self._trim()

    def value(self) -> bytes:
        """Return the kept bytes, with a line between them that states how many are missing.

        That line also keeps two half lines from joining.
        """
        self._trim()
        if not self.cut:
            return bytes(self._head + self._tail)
        return bytes(self._head) + b"\n[%d bytes cut]\n" % self.cut + self._tail

    @property
    def cut(self) -> int:
        """The number of bytes that `value` leaves out."""
        return max(0, self._seen - 2 * self._half)

    def _trim(self) -> None:
        excess = len(self._tail) - self._half
        if excess > 0:
            del self._tail[:excess]


class Watched:
    """Passes a stream of pieces, each prefixed by 4 bytes of size, to `watch` line by line.

    A size of 0 ends the stream. `why` is the first non-empty string that `watch` returns, its
    reason to stop the command; after that it receives no more lines.
    """

    def __init__(self, watch: Callable[[bytes], str], longest: int = 16 << 20) -> None:
        self._watch = watch
        self._longest = longest
        self._raw = bytearray()
        self._line = bytearray()
        self._dropping = False
        self._over = False
        self.why = ""

    def take(self, data: bytes) -> bytes:
        """Process the next bytes; return those after the end of the stream."""
        if self._over:
            return data
        self._raw += data
        at = 0
        while len(self._raw) - at >= 4 and not self._over:
            size = int.from_bytes(self._raw[at : at + 4], "big")
            if len(self._raw) - at - 4 < size:
                break
            self._over = size == 0
            self._add(
                b"\n" if self._over and self._line else bytes(self._raw[at + 4 : at + 4 + size])
            )
            at += 4 + size
        del self._raw[:at]
        return bytes(self._raw) if self._over else b""

    def _add(self, data: bytes) -> None:
        *ended, rest = data.split(b"\n")
        if ended:
            self._line += ended[0]
            ended[0] = bytes(self._line)
            self._line.clear()
            self._show(ended[1:] if self._dropping else ended)
            self._dropping = False
        self._dropping = self._dropping or len(self._line) + len(rest) > self._longest
        if self._dropping:
            self._line.clear()
        else:
            self._line += rest

    def _show(self, lines: list[bytes]) -> None:
        if not self.why:
            self.why = next(filter(None, map(self._watch, lines)), "")


class Transcript:
    """A file to which both outputs are appended as they arrive, for others to follow.

    An empty path means no file. Raises `OSError` if it cannot be opened. A full disk later ends
    the transcript, not the command: the output kept in memory is the record.
    """

    def __init__(self, path: str, limit: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600) if path else -1
        self._room = limit

    def add(self, data: bytes) -> None:
        """Append the bytes that fit."""
        if self._fd < 0:
            return
        fitting = data[: self._room]
        self._room -= len(fitting)
        full = len(fitting) < len(data)
        try:
            _write(self._fd, fitting + b"\n[transcript is full]\n" if full else fitting)
        except OSError:
            full = True
        if full:
            os.close(self._fd)
            self._fd = -1


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_frame() -> tuple[Any, bytes] | None:
    """Read 8 bytes of size, then a `marshal` of that size; None if the input ends early."""
    size = _read(8)
    frame = size and _read(int.from_bytes(size, "big"))
    # Trusted: only the parent writes there, and it wrote before the command could run.
    return marshal.loads(frame) if frame else None  # noqa: S302


def _read(size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = os.read(0, min(size - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)


def write_message(data: bytes) -> None:
    """Write all of the data to standard output, unless its reader has ended."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        return  # the parent has ended; end of file on standard input ends the supervisor too
