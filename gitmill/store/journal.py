"""The journal of gitmill's own ref moves, each recorded before the ref moves.

If the journal does not list the value of one of gitmill's refs, another program moved that ref. The
journal is disposable: losing it only loses that knowledge, for attempts then under way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.git.objects import Move

SIZE = 1 << 20  # bytes; then a new file begins, and the previous one is kept


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the journal: the file's inode and an offset in bytes."""

    inode: int = 0
    offset: int = 0


class Journal:
    """The journal of one repository. Writers must hold the store's lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal"
        self._older = folder / "journal.1"

    def write(self, moves: Sequence[Move]) -> None:
        """Append the new value of each ref about to move; `-` means a removal."""
        data = "".join(f"{move.new or '-'} {move.ref}\n" for move in moves).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, data)
            if os.fstat(descriptor).st_size > SIZE:
                self._path.replace(self._older)
        finally:
            os.close(descriptor)

    def position(self) -> Position:
        """Return the current end of the journal."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return Position()
        return Position(now.st_ino, now.st_size)

    def since(self, position: Position) -> dict[str, list[str | None]]:
        """Return the values that refs were set to since then, oldest first; None for a removal."""
        data = b""
        for path in (self._older, self._path):
            try:
                with path.open("rb") as file:
                    same = os.fstat(file.fileno()).st_ino == position.inode
                    data = file.read()[position.offset :] if same else data + file.read()
            except FileNotFoundError:
                continue
        values: dict[str, list[str | None]] = {}
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            value, _, ref = line.partition(" ")
            values.setdefault(ref, []).append(None if value == "-" else value)
        return values
