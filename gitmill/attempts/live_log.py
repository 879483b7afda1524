"""The live log of a running attempt, for `log -f`: `.git/gitmill/live/<item>.jsonl`.

One JSON object a line: `at`, `item`, `stage`, `who`, `kind` and `text`. Kinds are `begins` and
`ended` (a stage), `does` (a tool call or text of the agent) and `over` (the attempt), which is the
last one. The writer holds a lock on the file, so a follower notices when that process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitmill import process
from gitmill.core.lifecycle import Status
from gitmill.core.trailers import one_line
from gitmill.errors import PlantedFileError
from gitmill.files import open_regular
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace.signals import workers

LIMIT = 256 << 10  # bytes of an agent's actions; stages are always written
LONGEST = 300  # characters of one line
SCANNED = 1 << 16  # characters of a longer text that are searched for secrets
INTERVAL = 0.1  # seconds between two reads of the files that are followed
KEPT = 86400.0  # seconds until the file of a finished attempt is removed
_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY")


class LiveLog:
    """The live log of one attempt."""

    def __init__(self, mill: Mill, item_id: str) -> None:
        self._mill, self._item = mill, item_id
        self._stage = self._who = ""
        self._room, self._in_key = LIMIT, False
        self._known = process.secrets()  # once: to read them takes longer than a line does
        folder = mill.repository.private / "live"
        folder.mkdir(parents=True, exist_ok=True)
        _prune(folder)
        path = folder / f"{item_id}.jsonl"
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def stage(self, stage: str, who: str, ended: str = "") -> None:
        """Write that a stage starts, or how it has ended."""
        self._stage, self._who = stage, who
        self._write("ended" if ended else "begins", ended)

    def does(self, text: str) -> None:
        """Write an action of the agent on one line without secrets, up to the size limit."""
        if self._room <= 0:
            return
        hidden = self._in_key  # a detector cannot recognise a key from one of its lines
        if _BEGIN.search(text) or _END.search(text):
            self._in_key = not _END.search(text)
        shown = "" if hidden else one_line(_clean(text, self._known), LONGEST)
        if shown:
            self._room -= len(shown)
            self._write("does", shown if self._room > 0 else "… (the rest is not shown)")

    def over(self, text: str) -> None:
        """Write the end of the attempt and its outcome."""
        self._write("over", text)
        os.close(self._fd)

    def _write(self, kind: str, text: str) -> None:
        at = self._mill.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"at": at, "item": self._item, "stage": self._stage, "who": self._who,
                 "kind": kind, "text": text}  # fmt: skip
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        with suppress(OSError):  # a full disk ends the live log, not the attempt
            os.write(self._fd, line.encode("utf-8", "replace"))


def _clean(text: str, known: Sequence[str]) -> str:
    """Redact the beginning of a text, and drop its end, which may hold half a secret."""
    if len(text) <= SCANNED:
        return secret_search.clean(text, known=known)
    cut = secret_search.clean(text[:SCANNED], known=known)
    return cut[: max(0, len(cut) - SCANNED // 8)]


def _prune(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > KEPT and not _is_written(path):
                path.unlink()


def is_watched(mill: Mill, item_id: str) -> bool:
    """Whether a process of this machine runs an attempt at an item, or is just ending it."""
    return _is_written(mill.repository.private / "live" / f"{item_id}.jsonl")


def _is_written(path: Path) -> bool:
    """Whether a process still writes a file."""
    try:
        fd = open_regular(path, os.O_RDONLY)
    except (FileNotFoundError, PlantedFileError):
        return False
    try:
        return _is_locked(fd)
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    """Whether another process holds the lock of an open file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


# -- following -------------------------------------------------------------------------------------


@dataclass
class _Followed:
    """A file that is read as it grows."""

    fd: int
    inode: int
    rest: bytes = b""
    over: bool = False

    def alive(self) -> bool:
        """Whether its process still writes it."""
        return _is_locked(self.fd)

    def more(self) -> list[dict[str, Any]]:
        """Return the entries written since the last call."""
        entries = []
        while part := os.read(self.fd, 1 << 16):
            *lines, self.rest = (self.rest + part).split(b"\n")
            for line in lines:
                with suppress(ValueError):
                    entries.append(json.loads(line))
        self.over = self.over or any(entry.get("kind") == "over" for entry in entries)
        return entries


def follow(mill: Mill, item_id: str = "") -> Iterator[dict[str, Any]]:
    """Yield the entries of running attempts on this machine as they are written.

    For one item it ends with the attempt, for all items with the last worker of the repository.
    """
    folder, open_ = mill.repository.private / "live", dict[str, _Followed]()
    past = {_identity(path) for path in folder.glob("*.jsonl") if not _is_written(path)}
    try:
        while True:
            expected = _is_expected(mill, item_id)
            _open_new(folder, item_id, open_, past)
            for name, file in list(open_.items()):
                alive = file.alive()  # checked first, so that the last entries are read too
                yield from file.more()
                if not file.over and not alive:
                    yield {"at": "", "item": name.removesuffix(".jsonl"), "stage": "", "who": "",
                           "kind": "over", "text": "its process has died"}  # fmt: skip
                    file.over = True
                if item_id and file.over:
                    return
            if not expected and all(file.over for file in open_.values()):
                return
            time.sleep(INTERVAL)
    finally:
        for file in open_.values():
            os.close(file.fd)


def _identity(path: Path) -> tuple[int, int]:
    """Return a key that differs for a later file of the same name, even with the same inode."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_ino, facts.st_ctime_ns


def _open_new(
    folder: Path, item_id: str, open_: dict[str, _Followed], past: set[tuple[int, int]]
) -> None:
    """Open the files of attempts that started since, including those that have ended already."""
    for path in sorted(folder.glob(f"{item_id or '*'}.jsonl")):
        try:
            inode = path.stat().st_ino
            known = open_.get(path.name)
            if known is not None and (known.inode == inode or not known.over):
                continue  # the old file is read to its end before the next attempt's
            if _identity(path) in past:
                continue
            fd = open_regular(path, os.O_RDONLY)
        except (FileNotFoundError, PlantedFileError):
            continue
        if known is not None:
            os.close(known.fd)
        open_[path.name] = _Followed(fd, os.fstat(fd).st_ino)


def _is_expected(mill: Mill, item_id: str) -> bool:
    """Whether an attempt can still start: a worker is running, and the item has not ended."""
    if not workers(mill):
        return False
    if not item_id:
        return True
    return mill.snapshot().item(item_id).status in (Status.READY, Status.RUNNING)
