"""Transcripts: the output of agents, redacted and size-capped, a file per attempt under a ref.

While an agent runs, its output goes to a file below `.git/gitmill` that only the user can read.
A transcript is never part of a branch, and gitmill never pushes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from gitmill.attempts.live_log import is_watched
from gitmill.core.lifecycle import FINAL
from gitmill.errors import GitmillError
from gitmill.git import trees
from gitmill.git.objects import Commit, Entry, Move, read_commit, write_commit
from gitmill.mill import Mill
from gitmill.store import layout, secret_search

LIMIT = 1 << 20  # bytes of one attempt: its beginning and its end
KEPT = 20  # transcripts per item; older ones are dropped
_NAME = re.compile(r"(?P<item>[a-z]-[0-9a-z]+)\.(?P<run>\d+-[^.]+)\.(?P<claim>[0-9a-f]+)\.raw")
_KEY_END = re.compile(rb"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_BEGIN = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_FULL = b"\n[transcript is full]\n"


def raw_path(mill: Mill, item_id: str, run: str, claim: str) -> Path:
    """Return the file for the output of a running attempt; `run` is its run log's name."""
    folder = mill.repository.private / "transcripts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{item_id}.{run}.{claim}.raw"


def store(mill: Mill, path: Path, *, lost: bool = False) -> str:
    """Store the output of an ended attempt under its item's ref; return its name there.

    `lost` marks the attempt of a killed process, which has no run log. Returns "" without output.
    """
    match = _NAME.fullmatch(path.name)
    if match is None or not path.exists():
        return ""
    text = "".join(secret_search.clean(part.decode("utf-8", "replace")) for part in _parts(path))
    name = f"{match['run']}-lost-{match['claim'][:4]}.txt" if lost else f"{match['run']}.txt"
    if lost:  # its last line may be incomplete
        text = text[: text.rfind("\n") + 1]
    if text.strip():
        _add(mill, match["item"], name, text.encode("utf-8", "replace"))
    path.unlink(missing_ok=True)
    return name if text.strip() else ""


def _parts(path: Path, limit: int = LIMIT) -> list[bytes]:
    """Return the output; of a long one the beginning and the end, with the size of the gap.

    Both parts are whole lines, and no key that spans lines is cut: detectors miss half a key.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(limit if size <= limit else limit // 2)
        if size <= limit:
            return [head]
        file.seek(-(limit // 2), os.SEEK_END)
        tail = file.read()
    head = head[: head.rfind(b"\n") + 1]
    tail = tail[tail.find(b"\n") + 1 or len(tail) :]
    end, begin = _KEY_END.search(tail), _KEY_BEGIN.search(tail)
    if end is not None and (begin is None or end.start() < begin.start()):
        tail = tail[end.end() :]
    if tail.endswith(_FULL):  # the output went on, so this last line may be cut
        tail = tail[: tail.removesuffix(_FULL).rfind(b"\n") + 1] + _FULL[1:]
    return [head, b"[%d bytes cut]\n" % (size - len(head) - len(tail)), tail]


def _add(mill: Mill, item_id: str, name: str, data: bytes) -> None:
    backend, ref = mill.store.backend, f"{layout.TRANSCRIPT}{item_id}"
    with mill.store.refs_lock() as lock:
        at = backend.ref(ref)
        tree = read_commit(backend, at).tree if at else backend.write("tree", b"")
        names = sorted({*trees.entries(backend, tree), name})
        files: dict[str, Entry | bytes | None] = dict.fromkeys(names[:-KEPT])
        tree = trees.edit(backend, tree, files | {name: data})
        ident = mill.repository.ident(mill.now())
        # Without a parent: what is dropped can be collected.
        message = f"transcripts of {item_id}\n\nGitmill-Item: {item_id}\n"
        commit = write_commit(backend, Commit(tree, (), ident, ident, message))
        mill.store.move(Move(ref, commit, at), lock=lock)


def read(mill: Mill, item_id: str) -> dict[str, str]:
    """Return the transcripts of an item by name."""
    backend = mill.repository.reader
    at = backend.ref(f"{layout.TRANSCRIPT}{item_id}")
    if at is None:
        return {}
    tree = read_commit(backend, at).tree
    return {
        name: backend.read(entry.oid)[1].decode("utf-8", "replace")
        for name, entry in trees.entries(backend, tree).items()
    }


def collect(mill: Mill) -> Iterator[str]:
    """Store the output of attempts whose process was killed; yield a sentence for each."""
    held = {item.lease.claim for item in mill.snapshot().items.values() if item.lease}
    for path in sorted((mill.repository.private / "transcripts").glob("*.raw")):
        match = _NAME.fullmatch(path.name)
        if match is None or match["claim"] in held or is_watched(mill, match["item"]):
            continue
        with suppress(GitmillError, FileNotFoundError):
            if store(mill, path, lost=True):
                yield f"kept the output of an attempt at {match['item']}"


def old(mill: Mill, *, older: float = 0.0) -> dict[str, str]:
    """Return the transcripts of items that are unknown or ended `older` seconds ago, by item.

    Raises `BadDocumentError` while an item cannot be read: it may still be open.
    """
    snapshot, now = mill.snapshot(), mill.now()
    for error in snapshot.broken.values():
        raise error
    transcripts: dict[str, str] = {}
    for ref, at in sorted(mill.store.backend.refs(layout.TRANSCRIPT.rstrip("/")).items()):
        item = snapshot.items.get(name := ref.removeprefix(layout.TRANSCRIPT))
        ended = item is None or item.status in FINAL
        if ended and (item is None or (now - item.since).total_seconds() >= older):
            transcripts[name] = at
    return transcripts


def prune(mill: Mill, transcripts: Mapping[str, str]) -> None:
    """Drop transcripts as `old` returns them."""
    for item, at in transcripts.items():
        mill.store.move(Move(f"{layout.TRANSCRIPT}{item}", None, at))
