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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitmill.core.lifecycle import Status
from gitmill.core.trailers import one_line
from gitmill.mill import Mill
from gitmill.workspace import secret_scan
from gitmill.workspace.signals import workers

LIMIT = 256 << 10  # bytes of an agent's actions; stages are always written
LONGEST = 300  # characters of one line
LOOKED_AT = 1 << 16  # characters of a longer one in which keys are looked for
LOOK = 0.1  # seconds between two looks at what is followed
KEPT = 86400.0  # seconds that the file of an attempt stays
_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY")


class LiveLog:
    """The live log of one attempt."""

    def __init__(self, mill: Mill, item_id: str) -> None:
        self._mill, self._item = mill, item_id
        self._stage = self._who = ""
        self._room, self._in_key = LIMIT, False
        folder = mill.repository.private / "live"
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
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
        hidden = self._in_key  # a key that spans lines is none to the detectors line by line
        if _BEGIN.search(text) or _END.search(text):
            self._in_key = not _END.search(text)
        shown = "" if hidden else one_line(_clean(text), LONGEST)
        if shown:
            self._room -= len(shown)
            self._write("does", shown if self._room > 0 else "… (the rest is not shown)")

    def over(self, text: str) -> None:
        """Write the end of the attempt and its outcome."""
        self._write("over", text)
        os.close(self._fd)

    def _write(self, kind: str, text: str) -> None:
        at = self._mill.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {"at": at, "item": self._item, "stage": self._stage, "who": self._who,
                "kind": kind, "text": text}  # fmt: skip
        line = json.dumps(told, ensure_ascii=False) + "\n"
        with suppress(OSError):  # a full disk ends what is shown, not the attempt
            os.write(self._fd, line.encode("utf-8", "replace"))


def _clean(text: str) -> str:
    """Redact the beginning of a text, and drop its end, which may hold half a secret."""
    if len(text) <= LOOKED_AT:
        return secret_scan.clean(text)
    cut = secret_scan.clean(text[:LOOKED_AT])
    return cut[: max(0, len(cut) - LOOKED_AT // 8)]


def _sweep(folder: Path) -> None:
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
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
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
        found = []
        while part := os.read(self.fd, 1 << 16):
            *lines, self.rest = (self.rest + part).split(b"\n")
            for line in lines:
                with suppress(ValueError):
                    found.append(json.loads(line))
        self.over = self.over or any(one.get("kind") == "over" for one in found)
        return found


def follow(mill: Mill, item_id: str = "") -> Iterator[dict[str, Any]]:
    """Yield the entries of running attempts on this machine as they are written.

    For one item it ends with the attempt, for all items with the last worker of the repository.
    """
    folder, open_ = mill.repository.private / "live", dict[str, _Followed]()
    past = {_which(path) for path in folder.glob("*.jsonl") if not _is_written(path)}
    try:
        while True:
            coming = _expected(mill, item_id)
            _look(folder, item_id, open_, past)
            for name, one in list(open_.items()):
                alive = one.alive()  # before reading: what it wrote is there then
                yield from one.more()
                if not one.over and not alive:
                    yield {"at": "", "item": name.removesuffix(".jsonl"), "stage": "", "who": "",
                           "kind": "over", "text": "its process is gone"}  # fmt: skip
                    one.over = True
                if item_id and one.over:
                    return
            if not coming and all(one.over for one in open_.values()):
                return
            time.sleep(LOOK)
    finally:
        for one in open_.values():
            os.close(one.fd)


def _which(path: Path) -> tuple[int, int]:
    """Return a key that differs for a later file of the same name, even with the same inode."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_ino, facts.st_ctime_ns


def _look(
    folder: Path, item_id: str, open_: dict[str, _Followed], past: set[tuple[int, int]]
) -> None:
    """Open the files of attempts that started since, including those that have ended already."""
    for path in sorted(folder.glob(f"{item_id or '*'}.jsonl")):
        try:
            inode = path.stat().st_ino
            known = open_.get(path.name)
            if known is not None and (known.inode == inode or not known.over):
                continue  # its end comes first, however quickly the next attempt began
            if _which(path) in past:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if known is not None:
            os.close(known.fd)
        open_[path.name] = _Followed(fd, os.fstat(fd).st_ino)


def _expected(mill: Mill, item_id: str) -> bool:
    """Whether an attempt can still start: a worker is running, and the item is not at its end."""
    if not workers(mill):
        return False
    if not item_id:
        return True
    return mill.snapshot().item(item_id).status in (Status.READY, Status.RUNNING)
