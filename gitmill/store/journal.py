"""Which values gitmill itself has given to its refs: each is written down before the ref moves.

What a ref of gitmill's stands at and this does not tell was put there by somebody else. It is a
disposable file: what is lost with it is only that knowledge, for attempts under way just then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.git.objects import Move

SIZE = 1 << 20  # bytes; then a new file begins, and the one before it is kept


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the journal: which file, and how far."""

    inode: int = 0
    offset: int = 0


class Journal:
    """The journal of one repository. Whoever writes holds the store's lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal"
        self._older = folder / "journal.1"

    def write(self, moves: Sequence[Move]) -> None:
        """Add where refs are about to go; `-` for a ref that is removed."""
        data = "".join(f"{move.new or '-'} {move.ref}\n" for move in moves).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, data)
            if os.fstat(descriptor).st_size > SIZE:
                self._path.replace(self._older)
        finally:
            os.close(descriptor)

    def position(self) -> Position:
        """Return where the journal ends now."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return Position()
        return Position(now.st_ino, now.st_size)

    def since(self, position: Position) -> dict[str, list[str | None]]:
        """Return the values that refs were given since then, oldest first."""
        data = b""
        for path in (self._older, self._path):
            try:
                with path.open("rb") as file:
                    same = os.fstat(file.fileno()).st_ino == position.inode
                    data = file.read()[position.offset :] if same else data + file.read()
            except FileNotFoundError:
                continue
        found: dict[str, list[str | None]] = {}
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            value, _, ref = line.partition(" ")
            found.setdefault(ref, []).append(None if value == "-" else value)
        return found
