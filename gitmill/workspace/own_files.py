"""gitmill's own files, held in memory while code without a sandbox can write them.

A person can trust commands meanwhile. Those of items that a person has typed or approved stay
trusted; any other difference is undone, because the next command would rely on it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill import files
from gitmill.errors import GitmillError, PlantedFileError
from gitmill.git.pool_name import KEPT, OWNER
from gitmill.git.worktree_entries import remove
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.history import entries
from gitmill.workspace.trust import digests, item_commands, store_file

_COOLING = "cooling.json"  # which agents cool down
# What gitmill derives from the state and the target again once a file is missing.
_DERIVED = ("board.json", "spent.json", "seen.json", "without-work.json")
VERIFIED = "verified.json"  # what fsck need not verify again; it grows with the history
_LARGEST = 8 << 20  # bytes of a file that is held; gitmill writes a few thousand


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The files at one time, None for one that did not exist, and the state commit then.

    `special` are the paths that were no regular files already.
    """

    state: str | None
    trusted: bytes | None
    cooling: bytes | None
    place: tuple[bytes | None, ...]
    derived: tuple[bytes | None, ...]
    verified: tuple[int, ...]
    special: frozenset[Path]


def hold(mill: Mill) -> OwnFiles:
    """Return the files of a repository as they are now."""
    private = mill.repository.private
    derived = tuple(_read(private / name) for name in _DERIVED)
    state = mill.store.backend.ref(layout.STATE)
    special = frozenset(_planted(private, mill.pool.folder))
    place = tuple(map(_read, _place(mill)))
    return OwnFiles(
        state, _read(store_file(mill)), _read(private / _COOLING), place, derived,
        _identity(private / VERIFIED), special,
    )  # fmt: skip


def _place(mill: Mill) -> tuple[Path, Path]:
    """Return the files that decide which folder has the worktrees and the trusted commands."""
    return mill.repository.private / KEPT, mill.pool.folder / OWNER


def restore(mill: Mill, held: OwnFiles, is_alone: Callable[[], bool]) -> Iterator[str]:
    """Restore what differs from the files that were `held`; yield a sentence for each change.

    Cool-downs are left as they are unless the attempt `is_alone`: others record theirs.
    """
    private = mill.repository.private
    for path in sorted({*_planted(private, mill.pool.folder)} - held.special):
        remove(path)
        yield f"{path} was replaced by a link or another special file; it was removed"
    yield from _restore_trusted(mill, held)
    for path, data in zip(_place(mill), held.place, strict=True):
        if _read(path) != data:
            _write(path, data)
            yield f"{path} was changed; it was restored"
    if _read(private / _COOLING) != held.cooling and is_alone():
        _write(private / _COOLING, held.cooling)
        yield f"{private / _COOLING} was changed; it was restored"
    for name, data in zip(_DERIVED, held.derived, strict=True):
        if _read(private / name) != data:  # every command may write them
            (private / name).unlink(missing_ok=True)
    if _identity(private / VERIFIED) != held.verified:
        (private / VERIFIED).unlink(missing_ok=True)


def _restore_trusted(mill: Mill, held: OwnFiles) -> Iterator[str]:
    path, old = store_file(mill), _digests(held.trusted)
    now = _read(path)
    if now == held.trusted:
        return
    added = [line for line in _digests(now) if line not in old]
    decided = digests(_decided(mill, held.state)) if added else frozenset()
    lines = [*old, *(line for line in added if line in decided)]
    if lines == _digests(now):
        return
    _write(path, "".join(f"{line}\n" for line in lines).encode() if lines else held.trusted)
    yield (
        f"the list of trusted commands {path} was changed; it was restored. If you trusted a"
        " command meanwhile, trust it again"
    )


def _decided(mill: Mill, since: str | None) -> Iterator[str]:
    """Yield the commands of items that a person has recorded an event of since a state commit.

    A person who approves a new policy trusts its commands.
    """
    snapshot = mill.snapshot()
    names: set[str] = set()
    for entry in entries(mill.store.backend, snapshot.commit):
        if entry.commit == since:
            break
        if entry.record is not None and not entry.record.claim:
            names.add(entry.record.item)
    for item in (snapshot.items[name] for name in names if name in snapshot.items):
        yield from item_commands(item).values()
        if item.work:
            with suppress(GitmillError):  # a policy that cannot be read has no commands to trust
                yield from policy_at(mill, item.work).commands.values()


def _digests(data: bytes | None) -> list[str]:
    return (data or b"").decode("utf-8", "replace").split()


def _planted(private: Path, pool: Path) -> Iterator[Path]:
    """Yield what is no regular file among gitmill's own files and in their folders."""
    for folder in (private, *(private / name for name in ("live", "transcripts", "working"))):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            yield folder
        elif folder.is_dir():
            yield from (Path(entry) for entry in os.scandir(folder) if _is_special(entry))
    if pool.is_dir():
        with os.scandir(pool) as entries:
            own = [e for e in entries if e.name in ("trusted", OWNER) or e.name.endswith(".lock")]
        yield from (Path(entry) for entry in own if _is_special(entry))


def _is_special(entry: os.DirEntry[str]) -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _identity(path: Path) -> tuple[int, ...]:
    """Return what no code can leave as it was while it writes a file; empty without one."""
    try:
        found = path.lstat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_ctime_ns


def _read(path: Path) -> bytes | None:
    try:
        with os.fdopen(files.open_regular(path, os.O_RDONLY), "rb") as file:
            return file.read(_LARGEST)
    except (OSError, PlantedFileError):
        return None


def _write(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        files.replace(path, data)
