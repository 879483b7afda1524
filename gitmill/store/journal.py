"""The journal of gitmill's own ref moves, each recorded before the ref moves.

If the journal does not list the value of one of gitmill's refs, another program moved that ref. The
journal is disposable: losing it only loses that knowledge, for attempts then under way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import PlantedFileError
from gitmill.files import open_regular, read_regular, replace
from gitmill.git.objects import Move

SIZE = 1 << 20  # bytes; then a new file begins, and the previous one is kept


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the journal: the file's inode and an offset in bytes."""

    inode: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class HeldJournal:
    """The journal at one time: its position, its bytes, and how many this process wrote by then."""

    position: Position
    data: bytes
    written: int


class Journal:
    """The journal of one repository. Callers must hold the store's lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal"
        self._older = folder / "journal.1"
        self._own = bytearray()  # the end of what this process wrote, which no file can change
        self._written = 0

    def write(self, moves: Sequence[Move]) -> None:
        """Append the new value of each ref about to move; `-` means a removal."""
        data = "".join(f"{move.new or '-'} {move.ref}\n" for move in moves).encode()
        descriptor = open_regular(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, data)
            self._own += data
            self._written += len(data)
            del self._own[:-SIZE]
            if os.fstat(descriptor).st_size > SIZE:
                self._path.replace(self._older)
        finally:
            os.close(descriptor)

    def position(self) -> Position:
        """Return the current end of the journal."""
        try:
            now = self._path.lstat()
        except FileNotFoundError:
            return Position()
        return Position(now.st_ino, now.st_size)

    def hold(self) -> HeldJournal:
        """Return the journal to compare it with later, by `restore`."""
        position = self.position()
        return HeldJournal(position, self._read(position), self._written)

    def restore(self, held: HeldJournal) -> Position | None:
        """Restore the journal if what was `held` is no longer in it; return the position then.

        Nothing that was written since is believed then, except what this process wrote.
        """
        if held.position == Position() or self._read(held.position) == held.data:
            return None
        own = bytes(self._own[len(self._own) - (self._written - held.written) :])
        replace(self._path, held.data + own)
        return Position(self._path.lstat().st_ino, len(held.data))

    def _read(self, position: Position) -> bytes:
        """Return the bytes up to a position; empty if they are gone."""
        for path in (self._path, self._older):
            try:
                if path.lstat().st_ino == position.inode:
                    return read_regular(path)[: position.offset]
            except (FileNotFoundError, PlantedFileError):
                continue
        return b""

    def since(self, position: Position) -> dict[str, list[str | None]]:
        """Return the values that refs were set to since then, oldest first; None for a removal."""
        data = b""
        for path in (self._older, self._path):
            try:
                with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
                    same = os.fstat(file.fileno()).st_ino == position.inode
                    data = file.read()[position.offset :] if same else data + file.read()
            except FileNotFoundError:
                continue
        values: dict[str, list[str | None]] = {}
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            value, _, ref = line.partition(" ")
            values.setdefault(ref, []).append(None if value == "-" else value)
        return values
