"""Transcripts: the output of agents, redacted and size-capped, a file per attempt.

They are below `.git/gitmill`, which no sandbox shows and only the user can read, and not among
git's objects: git in a sandbox can list all of them. Raw output is there while an agent runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from gitmill import files
from gitmill.attempts.live_log import is_watched
from gitmill.core.ids import PATTERN
from gitmill.core.lifecycle import FINAL
from gitmill.errors import GitmillError
from gitmill.git import trees
from gitmill.git.objects import Move, read_commit
from gitmill.git.worktree_entries import remove
from gitmill.mill import Mill
from gitmill.store import layout, secret_search

LIMIT = 1 << 20  # bytes of one attempt: its beginning and its end
KEPT = 20  # transcripts per item; older ones are dropped
_NAME = re.compile(r"(?P<item>[a-z]-[0-9a-z]+)\.(?P<run>\d+-[^.]+)\.(?P<claim>[0-9a-f]+)\.raw")
_STORED = re.compile(r"\d+-[^/]+\.txt")
_LARGEST = 4 * LIMIT  # bytes of a file: replacements can be longer than what they replace
_KEY_END = re.compile(rb"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_BEGIN = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
_FULL = b"\n[transcript is full]\n"


def raw_path(mill: Mill, item_id: str, run: str, claim: str) -> Path:
    """Return the file for the output of a running attempt; `run` is its run log's name."""
    return _folder(mill) / f"{item_id}.{run}.{claim}.raw"


def _folder(mill: Mill) -> Path:
    folder = path_of(mill, "", "")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def store(mill: Mill, path: Path, *, lost: bool = False) -> str:
    """Store the output of an ended attempt in its item's folder; return its name there.

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
    folder = _folder(mill) / item_id
    if folder.is_symlink():  # made by an agent without a sandbox
        folder.unlink()
    folder.mkdir(mode=0o700, exist_ok=True)
    files.replace(folder / name, data, mode=0o600)
    for path in sorted(folder.glob("*.txt"))[:-KEPT]:
        path.unlink(missing_ok=True)


def path_of(mill: Mill, item_id: str, name: str) -> Path:
    """Return the file of a transcript as `read` names it."""
    return mill.repository.private / "transcripts" / item_id / name


def read(mill: Mill, item_id: str) -> dict[str, str]:
    """Return the transcripts of an item by name."""
    folder = path_of(mill, item_id, "")
    names = [path.name for path in folder.glob("*.txt")] if not folder.is_symlink() else []
    found = {name: files.read_below(folder, name, _LARGEST) for name in sorted(names)}
    return {name: data.decode("utf-8", "replace") for name, data in found.items() if data}


def collect(mill: Mill) -> Iterator[str]:
    """Store the output of attempts whose process was killed; yield a sentence for each."""
    held = {item.lease.claim for item in mill.snapshot().items.values() if item.lease}
    for path in sorted(path_of(mill, "", "").glob("*.raw")):
        match = _NAME.fullmatch(path.name)
        if match is None or match["claim"] in held or is_watched(mill, match["item"]):
            continue
        with suppress(GitmillError, FileNotFoundError):  # the next recovery tries it again
            if store(mill, path, lost=True):
                yield f"kept the output of an attempt at {match['item']}"


def move_old(mill: Mill) -> Iterator[str]:
    """Make files of what an older version stored under refs; yield a sentence for each item.

    The ref goes last, so a kill loses nothing.
    """
    backend = mill.store.backend
    for item, at in _old_refs(mill).items():
        with suppress(GitmillError):  # the next recovery tries it again
            for name, entry in trees.entries(backend, read_commit(backend, at).tree).items():
                if _STORED.fullmatch(name) and not path_of(mill, item, name).exists():
                    _add(mill, item, name, backend.read(entry.oid)[1])
            mill.store.move(Move(f"{layout.TRANSCRIPT}{item}", None, at))
            yield f"moved the transcripts of {item} out of git"


def _old_refs(mill: Mill) -> dict[str, str]:
    refs = mill.store.backend.refs(layout.TRANSCRIPT.rstrip("/"))
    by_name = {ref.removeprefix(layout.TRANSCRIPT): at for ref, at in sorted(refs.items())}
    return {name: at for name, at in by_name.items() if PATTERN.fullmatch(name)}


def old(mill: Mill, *, older: float = 0.0) -> list[str]:
    """Return the items with transcripts that are unknown or ended `older` seconds ago.

    Raises `BadDocumentError` while an item cannot be read: it may still be open.
    """
    snapshot, now = mill.snapshot(), mill.now()
    for error in snapshot.broken.values():
        raise error
    names = {path.name for path in path_of(mill, "", "").glob("*/")} | _old_refs(mill).keys()
    old = []
    for name in sorted(names):
        item = snapshot.items.get(name)
        ended = item is None or item.status in FINAL
        if ended and (item is None or (now - item.since).total_seconds() >= older):
            old.append(name)
    return old


def prune(mill: Mill, items: Iterable[str]) -> None:
    """Drop the transcripts of items as `old` returns them."""
    for item in items:
        remove(path_of(mill, item, ""))
